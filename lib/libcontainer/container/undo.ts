/**
 * The way back of an operation that fails. Runs in: parent.
 *
 * @module
 */

import type { Log } from "../runtime.ts";

/**
 * What was done is undone on `dispose`, last first, unless {@link keep} was called. A failed undo keeps no other one from running: it is logged
 * as a warning. The error that led here is the one to report; the warning says what is left behind.
 */
export class Undo implements Disposable {
  readonly #log: Log;
  readonly #stack = new DisposableStack();

  constructor(log: Log) {
    this.#log = log;
  }

  /** Registers what undoes a thing that has just been made. */
  defer(undo: () => void): void {
    this.#stack.defer(() => {
      try {
        undo();
      } catch (error) {
        this.#log("warning", `while cleaning up: ${(error as Error).message}`);
      }
    });
  }

  /** A place in the order for things that are made later than the ones after it, and must nevertheless be undone after these. */
  place(): Undo {
    return this.#stack.use(new Undo(this.#log));
  }

  /** The operation has succeeded: nothing is undone. */
  keep(): void {
    this.#stack.move();
  }

  [Symbol.dispose](): void {
    this.#stack.dispose();
  }
}
