/**
 * fstat(2). statx(2) has one layout for all architectures, but seccomp profiles may lack it.
 *
 * @module
 */

import { STAT_SIZE, statOffsets } from "./constants.ts";
import { alloc, type Kernel } from "./kernel.ts";

/** What fstat(2) says of a file. */
export interface Stat {
  /** Type and permissions. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** The device that it is, as the kernel encodes it. */
  readonly rdev: number;
  readonly sizeBytes: number;
}

/** fstat(2). Returns −errno where it fails. */
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
  };
}
