/**
 * Writes values to files of the host's procfs, through a descriptor that was opened before the container's own mounts
 * exist.
 *
 * @module
 */

import { call, fixedFd, slot } from "../../plan/build.ts";
import type { CallOp, Op } from "../../plan/op.ts";
import { openFlag, Resolve } from "../../ffi/constants.ts";
import type { Arch } from "../../ffi/syscalls.ts";
import { openHow } from "./root/in_root.ts";

/** Options of {@link writeProc} besides the file. */
type Rest = Pick<CallOp, "meaning" | "hint" | "tolerate" | "endStepOn">;

/**
 * Writes `value` to `path` below the host's /proc. Fails if mounts, symlinks or magic links are on the way
 * (CVE-2025-52881).
 *
 * `older`: the file to write if `path` does not exist.
 */
export function writeProc(
  path: string,
  value: string,
  arch: Arch,
  { older, ...rest }: Rest & { readonly older?: Rest & { readonly path: string } } = {},
): readonly Op[] {
  const O = openFlag(arch);
  const how = openHow({
    flags: O.O_WRONLY | O.O_CLOEXEC,
    resolve: Resolve.RESOLVE_BENEATH | Resolve.RESOLVE_NO_XDEV | Resolve.RESOLVE_NO_MAGICLINKS,
  }, "{flags: O_WRONLY|O_CLOEXEC, resolve: RESOLVE_BENEATH|RESOLVE_NO_XDEV|RESOLVE_NO_MAGICLINKS}");
  const file = slot("file");
  const open = (name: string, how_: Partial<CallOp>) =>
    call("openat2", [fixedFd("proc"), name, how, 24], { out: file, retryAgain: true, ...how_ });
  const onError = older && [{ errnos: ["ENOENT"] as const, ops: [open(older.path, { ...rest, ...older })] }];
  return [
    open(path, { ...rest, onError }),
    call("write", [file, value, new TextEncoder().encode(value).length], rest),
    call("close", [file]),
  ];
}
