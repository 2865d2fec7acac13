/**
 * Makes signals pollable: a machine-code handler writes each signal's number to a pipe.
 *
 * JavaScript cannot run in a signal handler. Deno's own listeners need the event loop, which does not run while the
 * program waits in poll(2).
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { addressOf, alloc, type Kernel } from "../kernel.ts";
import { openFlag, signalNames } from "../constants.ts";
import { Fd } from "../fd.ts";
import { pipe } from "../files.ts";
import { listingBytes, signalHandlerListing } from "../machine_code.ts";
import type { Interrupts } from "../poll.ts";

/** The signals that the foreground loop handles itself instead of only forwarding them. signal(7) */
export const Signal = { SIGINT: 2, SIGCHLD: 17, SIGWINCH: 28 } as const;

/** The highest signal number of Linux (_NSIG, include/uapi/asm-generic/signal.h). */
const LAST_SIGNAL = 64;

/** Signals whose disposition is not changed, and why. */
const untouched: Readonly<Record<number, string>> = {
  4: "the processor raises SIGILL; V8 and Rust report it",
  5: "the processor raises SIGTRAP",
  7: "the processor raises SIGBUS",
  8: "the processor raises SIGFPE",
  9: "SIGKILL cannot be caught",
  11: "the processor raises SIGSEGV; V8 catches it",
  // A write to a closed pipe fails with EPIPE, which the writer handles.
  13: "Deno ignores SIGPIPE",
  19: "SIGSTOP cannot be caught",
  // If SIGTTIN were caught, each read from a terminal would raise it again, without end. By default it stops us until
  // we are in the foreground again, which a shell's user expects of `runc run … &`.
  21: "SIGTTIN is for job control",
  22: "SIGTTOU is for job control",
  // Go's scheduler uses it, so runc never forwards it. The default is to ignore it.
  23: "SIGURG is not forwarded",
  31: "the kernel raises SIGSYS, for seccomp",
  32: "glibc uses SIGCANCEL",
  33: "glibc uses SIGSETXID",
};

/** The signals that {@link SignalPipe} catches. */
export const caughtSignals: readonly number[] = Array.from({ length: LAST_SIGNAL }, (_, index) => index + 1)
  .filter((signal) => untouched[signal] === undefined);

/**
 * The signals that end a waiting operation: from the terminal's hangup and keys, and from kill(1). A signal that the
 * caller ignores does not end it.
 */
export const endingSignals: readonly number[] = [1, 2, 3, 15];

/**
 * `struct sigaction` of glibc on 64-bit, 152 bytes: bits/sigaction.h. The kernel's struct differs: its mask is last.
 */
const sigaction = { size: 152, handler: 0, mask: 8, flags: 136 } as const;
const SA_RESTART = 0x10000000;
const SIG_IGN = 1n;

/** `sigset_t` of glibc: bits/types/__sigset_t.h. */
const SIGSET_SIZE = 128;
const SIG_BLOCK = 0, SIG_UNBLOCK = 1, SIG_SETMASK = 2;

type Bytes = Uint8Array<ArrayBuffer>;

/**
 * The handler's action: interrupted calls restart, except poll(2), and no other caught signal interrupts the handler.
 */
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

/** A handler's code, and the descriptor that it writes to. */
interface Handler {
  readonly address: Deno.PointerObject;
  /** Returns the one before; -1 if there was none. */
  setDescriptor(number: number): number;
}

/** Two kinds, because one pipe may exist within the other's time. */
type HandlerKind = "ending" | "all";

const handlers = new WeakMap<Kernel, Map<HandlerKind, Handler>>();

/**
 * The handler of a kind: one for the program's life. A snapshot has them, so that a command makes no code, which the
 * caller may have forbidden. PR_SET_MDWE(2const)
 */
function handlerOf(kernel: Kernel, kind: HandlerKind): Handler {
  let own = handlers.get(kernel);
  if (own === undefined) handlers.set(kernel, own = new Map());
  let handler = own.get(kind);
  if (handler === undefined) own.set(kind, handler = makeHandler(kernel));
  return handler;
}

function makeHandler(kernel: Kernel): Handler {
  const cell = alloc(4);
  const code = listingBytes(signalHandlerListing[kernel.arch], addressOf(cell));
  const view = new DataView(cell.buffer);
  const setDescriptor = (number: number) => {
    const before = view.getInt32(0, true);
    view.setInt32(0, number, true);
    return before;
  };
  setDescriptor(-1);
  return { address: kernel.mapCode(code), setDescriptor };
}

/**
 * Catches signals from construction to disposal: every signal that a runtime forwards, or with `endingOnly` those that
 * end the operation.
 *
 * Scope: process; the mask: thread. The forwarded signals include SIGCHLD, so do not use `Deno.Command` meanwhile: Deno
 * uses that signal to learn that a child has ended.
 */
export class SignalPipe implements Disposable, Interrupts {
  readonly #kernel: Kernel;
  readonly #read: Fd;
  readonly #write: Fd;
  /** The previous dispositions: signal → `struct sigaction`. */
  readonly #before = new Map<number, Bytes>();
  #maskBefore?: Bytes;
  /** Gives the handler the descriptor that it had before. */
  #leaveHandler = () => {};
  readonly #ending: Set<number>;
  /** Numbers of signals that {@link check} has read but not reported: {@link holdBack} writes them back. */
  #found: number[] = [];

  /** @throws {RuncError} */
  constructor(kernel: Kernel, { endingOnly = false }: { endingOnly?: boolean } = {}) {
    this.#kernel = kernel;
    this.#ending = new Set(endingSignals);
    // If the pipe is full (65536 unread signals), signals are lost; the handler never blocks.
    ({ read: this.#read, write: this.#write } = pipe(kernel, "signals", { nonblocking: true }));
    try {
      const { address, setDescriptor } = handlerOf(kernel, endingOnly ? "ending" : "all");
      const before = setDescriptor(this.#write.number);
      this.#leaveHandler = () => void setDescriptor(before);
      const action = handlerAction(address);
      for (const signal of endingOnly ? endingSignals : caughtSignals) this.#catch(signal, action, endingOnly);
      if (endingOnly) return;
      // Our caller may have blocked some of them, and execve keeps the mask.
      const set = signalSet(caughtSignals);
      const maskBefore = alloc(SIGSET_SIZE);
      kernel.must("sigprocmask(SIG_UNBLOCK)", "sigprocmask", SIG_UNBLOCK, set, maskBefore);
      this.#maskBefore = maskBefore;
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /** A signal that our caller ignores does not end the operation. With `endingOnly` it stays ignored. */
  #catch(signal: number, action: Bytes, endingOnly: boolean): void {
    const before = setAction(this.#kernel, signal, action);
    const isIgnored = new DataView(before.buffer).getBigUint64(sigaction.handler, true) === SIG_IGN;
    if (isIgnored) this.#ending.delete(signal);
    if (isIgnored && endingOnly) this.#kernel.call("sigaction", signal, before, null);
    else this.#before.set(signal, before);
  }

  /** Reads the signals that have arrived. @throws {RuncError} `interrupted` for the first that ends the operation. */
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

  /** Reads the signals that have arrived, and ends nothing. */
  take(): readonly number[] {
    const bytes = alloc(256);
    const count = this.#kernel.retry("read", this.#read.number, bytes, bytes.length);
    return [...bytes.subarray(0, Math.max(count, 0))];
  }

  /** Readable when signals have arrived: one byte each, the signal's number. */
  get fd(): number {
    return this.#read.number;
  }

  /** A signalfd for the signals that {@link holdBack} blocks. @see signalfd(2) @throws {RuncError} */
  openWaiting(): Fd {
    const { O_NONBLOCK, O_CLOEXEC } = openFlag(this.#kernel.arch);
    const flags = O_NONBLOCK | O_CLOEXEC;
    const number = this.#kernel.must("signalfd(-1)", "signalfd", -1, signalSet(caughtSignals), flags);
    return new Fd(this.#kernel, number, "signalfd");
  }

  /**
   * Blocks the signals in this thread, so they stay pending, also across execve(2). execve ends the other threads; the
   * signals that they catch until then are in the pipe. @throws {RuncError}
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

  /** Restores every signal's previous disposition. Signals that are still in the pipe are lost. */
  [Symbol.dispose](): void {
    if (this.#maskBefore !== undefined) this.#kernel.call("sigprocmask", SIG_SETMASK, this.#maskBefore, null);
    this.#maskBefore = undefined;
    for (const [signal, action] of this.#before) this.#kernel.call("sigaction", signal, action, null);
    this.#before.clear();
    // From here on, the number may be another file's, into which a late handler must not write.
    this.#leaveHandler();
    this.#leaveHandler = () => {};
    // Closed last: a handler that runs on another thread may have the number already.
    this.#write.close();
    this.#read.close();
  }
}

/** Sets the disposition of `signal`. Returns the previous one. @see sigaction(2) */
function setAction(kernel: Kernel, signal: number, action: Bytes): Bytes {
  const before = alloc(sigaction.size);
  kernel.must(`sigaction(${signal})`, "sigaction", signal, action, before);
  return before;
}
