/**
 * An AbortSignal as {@link Interrupts}: it ends waits.
 *
 * @module
 */

import { RuncError } from "../errors.ts";
import { eventfd, raiseEventfd, readEventfd } from "./event_fds.ts";
import type { Fd } from "./fd.ts";
import type { Kernel } from "./kernel.ts";
import type { Interrupts } from "./poll.ts";

/**
 * Ends one wait when `signal` is aborted: {@link check} throws `interrupted` once, with the signal's reason as cause. The
 * waits that follow are the undo's, which must be completed.
 */
export class Abort implements Interrupts, Disposable {
  readonly #kernel: Kernel;
  readonly #signal: AbortSignal;
  readonly #event: Fd;
  #isTold = false;
  readonly #tell = () => raiseEventfd(this.#kernel, this.#event);

  constructor(kernel: Kernel, signal: AbortSignal) {
    this.#kernel = kernel;
    this.#signal = signal;
    this.#event = eventfd(kernel);
    if (signal.aborted) this.#tell();
    else signal.addEventListener("abort", this.#tell);
  }

  get fd(): number {
    return this.#event.number;
  }

  check(): void {
    if (!this.#signal.aborted || this.#isTold) return;
    this.#isTold = true;
    // It is no longer readable.
    readEventfd(this.#kernel, this.#event);
    throw new RuncError("interrupted", "aborted", { cause: this.#signal.reason });
  }

  [Symbol.dispose](): void {
    this.#signal.removeEventListener("abort", this.#tell);
    this.#event.close();
  }
}
