/**
 * fstat(2). statx(2) has one layout for all architectures, but seccomp profiles may lack it.
 *
 * @module
 */

import { STAT_SIZE, statOffsets } from "./constants.ts";
import { alloc, type Kernel } from "./kernel.ts";

/** A file's data from fstat(2). */
export interface Stat {
  /** Type and permissions. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** The device number of a device file, in the kernel's encoding. */
  readonly rdev: number;
  readonly sizeBytes: number;
  /** The whole `struct stat`. */
  readonly view: DataView;
}

/** fstat(2). Returns −errno on failure. */
export function fstat(kernel: Kernel, fd: number): Stat | number {
  const buffer = alloc(STAT_SIZE);
  const result = kernel.retry("fstat", fd, buffer);
  if (result < 0) return result;
  const view = new DataView(buffer.buffer);
  const at = statOffsets[kernel.arch];
  return {
    mode: view.getUint32(at.mode, true),
    uid: view.getUint32(at.uid, true),
    gid: view.getUint32(at.gid, true),
    rdev: Number(view.getBigUint64(at.rdev, true)),
    sizeBytes: Number(view.getBigUint64(at.size, true)),
    view,
  };
}
