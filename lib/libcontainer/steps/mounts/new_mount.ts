/**
 * A file system that is not mounted anywhere yet, by its descriptor.
 *
 * @see fsopen(2), fsconfig(2), fsmount(2)
 * @module
 */

import { FsConfig, FsMount, FsOpen } from "../../../ffi/constants.ts";
import { call, slot } from "../../../plan/build.ts";
import type { Op, Slot } from "../../../plan/op.ts";

/** What is made. */
export interface NewMount {
  readonly type: string;
  /** Options of the file system without a value, and those with one, in this order. */
  readonly flags?: readonly string[];
  readonly options?: readonly (readonly [name: string, value: string])[];
  /** MOUNT_ATTR_* of the mount. */
  readonly attributes: number;
}

/** Makes it, and leaves its descriptor in `out`. */
export function newMountOps({ type, flags = [], options = [], attributes }: NewMount, out: Slot): readonly Op[] {
  const context = slot("file system");
  return [
    call("fsopen", [type, FsOpen.FSOPEN_CLOEXEC], { out: context }),
    ...flags.map((name) => call("fsconfig", [context, FsConfig.FSCONFIG_SET_FLAG, name, 0, 0])),
    ...options.map(([name, value]) => call("fsconfig", [context, FsConfig.FSCONFIG_SET_STRING, name, value, 0])),
    call("fsconfig", [context, FsConfig.FSCONFIG_CMD_CREATE, 0, 0, 0]),
    call("fsmount", [context, FsMount.FSMOUNT_CLOEXEC, attributes], { out }),
    call("close", [context]),
  ];
}
