/**
 * Signals as something to poll: a handler of machine code writes each one's number to a pipe.
 *
 * JavaScript cannot run in a signal handler, and Deno's own listeners need the event loop, which a program that waits
 * in poll(2) does not turn.
 *
 * @module
 */

import { RuncError } from "../errors.ts";
import { alloc, type Kernel } from "./kernel.ts";
import { openFlag, signalNames } from "./constants.ts";
import { Fd } from "./fd.ts";
import { pipe } from "./files.ts";
import { assemble, signalHandlerListing } from "./machine_code.ts";
import type { Interrupts } from "./poll.ts";

/** signal(7): those that the foreground loop does not merely forward. */
export const Signal = { SIGINT: 2, SIGCHLD: 17, SIGWINCH: 28 } as const;

/** The highest signal number of Linux (_NSIG, include/uapi/asm-generic/signal.h). */
const LAST_SIGNAL = 64;

/** Signals that keep the disposition they have, and why. */
const untouched: Readonly<Record<number, string>> = {
  4: "SIGILL is the processor's; V8 and Rust report it",
  5: "SIGTRAP is the processor's",
  7: "SIGBUS is the processor's",
  8: "SIGFPE is the processor's",
  9: "SIGKILL cannot be caught",
  11: "SIGSEGV is the processor's; V8 catches it",
  // A write to a closed pipe answers EPIPE, which whoever writes deals with.
  13: "SIGPIPE is ignored by Deno",
  19: "SIGSTOP cannot be caught",
  // Caught, each read from a terminal would raise it again, without end. By default it stops us until we are in the
  // foreground again, as a shell's user expects of `runc run … &`.
  21: "SIGTTIN is job control's",
  22: "SIGTTOU is job control's",
  // Go's scheduler uses it, so runc never forwards it. Its default is to be ignored.
  23: "SIGURG is not forwarded",
  31: "SIGSYS is the processor's",
  32: "SIGCANCEL is glibc's",
  33: "SIGSETXID is glibc's",
};

/** What {@link SignalPipe} catches. */
export const caughtSignals: readonly number[] = Array.from({ length: LAST_SIGNAL }, (_, index) => index + 1)
  .filter((signal) => untouched[signal] === undefined);

/** What ends an operation that waits: the terminal's hangup and keys, and kill(1). A caller who ignores one does not want that. */
export const endingSignals: readonly number[] = [1, 2, 3, 15];

/** `struct sigaction` of glibc on 64-bit, 152 bytes: bits/sigaction.h. Not the kernel's, which has the mask last. */
const sigaction = { size: 152, handler: 0, mask: 8, flags: 136 } as const;
const SA_RESTART = 0x10000000;
const SIG_IGN = 1n;

/** `sigset_t` of glibc: bits/types/__sigset_t.h. */
const SIGSET_SIZE = 128;
const SIG_BLOCK = 0, SIG_UNBLOCK = 1, SIG_SETMASK = 2;

type Bytes = Uint8Array<ArrayBuffer>;

/** The handler's action: interrupted calls go on, except poll(2), and no other caught signal comes between. */
function handlerAction(handler: Deno.PointerObject): Bytes {
  const action = alloc(sigaction.size);
  const view = new DataView(action.buffer);
  view.setBigUint64(sigaction.handler, BigInt(Deno.UnsafePointer.value(handler)), true);
  view.setInt32(sigaction.flags, SA_RESTART, true);
  action.set(signalSet(caughtSignals), sigaction.mask);
  return action;
}

function signalSet(signals: readonly number[]): Bytes {
  const set = alloc(SIGSET_SIZE);
  for (const signal of signals) set[(signal - 1) >> 3]! |= 1 << ((signal - 1) & 7);
  return set;
}

/**
 * Catches signals, from its construction to its disposal: every one that a runtime forwards, or, `endingOnly`, the few that end what it does.
 *
 * Scope: process; the mask: thread. SIGCHLD is among those that are forwarded, so no `Deno.Command` may run meanwhile: Deno learns of its
 * children's ends by that signal.
 */
export class SignalPipe implements Disposable, Interrupts {
  readonly #kernel: Kernel;
  readonly #read: Fd;
  readonly #write: Fd;
  /** What was there before: signal → `struct sigaction`. */
  readonly #before = new Map<number, Bytes>();
  #maskBefore?: Bytes;
  readonly #ending: Set<number>;
  /** Numbers of signals that {@link check} has found and that are somebody else's to take. */
  #found: number[] = [];

  /** @throws {RuncError} */
  constructor(kernel: Kernel, { endingOnly = false }: { endingOnly?: boolean } = {}) {
    this.#kernel = kernel;
    this.#ending = new Set(endingSignals);
    // A full pipe (65536 signals that nobody took) loses signals instead of blocking in the handler.
    ({ read: this.#read, write: this.#write } = pipe(kernel, "signals", { nonblocking: true }));
    try {
      const code = assemble(signalHandlerListing[kernel.arch], BigInt(this.#write.number));
      const action = handlerAction(kernel.mapCode(code));
      for (const signal of endingOnly ? endingSignals : caughtSignals) this.#catch(signal, action, endingOnly);
      if (endingOnly) return;
      // Whoever started us may have blocked some, and a mask is inherited across execve.
      const set = signalSet(caughtSignals);
      const maskBefore = alloc(SIGSET_SIZE);
      kernel.must("sigprocmask(SIG_UNBLOCK)", "sigprocmask", SIG_UNBLOCK, set, maskBefore);
      this.#maskBefore = maskBefore;
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /** What our caller ignores ends nothing: it is left ignored where it is not forwarded either. */
  #catch(signal: number, action: Bytes, endingOnly: boolean): void {
    const before = setAction(this.#kernel, signal, action);
    const isIgnored = new DataView(before.buffer).getBigUint64(sigaction.handler, true) === SIG_IGN;
    if (isIgnored) this.#ending.delete(signal);
    if (isIgnored && endingOnly) this.#kernel.call("sigaction", signal, before, null);
    else this.#before.set(signal, before);
  }

  /** Looks at the signals that have come. @throws {RuncError} `interrupted` for the first that ends what is done. */
  check(): void {
    const bytes = alloc(256);
    const count = this.#kernel.retry("read", this.#read.number, bytes, bytes.length);
    if (count <= 0) return;
    const numbers = [...bytes.subarray(0, count)];
    const ending = numbers.findIndex((signal) => this.#ending.has(signal));
    this.#found.push(...numbers.filter((_, index) => index !== ending));
    if (ending < 0) return;
    const signal = numbers[ending]!;
    throw new RuncError("interrupted", `interrupted by ${signalNames[signal]}`, { signal });
  }

  /** Has a byte for each signal that came: its number. */
  get fd(): number {
    return this.#read.number;
  }

  /** A descriptor that the signals can be taken from which {@link holdBack} holds back. @see signalfd(2) @throws {RuncError} */
  openWaiting(): Fd {
    const { O_NONBLOCK, O_CLOEXEC } = openFlag(this.#kernel.arch);
    const flags = O_NONBLOCK | O_CLOEXEC;
    const number = this.#kernel.must("signalfd(-1)", "signalfd", -1, signalSet(caughtSignals), flags);
    return new Fd(this.#kernel, number, "signalfd");
  }

  /**
   * From now on signals are not caught by this thread but wait, also for the program that this one becomes by execve(2), which ends the other
   * threads. What those still catch is in the pipe. @throws {RuncError}
   */
  holdBack(): void {
    if (this.#found.length > 0) {
      const numbers = alloc(this.#found.length);
      numbers.set(this.#found);
      this.#found = [];
      this.#kernel.retry("write", this.#write.number, numbers, numbers.length);
    }
    this.#kernel.must("sigprocmask(SIG_BLOCK)", "sigprocmask", SIG_BLOCK, signalSet(caughtSignals), null);
  }

  /** Gives every signal the disposition that it had. Signals that are in the pipe are lost. */
  [Symbol.dispose](): void {
    if (this.#maskBefore !== undefined) this.#kernel.call("sigprocmask", SIG_SETMASK, this.#maskBefore, null);
    this.#maskBefore = undefined;
    for (const [signal, action] of this.#before) this.#kernel.call("sigaction", signal, action, null);
    this.#before.clear();
    // Last: a handler that another thread is still in has its few instructions until here to write.
    this.#write.close();
    this.#read.close();
  }
}

/** Sets what `signal` does. Returns what it did before. @see sigaction(2) */
function setAction(kernel: Kernel, signal: number, action: Bytes): Bytes {
  const before = alloc(sigaction.size);
  kernel.must(`sigaction(${signal})`, "sigaction", signal, action, before);
  return before;
}
