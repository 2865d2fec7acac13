/**
 * Looks at files in a container from outside. Runs in: parent.
 *
 * The container may change its files meanwhile. So a path is resolved once, inside the container's root, to a
 * descriptor that opens nothing (O_PATH); the rest is asked of the descriptor.
 *
 * @module
 */

import { openFlag, Resolve } from "../../ffi/constants.ts";
import { errnoName } from "../../ffi/errno.ts";
import { Fd } from "../../ffi/fd.ts";
import { mountId, openPath } from "../../ffi/files.ts";
import { alloc, cString, type Kernel } from "../../ffi/kernel.ts";
import { fstat } from "../../ffi/stat.ts";
import { syscallNumber } from "../../ffi/syscalls.ts";
import { RuncError } from "../../errors.ts";
import type { FileView } from "./kernel_view.ts";

/** `struct open_how`, include/uapi/linux/openat2.h: flags, mode, resolve, each a u64. */
const OPEN_HOW_SIZE = 24, RESOLVE_AT = 16;

/** The files at `paths` (absolute, as the container sees them) below `root`. Empty if the root cannot be opened. */
export function readFiles(
  kernel: Kernel,
  root: string,
  paths: readonly string[],
): Readonly<Record<string, FileView>> {
  using directory = tryOpen(kernel, root);
  if (directory === undefined) return {};
  return Object.fromEntries([...new Set(paths)].map((path) => [path, lookAt(kernel, directory, path)]));
}

function tryOpen(kernel: Kernel, path: string): Fd | undefined {
  try {
    return openPath(kernel, path);
  } catch (error) {
    if (error instanceof RuncError) return undefined;
    throw error;
  }
}

function lookAt(kernel: Kernel, root: Fd, path: string): FileView {
  const how = alloc(OPEN_HOW_SIZE);
  const view = new DataView(how.buffer);
  const { O_PATH, O_CLOEXEC } = openFlag(kernel.arch);
  view.setBigUint64(0, BigInt(O_PATH | O_CLOEXEC), true);
  // A link of /proc to a descriptor leads anywhere, so none is followed.
  view.setBigUint64(RESOLVE_AT, BigInt(Resolve.RESOLVE_IN_ROOT | Resolve.RESOLVE_NO_MAGICLINKS), true);
  const call = syscallNumber("openat2", kernel.arch);
  const number = kernel.retry("syscall", call, root.number, cString(path), how, OPEN_HOW_SIZE);
  if (number < 0) return { error: errnoName(-number) };
  using file = new Fd(kernel, number, path);
  const status = fstat(kernel, file.number);
  if (typeof status === "number") return { error: errnoName(-status) };
  const link = `/proc/self/fd/${file.number}`;
  const { mode, uid, gid, rdev } = status;
  return { path: Deno.readLinkSync(link), mountId: mountId(kernel, link), mode, uid, gid, device: splitNumber(rdev) };
}

/** The kernel's encoding of device numbers. include/linux/kdev_t.h, new_decode_dev */
export function splitNumber(device: number): { readonly major: number; readonly minor: number } {
  return { major: (device >>> 8) & 0xfff, minor: (device & 0xff) | ((device >>> 12) & 0xfff00) };
}
