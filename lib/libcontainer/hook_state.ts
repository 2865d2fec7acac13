/**
 * The state that hooks inside the container read on stdin. Runs in: parent.
 *
 * @module
 */

import type { Fd } from "../ffi/fd.ts";
import { writeAll } from "../ffi/files.ts";
import { alloc, type Kernel } from "../ffi/kernel.ts";
import type { State } from "../specs/state.ts";

/** Writes `state` into a memfd that the stage has already been given. */
export function hookStateFile(kernel: Kernel, file: Fd, state: State): void {
  const text = new TextEncoder().encode(JSON.stringify(state));
  const bytes = alloc(text.length);
  bytes.set(text);
  writeAll(kernel, file.number, bytes);
}
