/**
 * The calls that make a mount: a new file system on its place, or a copy that moves to its place. Runs in: init.
 *
 * @module
 */

import { MoveMount, OpenTree } from "../../../ffi/constants.ts";
import { call, slot } from "../../../plan/build.ts";
import type { CallOp, Op, Operand } from "../../../plan/op.ts";
import type { MountOptions } from "../../config/mount_options.ts";
import type { ParsedMount } from "../../config/mounts.ts";
import { mountHint, mountMeaning } from "./messages.ts";

/** The open place of a mount. */
export const target = slot("target");

/** A copy of a mount, which {@link placeMount} moves to its place. */
export const source = slot("source");

/** Mounts a new file system on "." of its place. */
export function mountHere(
  parsed: ParsedMount,
  how: { type: string; source: string; flags: number; data: string },
): readonly Op[] {
  return [
    call("fchdir", [target]),
    call("mount", [how.source, ".", how.type, how.flags, how.data === "" ? 0 : how.data], {
      meaning: mountMeaning(parsed, how.flags, how.data),
      hint: mountHint(how.type, how.data),
    }),
    call("close", [target]),
  ];
}

/** Copies the mount at the host's `path` into the slot `source`. @see open_tree(2) */
export function cloneMount(
  directory: Operand,
  path: string,
  recursive: boolean,
  rest: Partial<CallOp> = {},
  lookup = 0,
): CallOp {
  const flags = OpenTree.OPEN_TREE_CLONE | OpenTree.OPEN_TREE_CLOEXEC | (recursive ? OpenTree.AT_RECURSIVE : 0) |
    (path === "" ? OpenTree.AT_EMPTY_PATH : 0) | lookup;
  return call("open_tree", [directory, path, flags], { out: source, ...rest });
}

/** crun's `src-nofollow` mounts a symlink itself; `copy-symlink` reads it. */
export function lookupOf({ extensions }: MountOptions): number {
  return extensions.includes("src-nofollow") || extensions.includes("copy-symlink") ? OpenTree.AT_SYMLINK_NOFOLLOW : 0;
}

/** Moves the copy in `source` to the place open as `on`. `source` then refers to the mount. @see move_mount(2) */
export function placeMount(on: Operand, rest: Partial<CallOp> = {}): CallOp {
  const flags = MoveMount.MOVE_MOUNT_F_EMPTY_PATH | MoveMount.MOVE_MOUNT_T_EMPTY_PATH;
  return call("move_mount", [source, "", on, "", flags], rest);
}
