/**
 * Signals that interrupt a command. `create`, `run` and `exec` then remove what they have created, and the exit status
 * tells the signal.
 *
 * @module
 */

import type { Kernel } from "../ffi/kernel.ts";
import type { Interrupts } from "../ffi/poll.ts";
import { SignalPipe } from "../ffi/process/signals.ts";

/** Exists from a command's start. Interrupts nothing until signals are caught. */
export class Interruption implements Interrupts {
  #signals?: SignalPipe;

  /** Negative while no signals are caught; poll(2) ignores it then. */
  get fd(): number {
    return this.#signals?.fd ?? -1;
  }

  /** @see SignalPipe.check */
  check(): void {
    this.#signals?.check();
  }

  /** Starts interrupting on `signals`. The caller disposes of them after {@link end}. */
  begin(signals: SignalPipe): void {
    this.#signals = signals;
  }

  /** Stops interrupting. */
  end(): void {
    this.#signals = undefined;
  }
}

/** Catches the interrupting signals for a command that is not in the foreground and so forwards none. */
export class Interruptible implements Disposable {
  readonly #interruption: Interruption;
  readonly #signals: SignalPipe;

  /** @throws {RuncError} */
  constructor(kernel: Kernel, interruption: Interruption) {
    this.#interruption = interruption;
    this.#signals = new SignalPipe(kernel, { endingOnly: true });
    interruption.begin(this.#signals);
  }

  /** Restores each signal's previous action. */
  [Symbol.dispose](): void {
    this.#interruption.end();
    this.#signals[Symbol.dispose]();
  }
}
