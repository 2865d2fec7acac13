/**
 * What stat(2) says of a file, in a plan: for where a seccomp filter is in force, whose profile need not have statx(2).
 *
 * Offsets: struct stat, arch/x86/include/uapi/asm/stat.h and include/uapi/asm-generic/stat.h
 *
 * @module
 */

import type { Arch } from "../ffi/syscalls.ts";
import { at, buffer, load } from "../plan/build.ts";
import type { LoadOp, Slot } from "../plan/op.ts";

/** Receives the result of fstat(2) and newfstatat(2). */
export const statBuffer = buffer("stat", 144);

const offsets = {
  x86_64: { mode: 24, uid: 28, gid: 32, rdev: 40 },
  aarch64: { mode: 16, uid: 24, gid: 28, rdev: 32 },
} as const satisfies Record<Arch, Record<string, number>>;

/** Reads one field of {@link statBuffer}. */
export function loadStat(field: keyof (typeof offsets)["x86_64"], out: Slot, arch: Arch): LoadOp {
  return load(at(statBuffer, offsets[arch][field]), field === "rdev" ? 8 : 4, out);
}
