/**
 * The signals that end what a command does: what `create`, `run` and `exec` have made by then is removed, and the status says which it was.
 *
 * @module
 */

import type { Kernel } from "../ffi/kernel.ts";
import type { Interrupts } from "../ffi/poll.ts";
import { SignalPipe } from "../ffi/process/signals.ts";

/** Is there from a command's beginning, and interrupts nothing before signals are caught. */
export class Interruption implements Interrupts {
  #signals?: SignalPipe;

  /** poll(2) passes over a negative one. */
  get fd(): number {
    return this.#signals?.fd ?? -1;
  }

  /** @see SignalPipe.check */
  check(): void {
    this.#signals?.check();
  }

  /** From now on by `signals`, which the caller disposes of after {@link end}. */
  begin(signals: SignalPipe): void {
    this.#signals = signals;
  }

  /** From now on by nothing any more. */
  end(): void {
    this.#signals = undefined;
  }
}

/** Catches the signals that end what is done, for a command that is not in the foreground, and so forwards none. */
export class Interruptible implements Disposable {
  readonly #interruption: Interruption;
  readonly #signals: SignalPipe;

  /** @throws {RuncError} */
  constructor(kernel: Kernel, interruption: Interruption) {
    this.#interruption = interruption;
    this.#signals = new SignalPipe(kernel, { endingOnly: true });
    interruption.begin(this.#signals);
  }

  /** From now on each does again what it did before. */
  [Symbol.dispose](): void {
    this.#interruption.end();
    this.#signals[Symbol.dispose]();
  }
}
