/**
 * The attributes and the propagation of mounts. Runs in: init. @see mount_setattr(2)
 *
 * @module
 */

import { AtFlag, formatFlags, MountAttr, MountFlag } from "../../../ffi/constants.ts";
import { call, struct } from "../../../plan/build.ts";
import type { CallOp, Op, Slot, Struct } from "../../../plan/op.ts";
import { openInRoot } from "../root/in_root.ts";
import type { HostFacts } from "../../config/launch_request.ts";
import type { ParsedMount } from "../../config/mounts.ts";
import { target } from "./calls.ts";
import { mountPrefix } from "./messages.ts";
import { placeOptions } from "./place.ts";

const { MS_BIND, MS_REC, MS_REMOUNT, MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC } = MountFlag;

/** `struct mount_attr`, 32 bytes: attr_set, attr_clr, propagation, userns_fd. @see mount_setattr(2) */
export function mountAttr(set: number, clear: number): Struct {
  const text = (bits: number) => formatFlags(MountAttr, bits);
  return struct(`{attr_set: ${text(set)}, attr_clr: ${text(clear)}}`, 32, [
    { at: 0, size: 8, value: set },
    { at: 8, size: 8, value: clear },
  ]);
}

/** MS_* flags of a bind mount and the attributes that they set. */
const attributeOf: readonly (readonly [flag: number, attribute: number])[] = [
  [MS_RDONLY, MountAttr.MOUNT_ATTR_RDONLY],
  [MS_NOSUID, MountAttr.MOUNT_ATTR_NOSUID],
  [MS_NODEV, MountAttr.MOUNT_ATTR_NODEV],
  [MS_NOEXEC, MountAttr.MOUNT_ATTR_NOEXEC],
  [MountFlag.MS_NODIRATIME, MountAttr.MOUNT_ATTR_NODIRATIME],
  [MountFlag.MS_NOSYMFOLLOW, MountAttr.MOUNT_ATTR_NOSYMFOLLOW],
];

const atimeFlags = MountFlag.MS_NOATIME | MountFlag.MS_RELATIME | MountFlag.MS_STRICTATIME | MountFlag.MS_NODIRATIME;

function toAttributes(flags: number): number {
  return attributeOf.reduce((bits, [flag, attribute]) => flags & flag ? bits | attribute : bits, 0);
}

/** The attributes after a remount with `flags`: exactly these. Access times change only if `flags` names one. */
export function remountAttributes(flags: number): { set: number; clear: number } {
  let set = toAttributes(flags);
  let all = attributeOf.reduce((bits, [, attribute]) => bits | attribute, 0) & ~MountAttr.MOUNT_ATTR_NODIRATIME;
  if (flags & atimeFlags) {
    all |= MountAttr.MOUNT_ATTR__ATIME | MountAttr.MOUNT_ATTR_NODIRATIME;
    // mount(2): of several modes strictatime wins.
    if (flags & MountFlag.MS_STRICTATIME) set |= MountAttr.MOUNT_ATTR_STRICTATIME;
    else if (flags & MountFlag.MS_NOATIME) set |= MountAttr.MOUNT_ATTR_NOATIME;
  }
  // If a mode is set, attr_clr must contain all of _ATIME. mount_setattr(2)
  return { set, clear: all & ~(set & ~MountAttr.MOUNT_ATTR__ATIME) };
}

/** Sets the options of the bind mount that is open as `fd`: usually a copy that is not visible yet. */
export function bindAttributes(parsed: ParsedMount, fd: Slot): readonly Op[] {
  const { mount, options } = parsed;
  const flags = options.flags & ~(MS_BIND | MS_REC | MS_REMOUNT);
  const ops: Op[] = [];
  if (flags !== 0 || options.clearedFlags !== 0) {
    const { set, clear } = remountAttributes(flags);
    const setattr = (attributes: Struct, rest: Partial<CallOp> = {}) =>
      call("mount_setattr", [fd, "", AtFlag.AT_EMPTY_PATH, attributes, 32], rest);
    const why = { "*": `${mountPrefix(mount)}: failed to set user-requested vfs flags on bind-mount` };
    // EPERM: the call would clear an option that a parent user namespace locked. The second call clears only named
    // options. A locked one is then an error. mount_namespaces(7), "Restrictions on mount namespaces"
    const named = toAttributes(options.clearedFlags);
    const atime = clear & MountAttr.MOUNT_ATTR__ATIME;
    // NOSYMFOLLOW is never locked: fs/namespace.c, can_change_locked_flags.
    const unlocked = clear & MountAttr.MOUNT_ATTR_NOSYMFOLLOW;
    const locked = named !== 0
      ? `cannot clear locked flags ${formatFlags(MountFlag, options.clearedFlags)}`
      : atime !== 0
      ? "cannot change locked atime flags"
      : "remount with locked flags re-applied";
    ops.push(setattr(mountAttr(set, clear), {
      meaning: why,
      onError: [{
        errnos: ["EPERM"],
        ops: [setattr(mountAttr(set, named | atime | unlocked), { meaning: { "*": `${why["*"]}: ${locked}` } })],
      }],
    }));
  }
  if (options.recursiveSet !== 0 || options.recursiveClear !== 0) {
    const attributes = mountAttr(options.recursiveSet, options.recursiveClear);
    ops.push(
      call("mount_setattr", [fd, "", AtFlag.AT_EMPTY_PATH | AtFlag.AT_RECURSIVE, attributes, 32], {
        meaning: { "*": `${mountPrefix(mount)}: failed to set recursive vfs flags` },
      }),
    );
  }
  return ops;
}

/** Sets the propagation of the mount that is open as `fd`, one call per flag. mount_setattr(2) */
export function propagation({ options, mount }: ParsedMount, fd: Slot): readonly Op[] {
  return options.propagation.map((flags) => {
    const value = flags & ~MS_REC;
    const attributes = struct(`{propagation: ${formatFlags(MountFlag, value)}}`, 32, [{ at: 16, size: 8, value }]);
    const recursive = flags & MS_REC ? AtFlag.AT_RECURSIVE : 0;
    return call("mount_setattr", [fd, "", AtFlag.AT_EMPTY_PATH | recursive, attributes, 32], {
      meaning: { "*": `${mountPrefix(mount)}: set propagation` },
    });
  });
}

/** Sets the propagation of the mount on the destination. */
export function propagationThere(parsed: ParsedMount, facts: HostFacts): readonly Op[] {
  if (parsed.options.propagation.length === 0) return [];
  const { arch, noFollow } = placeOptions(parsed, facts);
  return [
    openInRoot(parsed.destination, target, { arch, noFollow }),
    ...propagation(parsed, target),
    call("close", [target]),
  ];
}
