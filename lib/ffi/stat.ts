/**
 * `struct stat`, whose layout each architecture has its own of. statx(2) has one for all, but profiles of seccomp need not have that.
 *
 * Source: arch/x86/include/uapi/asm/stat.h and include/uapi/asm-generic/stat.h
 *
 * @module
 */

import { alloc, type Kernel } from "./kernel.ts";
import type { Arch } from "./syscalls.ts";

/** In bytes, on x86_64; less on aarch64. */
export const STAT_SIZE = 144;

/** Offsets of fields; `dev`, `ino`, `rdev` and `size` have 8 bytes, the others 4. */
export const statOffsets = {
  x86_64: { dev: 0, ino: 8, mode: 24, uid: 28, gid: 32, rdev: 40, size: 48 },
  aarch64: { dev: 0, ino: 8, mode: 16, uid: 24, gid: 28, rdev: 32, size: 48 },
} as const satisfies Record<Arch, Record<string, number>>;

/** Names of the fields. */
export type StatField = keyof (typeof statOffsets)["x86_64"];

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
