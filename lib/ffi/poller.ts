/**
 * poll(2) without blocking the event loop: one other thread waits for everything that a program waits for.
 *
 * Deno has 32 threads for calls that block, and its own files and sockets need them too. With a thread for each wait,
 * a program with 32 running containers would have none left, and nothing would go on.
 *
 * A thread in poll(2) keeps the program running, and Deno has no way to say that it should not. So waits that are not to
 * keep it running are looked at now and then, by a timer that does not either, while there are no others.
 *
 * @module
 */

import { Errno } from "./errno.ts";
import { eventfd, raiseEventfd, readEventfd } from "./event_fds.ts";
import type { Fd } from "./fd.ts";
import { immediate } from "./immediate.ts";
import { type Kernel, syscallError } from "./kernel.ts";
import { decodeWatches, encodeWatches, POLLIN, type Watch } from "./poll.ts";

/** Whether waits keep the program running. They do at first. */
export class Hold {
  readonly #kernel: Kernel;
  #isHeld = true;

  /** `kernel`: that of the waits. */
  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  /** Whether its waits keep the program running. */
  get isHeld(): boolean {
    return this.#isHeld;
  }

  set isHeld(isHeld: boolean) {
    this.#isHeld = isHeld;
    pollers.get(this.#kernel)?.wake();
  }
}

/** In milliseconds. Only differences matter, so where this clock begins does not; libc's costs more. */
const now = () => performance.now();

/** One wait. */
interface Waiting {
  readonly hold?: Hold;
  readonly watches: readonly Watch[];
  /** By {@link now}. */
  readonly deadline: number;
  settle(ready: number[]): void;
  fail(error: unknown): void;
}

/** All waits of a program. */
class Poller {
  readonly #kernel: Kernel;
  readonly #waiting = new Set<Waiting>();
  /** Ends the current poll(2), which does not know of a new wait. It exists as long as there is one. */
  #wake?: Fd;
  /** A thread is in poll(2), and nothing has been sent to {@link #wake}. */
  #isPolling = false;
  /** Ends the current pause. */
  #endPause?: () => void;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  wait(watches: readonly Watch[], timeoutMs: number, hold: Hold | undefined): Promise<number[]> {
    const deadline = timeoutMs < 0 ? Infinity : now() + timeoutMs;
    return new Promise((settle, fail) => {
      this.#waiting.add({ watches, deadline, hold, settle, fail });
      if (this.#wake === undefined) this.#run();
      else this.wake();
    });
  }

  /** What is waited for has changed. */
  wake(): void {
    this.#endPause?.();
    // Otherwise the next poll(2) has not begun, and will know of it.
    if (this.#isPolling) raiseEventfd(this.#kernel, this.#wake!);
    this.#isPolling = false;
  }

  async #run(): Promise<void> {
    try {
      using wake = eventfd(this.#kernel);
      this.#wake = wake;
      while (this.#waiting.size > 0) {
        // What begins to wait in the same turn gets the same poll(2): a call on another thread is expensive.
        await immediate();
        await this.#poll(wake);
      }
    } catch (error) {
      for (const { fail } of this.#waiting) fail(error);
      this.#waiting.clear();
    } finally {
      this.#wake = undefined;
    }
  }

  async #poll(wake: Fd): Promise<void> {
    const waiting = [...this.#waiting];
    const table = encodeWatches([{ fd: wake.number, events: POLLIN }, ...waiting.flatMap(({ watches }) => watches)]);
    const deadline = Math.min(...waiting.map((each) => each.deadline));
    const timeoutMs = deadline === Infinity ? -1 : Math.max(0, Math.ceil(deadline - now()));
    const isHeld = waiting.some(({ hold }) => hold?.isHeld ?? true);
    if (!isHeld) await this.#pause(timeoutMs < 0 ? LOOK_MS : Math.min(timeoutMs, LOOK_MS));
    let result = this.#kernel.call("poll", table, table.length / 8, 0);
    if (result === 0 && isHeld && timeoutMs !== 0) {
      this.#isPolling = true;
      result = await this.#kernel.callAsync("poll", table, table.length / 8, Math.min(timeoutMs, LONGEST_MS));
      this.#isPolling = false;
    }
    if (result < 0 && result !== -Errno.EINTR) throw syscallError("poll", -result);
    const [isWoken, ...ready] = result <= 0 ? waiting.map(() => 0) : decodeWatches(table);
    if (isWoken) readEventfd(this.#kernel, wake);
    this.#settle(waiting, ready);
  }

  /** A time in which the program may end. */
  #pause(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      Deno.unrefTimer(timer);
      this.#endPause = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #settle(waiting: readonly Waiting[], ready: readonly number[]): void {
    const nowMs = now();
    let at = 0;
    for (const each of waiting) {
      const bits = each.watches.map(() => ready[at++] ?? 0);
      if (nowMs < each.deadline && bits.every((bit) => bit === 0)) continue;
      this.#waiting.delete(each);
      each.settle(bits);
    }
  }
}

/** How often waits are looked at that do not keep the program running, in milliseconds. */
const LOOK_MS = 10;
/** poll(2) takes an int. */
const LONGEST_MS = 0x7fffffff;

const pollers = new WeakMap<Kernel, Poller>();

/**
 * Like {@link poll}, without blocking the event loop. A signal does not end it. Each `kernel` has one thread for all
 * such waits. `hold`: whether the wait keeps the program running; absent: it does.
 */
export function pollAsync(
  kernel: Kernel,
  watches: readonly Watch[],
  timeoutMs = -1,
  hold?: Hold,
): Promise<number[]> {
  let poller = pollers.get(kernel);
  if (poller === undefined) pollers.set(kernel, poller = new Poller(kernel));
  return poller.wait(watches, timeoutMs, hold);
}
