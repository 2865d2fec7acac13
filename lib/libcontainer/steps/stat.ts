/**
 * The result of fstat(2) in a plan.
 *
 * @module
 */

import { STAT_SIZE, type StatField, statOffsets } from "../../ffi/constants.ts";
import type { Arch } from "../../ffi/syscalls.ts";
import { at, buffer, load } from "../../plan/build.ts";
import type { LoadOp, Slot } from "../../plan/op.ts";

/** Buffer for the result of fstat(2) and newfstatat(2). */
export const statBuffer = buffer("stat", STAT_SIZE);

/** Reads one field of {@link statBuffer}. */
export function loadStat(field: StatField, out: Slot, arch: Arch): LoadOp {
  const isLong = ["dev", "ino", "rdev", "size"].includes(field);
  return load(at(statBuffer, statOffsets[arch][field]), isLong ? 8 : 4, out);
}
