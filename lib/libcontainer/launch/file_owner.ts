/**
 * Making files that belong to the container's root from the first moment on: a change of owner afterwards goes by a name, which may mean
 * another file by then, and a file system of a user namespace takes none from users that it does not know. Runs in: parent.
 *
 * @module
 */

import { alloc, type Kernel } from "../../ffi/kernel.ts";

/** _LINUX_CAPABILITY_VERSION_3, include/uapi/linux/capability.h */
const CAPABILITY_VERSION = 0x20080522;

/**
 * Runs `make`, whose files belong to host ids `uid` and `gid`. Without root they are ours, who are the container's root.
 *
 * Scope: thread. @see setfsuid(2)
 */
export function asFileOwner<Result>(
  kernel: Kernel,
  { uid, gid }: { readonly uid: number; readonly gid: number },
  make: () => Result,
): Result {
  const [ourUid, ourGid] = [kernel.call("setfsuid", uid), kernel.call("setfsgid", gid)];
  try {
    if (uid !== ourUid) raiseCapabilities(kernel);
    return make();
  } finally {
    kernel.call("setfsgid", ourGid);
    kernel.call("setfsuid", ourUid);
  }
}

/** Takes back the capabilities on files, which went when the user for files became another than root. Scope: thread. capabilities(7) */
function raiseCapabilities(kernel: Kernel): void {
  const header = alloc(8);
  new DataView(header.buffer).setUint32(0, CAPABILITY_VERSION, true);
  // Twice: effective, permitted, inheritable.
  const sets = alloc(24);
  kernel.must("capget(0)", "capget", header, sets);
  const view = new DataView(sets.buffer);
  for (const at of [0, 12]) view.setUint32(at, view.getUint32(at + 4, true), true);
  kernel.must("capset(effective = permitted)", "capset", header, sets);
}
