/**
 * The state that hooks inside the container read on stdin. Runs in: parent.
 *
 * @module
 */

import type { Fd } from "../../ffi/fd.ts";
import { fillAndSeal, open, sealableMemfd } from "../../ffi/files.ts";
import { alloc, type Kernel } from "../../ffi/kernel.ts";
import type { State } from "../../specs/state.ts";

/** The stdin of hooks that run later. The stage gets it before the state is known. */
export class HookStateFile implements Disposable {
  readonly #kernel: Kernel;
  readonly #file: Fd;
  /** Read-only. Opening it again for writing fails too, because it is sealed before the first hook runs. */
  readonly stdin: Fd;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
    this.#file = sealableMemfd(kernel, "state");
    try {
      this.stdin = open(kernel, `/proc/self/fd/${this.#file.number}`, 0);
    } catch (error) {
      this.#file.close();
      throw error;
    }
  }

  /** Writes the state that the hooks read, and seals the file. */
  write(state: State): void {
    const text = new TextEncoder().encode(JSON.stringify(state));
    const bytes = alloc(text.length);
    bytes.set(text);
    fillAndSeal(this.#kernel, this.#file, bytes);
  }

  /** Closes the descriptor for writing; the owner of `stdin` closes that. */
  [Symbol.dispose](): void {
    this.#file.close();
  }
}
