/**
 * Values written to files of the host's procfs, through a descriptor that was opened before the container's own mounts exist.
 *
 * @module
 */

import { call, fixedFd, slot } from "../plan/build.ts";
import type { CallOp, Op } from "../plan/op.ts";
import { openFlag, Resolve } from "../ffi/constants.ts";
import type { Arch } from "../ffi/syscalls.ts";
import { openHow } from "./in_root.ts";

/** Writes `value` to `path` below the host's /proc. Mounts, links and magic links on the way are refused (CVE-2025-52881). */
export function writeProc(
  path: string,
  value: string,
  arch: Arch,
  rest: Pick<CallOp, "meaning" | "hint" | "tolerate"> = {},
): readonly Op[] {
  const O = openFlag(arch);
  const how = openHow({
    flags: O.O_WRONLY | O.O_CLOEXEC,
    resolve: Resolve.RESOLVE_BENEATH | Resolve.RESOLVE_NO_XDEV | Resolve.RESOLVE_NO_MAGICLINKS,
  }, "{flags: O_WRONLY|O_CLOEXEC, resolve: RESOLVE_BENEATH|RESOLVE_NO_XDEV|RESOLVE_NO_MAGICLINKS}");
  const file = slot("file");
  return [
    call("openat2", [fixedFd("proc"), path, how, 24], { out: file, retryAgain: true, ...rest }),
    call("write", [file, value, new TextEncoder().encode(value).length], rest),
    call("close", [file]),
  ];
}
