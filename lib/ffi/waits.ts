/**
 * Work that waits, written once for two callers: a command, which blocks, and a Deno program, whose event loop must
 * not be blocked.
 *
 * Such work is a generator. It yields what it waits for, and gets the answer when it is resumed. {@link runWaits}
 * answers by blocking system calls, {@link runWaitsAsync} by system calls on another thread.
 *
 * @module
 */

import { Flock } from "./constants.ts";
import { Errno } from "./errno.ts";
import type { Argument, Call, Kernel } from "./kernel.ts";
import { awaitReadable, type Interrupts, poll, POLLIN } from "./poll.ts";
import { type Hold, pollAsync } from "./poller.ts";
import { slicesOf } from "./slices.ts";

/** Waits until a descriptor is readable or at its end. */
export interface ReadableWait {
  /** Descriptors; negative ones are ignored. */
  readonly fds: readonly number[];
  /** In milliseconds; negative: without limit. */
  readonly timeoutMs: number;
  /** Interrupts do not end this wait: what has begun must be completed. */
  readonly isDeaf?: boolean;
}

/** A libc function. It must not change the state of the calling thread. */
export interface CallWait extends Call {
  /** It does not block: it is called at once, on the calling thread. */
  readonly isQuick?: boolean;
}

/** Libc functions that may block, called in order. */
export interface CallsWait {
  /** Each has up to three arguments. */
  readonly calls: readonly Call[];
}

/**
 * Waits for an exclusive lock of an open file, flock(2). The command line blocks in it, and is served in order. A
 * program tries again and again: a thread of its few for each wait could keep the holder of the lock from going on.
 */
export interface LockWait {
  /** The descriptor. */
  readonly lock: number;
}

/** A good moment to let other work of this program run. */
export interface TurnWait {
  /** The kind of wait. */
  readonly turn: true;
}

/** One wait. */
export type Wait = ReadableWait | CallWait | CallsWait | LockWait | TurnWait;

/**
 * The answer to a {@link ReadableWait}, which descriptors are ready, or to a {@link CallWait} or {@link LockWait}, the
 * result or −errno; to a {@link CallsWait}, the result of each.
 */
export type Answer = readonly boolean[] | readonly number[] | number;

/** Work that waits. */
export type Waits<Result> = Generator<Wait, Result, Answer>;

const NONE: readonly boolean[] = [];
/** `yield TURN` lets other work of this program run, if it has waited for long. */
export const TURN: TurnWait = { turn: true };

/** Waits until one of `fds` is readable or at its end. Returns whether each is ready: none after the timeout. */
export function* readable(
  fds: readonly number[],
  timeoutMs = -1,
  how: Pick<ReadableWait, "isDeaf"> = {},
): Waits<readonly boolean[]> {
  return (yield { fds, timeoutMs, ...how }) as readonly boolean[];
}

/** Waits for a time. Nothing interrupts it. */
export function* pause(milliseconds: number): Waits<void> {
  yield { fds: NONE as readonly never[], timeoutMs: milliseconds, isDeaf: true };
}

/** Waits for an exclusive lock. Returns 0 or −errno. Nothing interrupts it. */
export function* exclusiveLock(fd: number): Waits<number> {
  return (yield { lock: fd }) as number;
}

/** Calls a libc function that may block. Returns its result, or −errno. It is not retried. */
export function* callBlocking(call: string, ...args: readonly Argument[]): Waits<number> {
  return (yield { call, args }) as number;
}

/** Calls a libc function that does not block. Returns its result, or −errno. It is not retried. */
export function* callQuick(call: string, ...args: readonly Argument[]): Waits<number> {
  return (yield { call, args, isQuick: true }) as number;
}

/** Calls libc functions that may block, in order. Returns the result of each, or −errno. They are not retried. */
export function* callAll(calls: readonly Call[]): Waits<readonly number[]> {
  return (yield { calls }) as readonly number[];
}

/** The surroundings of a wait. */
export interface Waiter {
  /** libc. */
  readonly kernel: Kernel;
  /** Ends waits. */
  readonly interrupts?: Interrupts;
  /** Whether waits keep the program running; absent: they do. */
  readonly hold?: Hold;
}

function answer({ kernel, interrupts }: Waiter, wait: Wait): Answer {
  if ("turn" in wait) return NONE;
  if ("call" in wait) return kernel.call(wait.call, ...wait.args);
  if ("calls" in wait) return wait.calls.map(({ call, args }) => kernel.call(call, ...args));
  if ("lock" in wait) return kernel.retry("flock", wait.lock, Flock.LOCK_EX);
  const { fds, timeoutMs, isDeaf } = wait;
  return awaitReadable(kernel, fds, { interrupts: isDeaf ? undefined : interrupts, timeoutMs });
}

/** Runs `waits` and blocks while it waits. @throws what `waits` throws; what the interrupts throw, if it lets it out. */
export function runWaits<Result>(waiter: Waiter, waits: Waits<Result>): Result {
  let step = waits.next();
  while (!step.done) {
    let given: Answer;
    try {
      given = answer(waiter, step.value);
    } catch (error) {
      step = waits.throw(error);
      continue;
    }
    step = waits.next(given);
  }
  return step.value;
}

/**
 * Runs `waits` without blocking the event loop. Everything that is run so takes turns: together it runs for about 1 ms,
 * then the program's other work. @throws as {@link runWaits}.
 */
export async function runWaitsAsync<Result>(waiter: Waiter, waits: Waits<Result>): Promise<Result> {
  const slices = slicesOf(waiter.kernel);
  let resume = () => waits.next();
  for (;;) {
    while (slices.isOver) await slices.turn();
    const step = resume();
    slices.worked();
    if (step.done) return step.value;
    try {
      const given = answerNow(waiter, step.value) ?? await answerLater(waiter, step.value);
      resume = () => waits.next(given);
    } catch (error) {
      resume = () => waits.throw(error);
    }
  }
}

/** Runs work that never waits, but lets others have their turn. @throws {RangeError} if it waits. */
export function runTurns<Result>(waits: Waits<Result>): Result {
  let step = waits.next();
  while (!step.done) {
    if (!("turn" in step.value)) throw new RangeError("this work waits");
    step = waits.next(NONE);
  }
  return step.value;
}

/** The answer if it is there already. */
function answerNow({ kernel }: Waiter, wait: Wait): Answer | undefined {
  if ("call" in wait) return wait.isQuick ? kernel.call(wait.call, ...wait.args) : undefined;
  if ("calls" in wait || "lock" in wait) return undefined;
  if ("turn" in wait) return NONE;
  if (wait.fds.length === 0) return wait.timeoutMs === 0 ? NONE : undefined;
  const ready = poll(kernel, wait.fds.map(watch), 0).map((bits) => bits !== 0);
  return wait.timeoutMs === 0 || ready.includes(true) ? ready : undefined;
}

async function answerLater({ kernel, interrupts, hold }: Waiter, wait: Wait): Promise<Answer> {
  if ("turn" in wait) return NONE;
  if ("call" in wait) return await kernel.callAsync(wait.call, ...wait.args);
  if ("calls" in wait) return await kernel.callAllAsync(wait.calls);
  if ("lock" in wait) return await tryLock(kernel, wait.lock);
  const { fds, timeoutMs, isDeaf } = wait;
  const watches = fds.map(watch);
  if (interrupts !== undefined && !isDeaf) watches.push(watch(interrupts.fd));
  for (;;) {
    const ready = (await pollAsync(kernel, watches, timeoutMs, hold)).map((bits) => bits !== 0);
    const each = ready.slice(0, fds.length);
    if (each.includes(true) || !ready.includes(true)) return each;
    interrupts?.check();
  }
}

async function tryLock(kernel: Kernel, fd: number): Promise<number> {
  for (let delayMs = 1;; delayMs = Math.min(2 * delayMs, LOCK_AGAIN_MS)) {
    const result = kernel.retry("flock", fd, Flock.LOCK_EX | Flock.LOCK_NB);
    if (result !== -Errno.EAGAIN) return result;
    await pollAsync(kernel, [], delayMs);
  }
}

/** The longest time between two attempts to get a lock. */
const LOCK_AGAIN_MS = 10;

const watch = (fd: number) => ({ fd, events: POLLIN });
