/**
 * An owned file descriptor.
 *
 * @module
 */

import type { Kernel } from "./kernel.ts";

/** A descriptor with one owner: `using` closes it on every way out. 0 is a valid descriptor. */
export class Fd implements Disposable {
  readonly #kernel: Kernel;
  #number: number;
  /** What it was opened by; for messages only. */
  readonly label: string;

  /** Takes `number` over. `label`: what it was opened by. */
  constructor(kernel: Kernel, number: number, label: string) {
    this.#kernel = kernel;
    this.#number = number;
    this.label = label;
  }

  /** The descriptor. @throws {TypeError} after close or release. */
  get number(): number {
    if (this.#number < 0) throw new TypeError(`descriptor of ${this.label} used after close`);
    return this.#number;
  }

  /** Gives the number to a new owner, who closes it. */
  release(): number {
    const number = this.number;
    this.#number = -1;
    return number;
  }

  /** Closes it; a second time does nothing. */
  close(): void {
    if (this.#number < 0) return;
    // close(2) releases the descriptor even where it answers an error: nothing to retry.
    this.#kernel.call("close", this.#number);
    this.#number = -1;
  }

  /** As {@link close}. */
  [Symbol.dispose](): void {
    this.close();
  }
}
