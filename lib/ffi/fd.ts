/**
 * An owned file descriptor.
 *
 * @module
 */

import type { Kernel } from "./kernel.ts";

/** A descriptor with one owner. `using` closes it however the scope is left. 0 is a valid descriptor. */
export class Fd implements Disposable {
  readonly #kernel: Kernel;
  #number: number;
  /** What it was opened as; for messages only. */
  readonly label: string;

  /** Takes ownership of `number`. `label`: what it was opened as. */
  constructor(kernel: Kernel, number: number, label: string) {
    this.#kernel = kernel;
    this.#number = number;
    this.label = label;
  }

  /** The descriptor's number. @throws {TypeError} after close or release. */
  get number(): number {
    if (this.#number < 0) throw new TypeError(`descriptor of ${this.label} used after close`);
    return this.#number;
  }

  /** Gives the number to a new owner, who must close it. */
  release(): number {
    const number = this.number;
    this.#number = -1;
    return number;
  }

  /** Closes the descriptor. A second call does nothing. */
  close(): void {
    if (this.#number < 0) return;
    // close(2) releases the descriptor even when it reports an error, so there is nothing to retry.
    this.#kernel.call("close", this.#number);
    this.#number = -1;
  }

  /** As {@link close}. */
  [Symbol.dispose](): void {
    this.close();
  }
}
