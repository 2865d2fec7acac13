/**
 * Creates files that belong to the container's root from the start. A later chown goes by name, which may mean another
 * file by then, and a file system of a user namespace accepts only users mapped there. Runs in: parent.
 *
 * @module
 */

import { alloc, type Kernel } from "../../ffi/kernel.ts";
import type { Answer, Waits } from "../../ffi/waits.ts";

/** _LINUX_CAPABILITY_VERSION_3, include/uapi/linux/capability.h */
const CAPABILITY_VERSION = 0x20080522;

/**
 * Runs `make`; the files that it creates belong to host ids `uid` and `gid`. Without root the owner is the caller, who
 * is the container's root.
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

/**
 * Like {@link asFileOwner}, for work that waits. The owner is only in force while the work runs: other work of this
 * program may run during a wait.
 */
export function* waitingAsFileOwner<Result>(
  kernel: Kernel,
  owner: { readonly uid: number; readonly gid: number },
  waits: Waits<Result>,
): Waits<Result> {
  let step = asFileOwner(kernel, owner, () => waits.next());
  while (!step.done) {
    let given: Answer;
    try {
      given = yield step.value;
    } catch (error) {
      step = asFileOwner(kernel, owner, () => waits.throw(error));
      continue;
    }
    step = asFileOwner(kernel, owner, () => waits.next(given));
  }
  return step.value;
}

/**
 * Restores the file capabilities, which setfsuid clears when it changes from root to another user. Scope: thread.
 * capabilities(7)
 */
function raiseCapabilities(kernel: Kernel): void {
  const header = alloc(8);
  new DataView(header.buffer).setUint32(0, CAPABILITY_VERSION, true);
  // Two sets each of effective, permitted, inheritable.
  const sets = alloc(24);
  kernel.must("capget(0)", "capget", header, sets);
  const view = new DataView(sets.buffer);
  for (const at of [0, 12]) view.setUint32(at, view.getUint32(at + 4, true), true);
  kernel.must("capset(effective = permitted)", "capset", header, sets);
}
