/**
 * This program's own binary, in a form that a container cannot write to. Runs in: parent.
 *
 * @module
 */

import { AT_FDCWD, AtFlag, MountAttr, OpenTree } from "../ffi/constants.ts";
import { Fd } from "../ffi/fd.ts";
import { alloc, cString } from "../ffi/kernel.ts";
import type { Runtime } from "./runtime.ts";

const SYS_open_tree = 428, SYS_mount_setattr = 442;

/**
 * A descriptor of the binary on a read-only mount of its own, in no namespace: whoever opens it through /proc/PID/exe gets
 * EROFS (CVE-2019-5736). Only `executor: "deno"` needs it; natively the binary is never there.
 *
 * @throws {RuncError} EPERM without CAP_SYS_ADMIN.
 */
export function sealedSelf(runtime: Runtime): Fd {
  const { kernel } = runtime;
  const { path } = runtime.reexec;
  const flags = OpenTree.OPEN_TREE_CLONE | OpenTree.OPEN_TREE_CLOEXEC;
  const number = kernel.must(
    `open_tree(${JSON.stringify(path)})`,
    "syscall",
    SYS_open_tree,
    AT_FDCWD,
    cString(path),
    flags,
  );
  const fd = new Fd(kernel, number, path);
  // struct mount_attr: attr_set first. mount_setattr(2)
  const attributes = alloc(32);
  attributes[0] = MountAttr.MOUNT_ATTR_RDONLY | MountAttr.MOUNT_ATTR_NOSUID;
  const call = `mount_setattr(${path}, MOUNT_ATTR_RDONLY)`;
  kernel.must(call, "syscall", SYS_mount_setattr, number, cString(""), AtFlag.AT_EMPTY_PATH, attributes, 32);
  return fd;
}
