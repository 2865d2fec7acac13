/**
 * This program's own binary, in a form that the container cannot write to. Runs in: parent.
 *
 * @module
 */

import { AT_FDCWD, AtFlag, MountAttr, OpenTree } from "../../ffi/constants.ts";
import { Errno } from "../../ffi/errno.ts";
import { Fd } from "../../ffi/fd.ts";
import { isWritable, openPath, sealedMemfd } from "../../ffi/files.ts";
import { alloc, cString, syscallError } from "../../ffi/kernel.ts";
import { syscallNumber } from "../../ffi/syscalls.ts";
import type { Runtime } from "../runtime.ts";

/** The file that this process was started from, wherever it is. proc(5) */
const OWN_IMAGE = "/proc/self/exe";

/**
 * The path by which this program is executed again. That is `path`, unless this program's file is not there: it was
 * replaced or removed since the start, or was executed by a descriptor, from a mount in no namespace or from memory.
 */
export function imagePath(path: string): string {
  return !isFile(path) && Deno.readLinkSync(OWN_IMAGE) === path ? OWN_IMAGE : path;
}

/** The name of a file in a mount in no namespace is "/". */
function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/**
 * A descriptor of the binary that cannot be written through: opening /proc/PID/exe for writing fails (CVE-2019-5736).
 * Only `executor: "deno"` needs it; with the native interpreter the binary is never visible there.
 *
 * For root it is on a read-only mount of its own, in no namespace. A user may not create such a mount: then it is the
 * file itself if the user may not write to it, else a sealed copy in memory. The copy takes 40 ms and as many megabytes
 * as Deno has.
 */
export function sealedSelf(runtime: Runtime): Fd {
  const { kernel } = runtime;
  const path = imagePath(runtime.reexec.path);
  const flags = OpenTree.OPEN_TREE_CLONE | OpenTree.OPEN_TREE_CLOEXEC;
  const number = kernel.retry("syscall", syscallNumber("open_tree", kernel.arch), AT_FDCWD, cString(path), flags);
  if (number === -Errno.EPERM) return isWritable(kernel, path) ? sealedCopy(runtime, path) : openPath(kernel, path);
  // A file that was removed, or that is in memory, cannot be mounted.
  if (path === OWN_IMAGE && (number === -Errno.ENOENT || number === -Errno.EINVAL)) return sealedCopy(runtime, path);
  if (number < 0) throw syscallError(`open_tree(${JSON.stringify(path)})`, -number);
  const fd = new Fd(kernel, number, path);
  // struct mount_attr: attr_set first. mount_setattr(2)
  const attributes = alloc(32);
  attributes[0] = MountAttr.MOUNT_ATTR_RDONLY | MountAttr.MOUNT_ATTR_NOSUID;
  const call = `mount_setattr(${path}, MOUNT_ATTR_RDONLY)`;
  kernel.must(
    call,
    "syscall",
    syscallNumber("mount_setattr", kernel.arch),
    number,
    cString(""),
    AtFlag.AT_EMPTY_PATH,
    attributes,
    32,
  );
  return fd;
}

function sealedCopy({ kernel }: Runtime, path: string): Fd {
  return sealedMemfd(kernel, { name: "deno", content: Deno.readFileSync(path), executable: true });
}
