/**
 * The kernel's random bytes.
 *
 * @module
 */

import { alloc, type Kernel } from "./kernel.ts";

/**
 * `length` random bytes, at most 256, which never come in parts. Not JavaScript's: a frozen program (freeze.ts) would get the same ones
 * each time.
 *
 * @throws {RuncError} where the kernel refuses.
 * @see getrandom(2)
 */
export function randomBytes(kernel: Kernel, length: number): Uint8Array<ArrayBuffer> {
  const bytes = alloc(length);
  kernel.must(`getrandom(${length})`, "getrandom", bytes, length, 0);
  return bytes;
}
