/**
 * The kernel's random bytes.
 *
 * @module
 */

import { alloc, type Kernel } from "./kernel.ts";

/**
 * `length` random bytes. At most 256, because getrandom(2) returns up to that many in one piece. JavaScript's generator
 * does not work here: a resumed snapshot (freeze.ts) would get the same bytes each time.
 *
 * @throws {RuncError} if getrandom(2) fails.
 * @see getrandom(2)
 */
export function randomBytes(kernel: Kernel, length: number): Uint8Array<ArrayBuffer> {
  const bytes = alloc(length);
  kernel.must(`getrandom(${length})`, "getrandom", bytes, length, 0);
  return bytes;
}
