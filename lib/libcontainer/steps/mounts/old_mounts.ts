/**
 * Mounts made by mount(2), if a sandbox around this runtime refuses the newer calls: open_tree, move_mount,
 * mount_setattr and fsopen. Pure.
 *
 * Source and place of a mount are still descriptors; mount(2) gets their links in the host's procfs. But a bind mount
 * is in its place before it has its options. To set them, the plan opens the place again. If that is another file than
 * the source, the start fails. runc does the same.
 *
 * @module
 */

import { AT_FDCWD, AtFlag, MountAttr, MountFlag, openFlag, OpenTree } from "../../../ffi/constants.ts";
import { Errno } from "../../../ffi/errno.ts";
import type { Arch, SyscallName } from "../../../ffi/syscalls.ts";
import { at, buffer, call, fail, fixedFd, load, set, slot, when } from "../../../plan/build.ts";
import type { CallOp, FdPath, Op, Operand, Slot, Struct, Text } from "../../../plan/op.ts";
import { loadStat, statBuffer } from "../stat.ts";

/** The calls that mount(2) replaces. */
export const newMountCalls: readonly SyscallName[] = [
  "open_tree",
  "move_mount",
  "mount_setattr",
  "fsopen",
  "fsconfig",
  "fsmount",
];

/** Whether mounts are made by mount(2). */
export function lacksMountCalls(refused: ReadonlySet<SyscallName> | undefined): boolean {
  return refused !== undefined && newMountCalls.some((name) => refused.has(name));
}

const SOURCE = "mount source", PLACE = "mount place";
/** Additional fixed descriptors of a plan with mount(2); they are closed at first. */
export const mountDescriptors: readonly string[] = [SOURCE, PLACE];
const linkOf = (fd: string): FdPath => ({ data: "fdPath", fd });
const { MS_BIND, MS_REC, MS_REMOUNT } = MountFlag;

/** fcntl.h */
const F_DUPFD_CLOEXEC = 1030;

/** MOUNT_ATTR_* and the equivalent flags of mount(2) and statfs(2). */
const flagOf: readonly (readonly [attribute: number, flag: number])[] = [
  [MountAttr.MOUNT_ATTR_RDONLY, MountFlag.MS_RDONLY],
  [MountAttr.MOUNT_ATTR_NOSUID, MountFlag.MS_NOSUID],
  [MountAttr.MOUNT_ATTR_NODEV, MountFlag.MS_NODEV],
  [MountAttr.MOUNT_ATTR_NOEXEC, MountFlag.MS_NOEXEC],
];
/** ST_NOSYMFOLLOW, include/linux/statfs.h */
const ST_NOSYMFOLLOW = 0x2000;

/** Duplicates a descriptor to a number that is known in advance, for mount(2). */
function name(fd: Operand, as: string, arch: Arch): Op {
  return call("dup3", [fd, fixedFd(as), openFlag(arch).O_CLOEXEC]);
}

const toProc = call("fchdir", [fixedFd("proc")]);

/** Mounts a new file system on the file open as `place`. */
export function mountOn(
  place: Operand,
  how: { type: string; flags: number; data: string },
  arch: Arch,
): readonly Op[] {
  return [
    name(place, PLACE, arch),
    toProc,
    call("mount", [how.type, linkOf(PLACE), how.type, how.flags, how.data]),
  ];
}

/** A source that open_tree(2) would have copied. */
interface Source {
  readonly recursive: boolean;
  /** The calls of mount_setattr(2) on the copy. */
  readonly pending: CallOp[];
}

/** Replaces the calls of one step, in their order. */
export class OldMounts {
  readonly #arch: Arch;
  readonly #sources = new Map<string, Source>();
  /** The last call that opened each slot's file. */
  readonly #openers = new Map<string, CallOp>();

  constructor(arch: Arch) {
    this.#arch = arch;
  }

  /** Records the calls that open files. */
  see(op: CallOp): void {
    if (op.out !== undefined && (op.call === "openat2" || op.call === "openat")) this.#openers.set(op.out.slot, op);
  }

  /** The ops that replace a call; undefined if the call stays. */
  replace(op: CallOp): readonly Op[] | undefined {
    switch (op.call) {
      case "open_tree":
        return this.#openTree(op);
      case "mount_setattr":
        return this.#setAttributes(op);
      case "move_mount":
        return this.#move(op);
      default:
        return undefined;
    }
  }

  #openTree(op: CallOp): readonly Op[] | undefined {
    const [directory, path, flags] = op.args as [Operand, Text, number];
    if (op.out === undefined) return undefined;
    this.#sources.set(op.out.slot, { recursive: (flags & OpenTree.AT_RECURSIVE) !== 0, pending: [] });
    const O = openFlag(this.#arch);
    const noFollow = flags & OpenTree.AT_SYMLINK_NOFOLLOW ? O.O_NOFOLLOW : 0;
    return path.text === ""
      ? [{ ...op, call: "fcntl", args: [directory, F_DUPFD_CLOEXEC, 0] }]
      : [{ ...op, call: "openat", args: [directory, path, O.O_PATH | O.O_CLOEXEC | noFollow, 0] }];
  }

  #setAttributes(op: CallOp): readonly Op[] | undefined {
    const [fd, path] = op.args as [Operand, { text: string }];
    if (path.text !== "") return this.#setAttributesAt(op, path.text);
    const source = sourceOf(this.#sources, fd);
    if (source === undefined) return this.#remount(op, fd as Slot);
    source.pending.push(op);
    return [];
  }

  #setAttributesAt(op: CallOp, path: string): readonly Op[] | undefined {
    const O = openFlag(this.#arch);
    const mount = slot("mount");
    const ops = this.#remount(op, mount);
    if (ops === undefined) return undefined;
    return [
      call("openat", [AT_FDCWD, path, O.O_PATH | O.O_CLOEXEC, 0], { out: mount, meaning: op.meaning }),
      ...ops,
      call("close", [mount]),
    ];
  }

  /** Does mount_setattr(2) on the mount whose root is open as `fd`. Undefined if mount(2) cannot do that. */
  #remount(op: CallOp, fd: Slot): readonly Op[] | undefined {
    const [, , at_ = 0, attributes] = op.args as [Operand, Operand, number, Struct];
    const word = (offset: number) => Number(attributes.words.find(({ at }) => at === offset)?.value ?? 0);
    const [attrSet, attrClear, propagation] = [word(0), word(8), word(16)];
    const recursive = (at_ & AtFlag.AT_RECURSIVE) !== 0;
    const { meaning, hint, onError } = op;
    const begin = [name(fd, SOURCE, this.#arch), toProc];
    const change = (flags: Operand): Op =>
      call("mount", [0, linkOf(SOURCE), 0, flags, 0], {
        meaning,
        hint,
        // EPERM: the next attempt clears fewer flags.
        onError: onError?.map(({ errnos, ops }) => ({ errnos, ops: this.#all(ops) })),
      });
    if (propagation !== 0) return [...begin, change(propagation | (recursive ? MS_REC : 0))];
    if (recursive || (attrSet & MountAttr.MOUNT_ATTR_IDMAP) !== 0) return undefined;
    const flags = slot("mount flags"), now = slot("flags of mount"), has = slot("has flag");
    const statfs = buffer("statfs", 120);
    const keep = flagOf.filter(([attribute]) => ((attrSet | attrClear) & attribute) === 0);
    const keepsLinks = ((attrSet | attrClear) & MountAttr.MOUNT_ATTR_NOSYMFOLLOW) === 0;
    const kept = (bit: number, flag: number): readonly Op[] => [
      { op: "and", left: now, right: bit, out: has },
      when(has, "!=", 0, [{ op: "add", left: flags, right: flag, out: flags }]),
    ];
    return [
      call("fstatfs", [fd, statfs]),
      load(at(statfs, 80), 8, now),
      set(flags, MS_REMOUNT | MS_BIND | mountFlags(attrSet, attrClear)),
      ...keep.flatMap(([, flag]) => kept(flag, flag)),
      ...(keepsLinks ? kept(ST_NOSYMFOLLOW, MountFlag.MS_NOSYMFOLLOW) : []),
      ...begin,
      change(flags),
    ];
  }

  #all(ops: readonly Op[]): readonly Op[] {
    return ops.flatMap((op) => (op.op === "call" ? this.replace(op) : undefined) ?? [op]);
  }

  #move(op: CallOp): readonly Op[] | undefined {
    const [fd, , place, path] = op.args as [Slot, Operand, Operand, Text];
    const source = sourceOf(this.#sources, fd);
    if (source === undefined) return undefined;
    this.#sources.delete(fd.slot);
    const bind = MS_BIND | (source.recursive ? MS_REC : 0);
    const { meaning, hint } = op;
    const opener = path.text !== "" ? this.#openPath(path.text) : this.#openerOf(place);
    if (opener === undefined) return undefined;
    const target = path.text === "" ? linkOf(PLACE) : path;
    return [
      name(fd, SOURCE, this.#arch),
      ...(path.text === "" ? [name(place, PLACE, this.#arch)] : []),
      toProc,
      call("mount", [linkOf(SOURCE), target, 0, bind, 0], { meaning, hint }),
      ...this.#lookAgain(fd, opener),
      // mount_setattr(2) does what mount(2) cannot do: the sandbox may refuse only other calls.
      ...source.pending.flatMap((each) => this.#remount(each, fd) ?? [each]),
    ];
  }

  #openPath(path: string): CallOp {
    const O = openFlag(this.#arch);
    return call("openat", [AT_FDCWD, path, O.O_PATH | O.O_CLOEXEC, 0]);
  }

  #openerOf(place: Operand): CallOp | undefined {
    const opener = typeof place === "object" && "slot" in place ? this.#openers.get(place.slot) : undefined;
    // Without the ops after an error: they made a place that did not exist yet.
    return opener && call(opener.call, opener.args, { retryAgain: opener.retryAgain });
  }

  /** Opens the mount in its place as `fd`, and verifies that it is the file that was mounted. */
  #lookAgain(fd: Slot, opener: CallOp): readonly Op[] {
    const [device, inode, theirs] = [slot("device of source"), slot("inode of source"), slot("of mount")];
    const changed = fail(
      Errno.EAGAIN,
      "the place of a mount is another file than a moment ago: another process changed it",
    );
    return [
      call("fstat", [fd, statBuffer]),
      loadStat("dev", device, this.#arch),
      loadStat("ino", inode, this.#arch),
      call("close", [fd]),
      { ...opener, out: fd },
      call("fstat", [fd, statBuffer]),
      loadStat("dev", theirs, this.#arch),
      when(theirs, "!=", device, [changed]),
      loadStat("ino", theirs, this.#arch),
      when(theirs, "!=", inode, [changed]),
    ];
  }
}

function sourceOf(sources: ReadonlyMap<string, Source>, fd: Operand): Source | undefined {
  return typeof fd === "object" && "slot" in fd ? sources.get(fd.slot) : undefined;
}

/** MS_* of attributes that are set. If none names an access time, the mount keeps its own. mount(2) */
function mountFlags(attrSet: number, attrClear: number): number {
  let flags = flagOf.reduce((bits, [attribute, flag]) => attrSet & attribute ? bits | flag : bits, 0);
  if (attrSet & MountAttr.MOUNT_ATTR_NOSYMFOLLOW) flags |= MountFlag.MS_NOSYMFOLLOW;
  if (attrSet & MountAttr.MOUNT_ATTR_NODIRATIME) flags |= MountFlag.MS_NODIRATIME;
  if (attrClear & MountAttr.MOUNT_ATTR__ATIME) {
    const mode = attrSet & MountAttr.MOUNT_ATTR__ATIME;
    flags |= mode === MountAttr.MOUNT_ATTR_NOATIME
      ? MountFlag.MS_NOATIME
      : mode === MountAttr.MOUNT_ATTR_STRICTATIME
      ? MountFlag.MS_STRICTATIME
      : MountFlag.MS_RELATIME;
  }
  return flags;
}
