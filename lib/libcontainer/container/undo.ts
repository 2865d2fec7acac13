/**
 * Undoes the steps of an operation that fails. Runs in: parent.
 *
 * @module
 */

import type { Log } from "../runtime.ts";

/**
 * On `dispose`, undoes the registered steps, last first, unless {@link keep} was called. If one undo fails, the others
 * still run. The failure is logged as a warning, which says what is left. The error to report is the operation's own.
 */
export class Undo implements Disposable {
  readonly #log: Log;
  readonly #stack = new DisposableStack();

  constructor(log: Log) {
    this.#log = log;
  }

  /** Registers the undo of a step that has just been done. */
  defer(undo: () => void): void {
    this.#stack.defer(() => {
      try {
        undo();
      } catch (error) {
        this.#log("warning", `while cleaning up: ${(error as Error).message}`);
      }
    });
  }

  /** Reserves a place in the order. Steps registered there later are undone as if they had been registered now. */
  place(): Undo {
    return this.#stack.use(new Undo(this.#log));
  }

  /** Marks the operation as successful: nothing is undone. */
  keep(): void {
    this.#stack.move();
  }

  [Symbol.dispose](): void {
    this.#stack.dispose();
  }
}
