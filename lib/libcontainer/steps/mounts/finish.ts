/**
 * Changes to mounts after all files are made in them. Runs in: init, after pivot_root.
 *
 * @module
 */

import { AT_FDCWD, AtFlag, MountAttr } from "../../../ffi/constants.ts";
import { call, step, struct } from "../../../plan/build.ts";
import type { CallOp, Op, Step } from "../../../plan/op.ts";
import { isBind, type ParsedMount } from "../../config/mounts.ts";
import { mountAttr } from "./attributes.ts";
import { isReadOnlyLater } from "./file_system.ts";
import { mountPrefix } from "./messages.ts";

/**
 * Number of attempts while files are open for writing, and nanoseconds between two. Same as runc: rootfs_linux.go,
 * remountReadonly.
 */
const READ_ONLY_TRIES = 5, READ_ONLY_PAUSE = 100_000_000;

/** Makes the mount read-only. EBUSY: a process, such as a hook's child, has a file open for writing and may exit. */
function makeReadOnlyOp({ destination, mount }: ParsedMount): CallOp {
  const attributes = mountAttr(MountAttr.MOUNT_ATTR_RDONLY, 0);
  const pause = struct("{tv_nsec: 100000000}", 16, [{ at: 8, size: 8, value: READ_ONLY_PAUSE }]);
  const attempt = (left: number): CallOp =>
    call("mount_setattr", [AT_FDCWD, destination, 0, attributes, 32], {
      meaning: {
        EBUSY: `unable to mount ${mount.destination} as readonly max retries reached`,
        "*": `${mountPrefix(mount)}: failed to set vfs flags`,
      },
      hint: { EBUSY: "a process has a file in there open for writing" },
      onError: left === 0 ? [] : [{ errnos: ["EBUSY"], ops: [call("ppoll", [0, 0, pause, 0, 0]), attempt(left - 1)] }],
    });
  return attempt(READ_ONLY_TRIES - 1);
}

/**
 * Makes tmpfs mounts and /dev read-only, and sets attributes of all mounts below a mount that is not a bind mount. If
 * set earlier, these prevent new mount points and device nodes. Runs in: init, after pivot_root.
 */
export function finishMountSteps(mounts: readonly ParsedMount[]): readonly Step[] {
  return mounts.flatMap((parsed) => {
    if (isBind(parsed)) return [];
    const { mount, destination, options, from } = parsed;
    const delayed = isReadOnlyLater(parsed);
    const ops: Op[] = delayed ? [makeReadOnlyOp(parsed)] : [];
    if (options.recursiveSet !== 0 || options.recursiveClear !== 0) {
      const attributes = mountAttr(options.recursiveSet, options.recursiveClear);
      ops.push(call("mount_setattr", [AT_FDCWD, destination, AtFlag.AT_RECURSIVE, attributes, 32], {
        meaning: { "*": `${mountPrefix(mount)}: failed to set vfs flags` },
      }));
    }
    return ops.length === 0 ? [] : [
      step(
        delayed
          ? `make ${destination} read-only${ops.length > 1 ? " and set attributes of all mounts on it" : ""}`
          : `set attributes of all mounts on ${destination}`,
        `${from}/options`,
        ops,
      ),
    ];
  });
}
