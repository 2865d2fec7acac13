/**
 * The mounts of config.json, in its order. Runs in: init, in its mount namespace, before pivot_root.
 *
 * A mount's place is a descriptor from the moment it is resolved: file systems are mounted on "." of it, copies of mounts are moved onto it.
 *
 * @module
 */

import {
  AT_FDCWD,
  AtFlag,
  formatFlags,
  FsMagic,
  MountAttr,
  MountFlag,
  MoveMount,
  OpenTree,
} from "../../../ffi/constants.ts";
import { at, buffer, bytes, call, fail, load, slot, step, store, struct, when } from "../../../plan/build.ts";
import type { Bytes, CallOp, Op, Operand, Slot, Step, Struct } from "../../../plan/op.ts";
import type { Config, IdMapping, Mount } from "../../../specs/config.ts";
import { RuncError } from "../../../errors.ts";
import { Errno } from "../../../ffi/errno.ts";
import type { Arch } from "../../../ffi/syscalls.ts";
import {
  cleanPath,
  ensureDirectory,
  ensureTarget,
  type InRootOptions,
  isFileOp,
  openInRoot,
  root,
} from "../in_root.ts";
import type { CgroupMountFact, HostFacts, LaunchRequest } from "../../config/launch_request.ts";
import { type MountOptions, parseMountOptions, withContext } from "./mount_options.ts";
import { hasNamespace } from "../../config/namespaces.ts";
import { loadStat, statBuffer } from "../stat.ts";
import { copyUpOps } from "./copy_up.ts";
import { askHelperOps } from "./mount_sources.ts";

const target = slot("target");
const source = slot("source");

const { MS_BIND, MS_REC, MS_REMOUNT, MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC } = MountFlag;

/** A mount of the config with its options taken apart. */
interface Parsed {
  readonly mount: Mount;
  /** Its number in the config. */
  readonly index: number;
  /** Clean and absolute. */
  readonly destination: string;
  readonly options: MountOptions;
  readonly from: string;
}

/** Whether the options make it a bind mount, whatever the type says. */
export function isBind(mount: Mount): boolean {
  return mount.options?.some((option) => option === "bind" || option === "rbind") ?? false;
}

/** Which ids a mount shows: those of a user namespace made for the mappings, or of the container's. */
export interface MountIds {
  /** Absent: the container's user namespace. */
  readonly mappings?: { readonly uid: readonly IdMapping[]; readonly gid: readonly IdMapping[] };
  /** The mounts below it too: `ridmap`. */
  readonly recursive: boolean;
}

/** A bind mount whose source the helper opens. */
export interface HelpedMount {
  /** JSON pointer of the mount. */
  readonly from: string;
  /** Absolute, in init's mount namespace. */
  readonly path: string;
  /** With what is mounted below. */
  readonly recursive: boolean;
  /** AT_SYMLINK_NOFOLLOW, or 0. */
  readonly lookup: number;
  readonly ids?: MountIds;
  /** Texts of errors when the source cannot be opened. */
  readonly meaning: CallOp["meaning"];
  /** Begins the text of any other error: `error mounting … to rootfs at …`. */
  readonly prefix: string;
}

/** Whether a mount shows other ids than its file system has. */
export function isIdMapped({ uidMappings = [], gidMappings = [], options = [] }: Mount): boolean {
  return uidMappings.length + gidMappings.length > 0 || options.includes("idmap") || options.includes("ridmap");
}

/** The ids that a mount is to show; undefined where they stay as they are. */
export function mountIds(mount: Mount): MountIds | undefined {
  if (!isIdMapped(mount)) return undefined;
  const { uidMappings: uid = [], gidMappings: gid = [], options = [] } = mount;
  const isTree = options.findLast((option) => option === "idmap" || option === "ridmap") === "ridmap";
  return { mappings: uid.length === 0 ? undefined : { uid, gid }, recursive: isTree };
}

/** Whether a bind mount changes the one that is there instead of bringing its source: with other ids it is a new one in any case. */
function isRemount(mount: Mount): boolean {
  return !isIdMapped(mount) && (mount.options?.includes("remount") ?? false);
}

/** Whether the helper takes this bind mount's source. Without root it could do no more than init can. */
export function needsHelp(mount: Mount, config: Config, euid: number): boolean {
  return isIdMapped(mount) || (euid === 0 && hasNamespace(config, "user") && !isRemount(mount));
}

function parse(mount: Mount, index: number, rootfs: string): Parsed {
  const from = `/mounts/${index}`;
  const path = cleanPath(mount.destination);
  // A destination that names the rootfs as the host does is meant inside it, as runc reads it.
  const destination = path.startsWith(`${rootfs}/`) ? path.slice(rootfs.length) : path;
  if (destination === "/") {
    throw new RuncError("config-invalid", `mountpoint ${JSON.stringify(mount.destination)} is on the top of rootfs`, {
      field: `${from}/destination`,
      hint: "the root file system is root.path; mount below it",
    });
  }
  return { mount, index, destination, options: parseMountOptions(mount.options ?? []), from };
}

/** Where a mount goes: clean and absolute in the container. */
export function destinationOf(mount: Mount, rootfs: string): string {
  return parse(mount, 0, rootfs).destination;
}

/** The directories that every container has, and that no image makes of symlinks: their places need fewer instructions. */
const usualPlaces = /^\/(dev|proc|sys)(\/|$)/;

/** How the place of a mount is opened. */
function placeOptions({ destination, index, options }: Parsed, facts: HostFacts): InRootOptions {
  return {
    arch: facts.arch,
    askFor: usualPlaces.test(destination) ? undefined : index,
    noFollow: options.extensions.includes("dest-nofollow"),
  };
}

/** What the caller reads when a mount fails: runc's words, which Docker and podman look into. */
function mountMeaning({ mount }: Parsed, flags: number, data: string): CallOp["meaning"] {
  const parts = [`src=${mount.source ?? ""}`, `dst=${mount.destination}`, `flags=${formatFlags(MountFlag, flags)}`];
  if (data !== "") parts.push(`data=${data}`);
  return { "*": `${mountPrefix(mount)}: mount ${parts.join(", ")}` };
}

/** Begins the texts of all errors of a mount. */
export function mountPrefix(mount: Mount): string {
  return `error mounting ${JSON.stringify(mount.source ?? "")} to rootfs at ${JSON.stringify(mount.destination)}`;
}

/** The only names below /proc that may be mounted on: files that lxcfs emulates. */
const mountableBelowProc = new Set([
  "/proc/cpuinfo",
  "/proc/diskstats",
  "/proc/meminfo",
  "/proc/stat",
  "/proc/swaps",
  "/proc/uptime",
  "/proc/loadavg",
  "/proc/slabinfo",
  "/proc/sys/kernel/ns_last_pid",
  "/proc/sys/crypto/fips_enabled",
]);

/** Refuses by name what would cover /proc or something in it: the protections of masked paths and LSM labels rest on a real /proc. */
function refuseInsideProc({ mount, destination, from }: Parsed): void {
  const refuse = (why: string) => {
    throw new RuncError(
      "config-invalid",
      `${JSON.stringify(mount.destination)} cannot be mounted because it is ${why}`,
      {
        field: `${from}/destination`,
      },
    );
  };
  if (destination === "/proc" && mount.type !== "proc" && !isBind(mount)) refuse("not of type proc");
  if (destination.startsWith("/proc/") && !mountableBelowProc.has(destination)) refuse("inside /proc");
}

const STATX_MNT_ID = 0x1000, STATX_ATTR_MOUNT_ROOT = 0x2000;
const statx = buffer("statx", 256);

/**
 * Refuses a symlink to the root itself: what were mounted there would hide the container's files. A mount has one root, so it is that
 * where the root of the rootfs's mount has been found. Offsets: struct statx, include/uapi/linux/stat.h
 */
function refuseRoot({ mount, destination }: Parsed, facts: HostFacts): readonly Op[] {
  if (usualPlaces.test(destination)) return [];
  const refuse = fail(
    0,
    `${mountPrefix(mount)}: mountpoint ${JSON.stringify(mount.destination)} is on the top of rootfs`,
  );
  if (facts.refused?.has("statx")) return refuseRootDirectory(refuse, facts.arch);
  const isRoot = slot("is root"), theirs = slot("mount of target"), ours = slot("mount of root");
  const look = (fd: Operand, out: Slot): readonly Op[] => [
    call("statx", [fd, "", AtFlag.AT_EMPTY_PATH, STATX_MNT_ID, statx]),
    load(at(statx, 144), 8, out),
  ];
  return [
    ...look(root, ours),
    ...look(target, theirs),
    load(at(statx, 8), 8, isRoot),
    { op: "and", left: isRoot, right: STATX_ATTR_MOUNT_ROOT, out: isRoot },
    when(isRoot, "!=", 0, [
      when(ours, "==", theirs, [
        refuse,
      ]),
    ]),
  ];
}

/** The same without statx(2), by the directory: another mount of it is refused too. */
function refuseRootDirectory(refuse: Op, arch: Arch): readonly Op[] {
  const [ours, inode, theirs] = [slot("device of root"), slot("inode of root"), slot("of target")];
  return [
    call("fstat", [root, statBuffer]),
    loadStat("dev", ours, arch),
    loadStat("ino", inode, arch),
    call("fstat", [target, statBuffer]),
    loadStat("dev", theirs, arch),
    when(ours, "==", theirs, [loadStat("ino", theirs, arch), when(inode, "==", theirs, [refuse])]),
  ];
}

/**
 * Refuses by what the descriptor shows: a symlink may have led into a procfs that an earlier mount brought (CVE-2019-19921).
 */
function refuseTarget(parsed: Parsed, facts: HostFacts): readonly Op[] {
  const { mount, destination, options } = parsed;
  if (destination === "/proc" || mountableBelowProc.has(destination)) return [];
  // The remount of what is there already is the one reason to touch it.
  if (options.flags & MS_REMOUNT) return refuseRoot(parsed, facts);
  return [
    ...refuseRoot(parsed, facts),
    ...loadFsType(target),
    when(slot("type"), "==", FsMagic.PROC, [
      fail(
        0,
        `${mountPrefix(mount)}: ${JSON.stringify(mount.destination)} cannot be mounted because it is inside /proc`,
      ),
    ]),
  ];
}

/** Puts the file system type of `fd` in the slot `type`. `struct statfs` is 120 bytes, f_type its first word. */
function loadFsType(fd: Operand): readonly Op[] {
  const statfs = buffer("statfs", 120);
  return [call("fstatfs", [fd, statfs]), load(statfs, 4, slot("type"))];
}

/** `struct mount_attr`, 32 bytes: attr_set, attr_clr, propagation, userns_fd. @see mount_setattr(2) */
function mountAttr(set: number, clear: number): Struct {
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

/** The attributes that a remount with `flags` would leave: exactly these, and the access times only where one is named. */
function remountAttributes(flags: number): { set: number; clear: number } {
  let set = toAttributes(flags);
  let all = attributeOf.reduce((bits, [, attribute]) => bits | attribute, 0) & ~MountAttr.MOUNT_ATTR_NODIRATIME;
  if (flags & atimeFlags) {
    all |= MountAttr.MOUNT_ATTR__ATIME | MountAttr.MOUNT_ATTR_NODIRATIME;
    // mount(2): of several modes strictatime wins.
    if (flags & MountFlag.MS_STRICTATIME) set |= MountAttr.MOUNT_ATTR_STRICTATIME;
    else if (flags & MountFlag.MS_NOATIME) set |= MountAttr.MOUNT_ATTR_NOATIME;
  }
  // attr_clr must hold the whole of _ATIME where a mode is set. mount_setattr(2)
  return { set, clear: all & ~(set & ~MountAttr.MOUNT_ATTR__ATIME) };
}

/** Sets the options of the bind mount that is open as `fd`: mostly a copy that nobody can see yet. */
function bindAttributes(parsed: Parsed, fd: Slot): readonly Op[] {
  const { mount, options } = parsed;
  const flags = options.flags & ~(MS_BIND | MS_REC | MS_REMOUNT);
  const ops: Op[] = [];
  if (flags !== 0 || options.clearedFlags !== 0) {
    const { set, clear } = remountAttributes(flags);
    const setattr = (attributes: Struct, rest: Partial<CallOp> = {}) =>
      call("mount_setattr", [fd, "", AtFlag.AT_EMPTY_PATH, attributes, 32], rest);
    const why = { "*": `${mountPrefix(mount)}: failed to set user-requested vfs flags on bind-mount` };
    // EPERM: an option that a parent user namespace locked would be cleared. Then only those go that were named; if one of
    // them is locked, that is an error. mount_namespaces(7), "Restrictions on mount namespaces"
    const named = toAttributes(options.clearedFlags);
    const atime = clear & MountAttr.MOUNT_ATTR__ATIME;
    // The one that is never locked: fs/namespace.c, can_change_locked_flags.
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

/** Puts the copy in `source` on the place open as `on`. Its descriptor is then that of the mount there. @see move_mount(2) */
function placeMount(on: Operand, rest: Partial<CallOp> = {}): CallOp {
  const flags = MoveMount.MOVE_MOUNT_F_EMPTY_PATH | MoveMount.MOVE_MOUNT_T_EMPTY_PATH;
  return call("move_mount", [source, "", on, "", flags], rest);
}

/** Sets the propagation of the mount that is open as `fd`, one call a flag. mount_setattr(2) */
function propagation({ options, mount }: Parsed, fd: Slot): readonly Op[] {
  return options.propagation.map((flags) => {
    const value = flags & ~MS_REC;
    const attributes = struct(`{propagation: ${formatFlags(MountFlag, value)}}`, 32, [{ at: 16, size: 8, value }]);
    const recursive = flags & MS_REC ? AtFlag.AT_RECURSIVE : 0;
    return call("mount_setattr", [fd, "", AtFlag.AT_EMPTY_PATH | recursive, attributes, 32], {
      meaning: { "*": `${mountPrefix(mount)}: set propagation` },
    });
  });
}

/** The same for what now lies on the destination. */
function propagationThere(parsed: Parsed, facts: HostFacts): readonly Op[] {
  if (parsed.options.propagation.length === 0) return [];
  const { arch, noFollow } = placeOptions(parsed, facts);
  return [
    openInRoot(parsed.destination, target, { arch, noFollow }),
    ...propagation(parsed, target),
    call("close", [target]),
  ];
}

function bindSteps(
  parsed: Parsed,
  config: Config,
  facts: HostFacts,
  request: LaunchRequest,
): readonly Step[] {
  const { mount, destination, options, from } = parsed;
  const recursive = (options.flags & MS_REC) !== 0;
  const path = resolveSource(mount.source ?? "", request.bundle);
  const meaning = mountMeaning(parsed, options.flags, "");
  if (options.data !== "") {
    throw new RuncError(
      "config-invalid",
      `${mountPrefix(mount)}: bind mounts cannot have any filesystem-specific options applied (${options.data})`,
      { field: `${from}/options` },
    );
  }
  const { extensions } = options;
  if (extensions.includes("copy-symlink") && extensions.some((name) => name.endsWith("-nofollow"))) {
    const message = `${mountPrefix(mount)}: copy-symlink goes with neither src-nofollow nor dest-nofollow`;
    throw new RuncError("config-invalid", message, { field: `${from}/options` });
  }
  if (isRemount(mount)) return [remountStep(parsed, facts)];
  const take = needsHelp(mount, config, facts.euid) ? askHelperOps(source) : [
    cloneMount(AT_FDCWD, path, recursive, { meaning }, lookupOf(options)),
  ];
  const mountOps: Op[] = [
    // What the target has to be if it must be made.
    isFileOp(source, slot("is file")),
    ...ensureTarget(destination, target, slot("is file"), placeOptions(parsed, facts)),
    ...(destination === "/proc" ? procOnly(parsed, source, facts.arch) : refuseTarget(parsed, facts)),
    ...bindAttributes(parsed, source),
    placeMount(target, { meaning }),
    call("close", [target]),
    ...propagation(parsed, source),
    call("close", [source]),
  ];
  const ops = extensions.includes("copy-symlink") ? unlessSymlink(parsed, mountOps, facts) : mountOps;
  return [step(`bind ${path} on ${destination}`, from, [...take, ...ops])];
}

/** `bind` with `remount` changes the options of the mount that is there. mount(2), "Remounting an existing mount" */
function remountStep(parsed: Parsed, facts: HostFacts): Step {
  const { destination, from, options } = parsed;
  const meaning = mountMeaning(parsed, options.flags, "");
  return step(`change the options of the mount on ${destination}`, from, [
    openInRoot(destination, target, placeOptions(parsed, facts), { meaning }),
    ...(destination === "/proc" ? procOnly(parsed, target, facts.arch) : refuseTarget(parsed, facts)),
    ...bindAttributes(parsed, target),
    ...propagation(parsed, target),
    call("close", [target]),
  ]);
}

/** crun's `src-nofollow` mounts a symlink itself; `copy-symlink` has to see it. */
function lookupOf({ extensions }: MountOptions): number {
  return extensions.includes("src-nofollow") || extensions.includes("copy-symlink") ? OpenTree.AT_SYMLINK_NOFOLLOW : 0;
}

/**
 * crun's `copy-symlink`: a source that is a symlink is not mounted, its like is made instead. What exists has to be a symlink as long; that it
 * leads to the same place cannot be seen from here.
 */
function unlessSymlink(parsed: Parsed, otherwise: readonly Op[], facts: HostFacts): readonly Op[] {
  const { destination, index } = parsed;
  // Zeroed: there is a NUL behind the text.
  const text = buffer(`symlink of mount ${index}`, PATH_MAX + 1);
  const length = slot("length");
  const found = slot("length of what is there");
  const there = `${mountPrefix(parsed.mount)}: ${JSON.stringify(parsed.mount.destination)} is there already and is`;
  const isSame: readonly Op[] = [
    call("readlinkat", [
      target,
      destination.slice(destination.lastIndexOf("/") + 1),
      buffer("symlink", PATH_MAX),
      PATH_MAX,
    ], {
      out: found,
      meaning: { EINVAL: `${there} no symlink` },
    }),
    when(found, "!=", length, [fail(0, `${there} a symlink to somewhere else`)]),
  ];
  const end = destination.lastIndexOf("/");
  const place = { ...placeOptions(parsed, facts), noFollow: false };
  const copy: readonly Op[] = [
    ...(end === 0
      ? [openInRoot("/", target, { ...place, directory: true })]
      : ensureDirectory(destination.slice(0, end), target, place)),
    call("symlinkat", [text, target, destination.slice(end + 1)], {
      onError: [{ errnos: ["EEXIST"], ops: isSame }],
    }),
    call("close", [target]),
    call("close", [source]),
  ];
  return [
    // Of the copy itself: the source may have become another file. ENOENT: it is none. readlink(2), "empty string"
    call("readlinkat", [source, "", text, PATH_MAX], { out: length, tolerate: ["ENOENT"] }),
    when(length, "==", -Errno.ENOENT, otherwise, copy),
  ];
}

/** limits.h */
const PATH_MAX = 4096;

function resolveSource(path: string, bundle: string): string {
  return path.startsWith("/") ? path : cleanPath(`${bundle}/${path}`);
}

/** Only a procfs may be bound on /proc. `fd`: what is to lie there. */
function procOnly({ mount }: Parsed, fd: Slot, arch: Arch): readonly Op[] {
  const inode = slot("inode");
  return [
    ...loadFsType(fd),
    when(slot("type"), "!=", FsMagic.PROC, [
      fail(
        0,
        `${mountPrefix(mount)}: ${JSON.stringify(mount.destination)} cannot be mounted because it is not of type proc`,
      ),
    ]),
    call("fstat", [fd, statBuffer]),
    loadStat("ino", inode, arch),
    // PROC_ROOT_INO, include/linux/proc_ns.h: no other file of a procfs has it.
    when(inode, "!=", 1, [
      {
        op: "warn",
        value: 0,
        why:
          `bind-mount ${mount.destination} (source ${mount.source}) is of type procfs but is not the root of a procfs. ` +
          "Future versions of runc might block this configuration",
      },
    ]),
  ];
}

/** What a user namespace lacks where the kernel refuses it a file system. user_namespaces(7), "Interaction of user namespaces and other types" */
const refusalHints: Readonly<Record<string, CallOp["hint"]>> = {
  proc: { EPERM: ownerHint("procfs", "pid") },
  sysfs: { EPERM: `${ownerHint("sysfs", "network")}; without one, bind /sys` },
  mqueue: { EPERM: ownerHint("mqueue", "ipc") },
  cgroup: { EPERM: ownerHint("a cgroup file system", "cgroup") },
};

function ownerHint(what: string, namespace: string): string {
  return `in a user namespace ${what} takes a new ${namespace} namespace too, an entry of linux.namespaces`;
}

/** Why mount(2) may have refused. */
function mountHint(type: string, data: string): CallOp["hint"] {
  const ids = data.split(",").filter((option) => /^[ug]id=/.test(option)).join(" and ");
  return ids === "" ? refusalHints[type] : {
    ...refusalHints[type],
    EINVAL: `${ids} must be mapped, where the container has a user namespace`,
  };
}

/** A file system of its own, mounted on "." of its place. */
function mountHere(parsed: Parsed, how: { type: string; source: string; flags: number; data: string }): readonly Op[] {
  return [
    call("fchdir", [target]),
    call("mount", [how.source, ".", how.type, how.flags, how.data === "" ? 0 : how.data], {
      meaning: mountMeaning(parsed, how.flags, how.data),
      hint: mountHint(how.type, how.data),
    }),
    call("close", [target]),
  ];
}

/** procfs and sysfs: only on a real directory, through no symlink (CVE-2019-19921, CVE-2023-27561). */
function kernelFsOps(parsed: Parsed, facts: HostFacts): readonly Op[] {
  const { mount, destination, options } = parsed;
  const ordinary = `${mountPrefix(mount)}: filesystem ${
    JSON.stringify(mount.type)
  } must be mounted on ordinary directory`;
  return [
    ...ensureDirectory(destination, target, { arch: facts.arch, noSymlinks: true }, {
      meaning: { ELOOP: ordinary, ENOTDIR: ordinary },
    }),
    ...mountHere(parsed, {
      type: mount.type!,
      source: mount.source ?? mount.type!,
      flags: options.flags,
      data: options.data,
    }),
  ];
}

/** A tmpfs takes the mode of the directory that it covers, unless a mode is given or the directory is new. */
function tmpfsOps(parsed: Parsed, facts: HostFacts): readonly Op[] {
  const { mount, destination, options } = parsed;
  if (options.extensions.includes("tmpcopyup")) return copiedTmpfsOps(parsed, facts);
  // Read-only comes at the end: mount points and device nodes are made in it first.
  const how = { type: "tmpfs", source: mount.source ?? "tmpfs", flags: options.flags & ~MS_RDONLY, data: options.data };
  const place = ensureDirectory(destination, target, placeOptions(parsed, facts));
  if (hasMode(options)) return [...place, ...refuseTarget(parsed, facts), ...mountHere(parsed, how)];
  const existed = slot("existed");
  const set = (value: number): Op => ({ op: "add", left: value, right: 0, out: existed });
  const [open] = place as [CallOp];
  const [make] = open.onError!;
  return [
    set(1),
    { ...open, onError: [{ errnos: make!.errnos, ops: [...make!.ops, set(0)] }] },
    ...refuseTarget(parsed, facts),
    when(existed, "!=", 0, mountWithMode(parsed, how, facts.arch), mountHere(parsed, how)),
  ];
}

/** A tmpfs that begins with the content of the directory that it covers. */
function copiedTmpfsOps(parsed: Parsed, facts: HostFacts): readonly Op[] {
  const { mount, index, destination, options } = parsed;
  const flags = options.flags & ~MS_RDONLY;
  const meaning = mountMeaning(parsed, flags, options.data);
  const { set } = remountAttributes(flags);
  const digits = bytes(new TextEncoder().encode("0000\0"), '"<that of the directory>"');
  const tmpfs = {
    index,
    source: mount.source ?? "tmpfs",
    flags,
    attributes: set,
    data: options.data,
    inheritMode: (use: (mode: Operand) => Op) =>
      hasMode(options) ? [] : [...modeDigitOps(digits, 0, facts.arch), use(digits)],
    meaning,
  };
  return [
    ...ensureDirectory(destination, target, placeOptions(parsed, facts)),
    ...refuseTarget(parsed, facts),
    ...copyUpOps(tmpfs, target, source),
    placeMount(target, { meaning }),
    call("close", [source]),
    call("close", [target]),
  ];
}

const hasMode = ({ data }: MountOptions) => data.split(",").some((option) => option.startsWith("mode="));

/** Mounts with `mode=` as the directory in `target` has it, in four octal digits that are written when the plan runs. */
function mountWithMode(
  parsed: Parsed,
  how: { type: string; source: string; flags: number; data: string },
  arch: Arch,
): readonly Op[] {
  const text = `mode=0000${how.data === "" ? "" : `,${how.data}`}`;
  const data = bytes(
    new TextEncoder().encode(`${text}\0`),
    JSON.stringify(text.replace("0000", "<that of the directory>")),
  );
  return [
    ...modeDigitOps(data, "mode=".length, arch),
    call("fchdir", [target]),
    call("mount", [how.source, ".", how.type, how.flags, data], {
      meaning: mountMeaning(parsed, how.flags, text),
      hint: mountHint(how.type, how.data),
    }),
    call("close", [target]),
  ];
}

/** Writes the mode of the directory in `target` as four octal digits to `text`, from `offset` on. */
function modeDigitOps(text: Bytes, offset: number, arch: Arch): readonly Op[] {
  const mode = slot("mode");
  const digit = slot("digit");
  return [
    call("fstat", [target, statBuffer]),
    loadStat("mode", mode, arch),
    ...[9, 6, 3, 0].flatMap((shift, index): readonly Op[] => [
      { op: "shr", left: mode, right: shift, out: digit },
      { op: "and", left: digit, right: 7, out: digit },
      { op: "add", left: digit, right: "0".charCodeAt(0), out: digit },
      store(at(text, offset + index), 1, digit),
    ]),
  ];
}

/** Any other type, as mount(2) takes it. */
function plainOps(parsed: Parsed, facts: HostFacts): readonly Op[] {
  const { mount, destination, options } = parsed;
  return [
    ...ensureDirectory(destination, target, placeOptions(parsed, facts)),
    ...refuseTarget(parsed, facts),
    ...mountHere(parsed, {
      type: mount.type ?? "",
      source: mount.source ?? "",
      flags: isReadOnlyLater(parsed) ? options.flags & ~MS_RDONLY : options.flags,
      data: options.data,
    }),
  ];
}

/** Something is made in it first: mount points in a tmpfs, device nodes in /dev. */
function isReadOnlyLater({ mount, destination, options }: Parsed): boolean {
  return (options.flags & MS_RDONLY) !== 0 && (mount.type === "tmpfs" || destination === "/dev");
}

const cgroupFlags = MS_NOSUID | MS_NODEV | MS_NOEXEC;

/** As the directory that the tmpfs lies on: that of a sysfs is 0555. sysfs_create_mount_point, fs/sysfs/dir.c */
function cgroupDirectoryMode({ destination }: Parsed, { mounts = [] }: Config): string {
  const isOfSysfs = mounts.some((mount) =>
    mount.type === "sysfs" && `${cleanPath(mount.destination)}/fs/cgroup` === destination
  );
  return isOfSysfs ? "555" : "755";
}

/** v1: a tmpfs with one directory a hierarchy, and symlinks for joined names (`cpu` → `cpu,cpuacct`). */
function cgroup1Steps(parsed: Parsed, config: Config, facts: HostFacts): readonly Step[] {
  const { destination, from } = parsed;
  const own = hasNamespace(config, "cgroup");
  const show = own ? mountHierarchy : bindHierarchy;
  const tmpfs: Op[] = [
    ...ensureDirectory(destination, target, placeOptions(parsed, facts)),
    ...refuseTarget(parsed, facts),
    ...mountHere(parsed, {
      type: "tmpfs",
      source: "tmpfs",
      flags: cgroupFlags,
      data: withContext(`mode=${cgroupDirectoryMode(parsed, config)}`, config.linux?.mountLabel),
    }),
    openInRoot(destination, base, { arch: facts.arch, directory: true }),
  ];
  return [
    step(`mount tmpfs for cgroups on ${destination}`, from, tmpfs),
    ...facts.cgroupMounts.map((hierarchy) =>
      step(`show the ${hierarchy.name} hierarchy on ${destination}/${hierarchy.name}`, from, [
        call("mkdirat", [base, hierarchy.name, 0o755]),
        openInRoot(`${destination}/${hierarchy.name}`, target, { arch: facts.arch, directory: true }),
        ...show(parsed, hierarchy),
      ])
    ),
    ...facts.cgroupMounts.filter(({ name }) => name.includes(",")).flatMap(({ name }) =>
      name.split(",").map((controller) =>
        step(`link ${controller} to ${name}`, from, [
          call("symlinkat", [name, base, controller], { tolerate: ["EEXIST"] }),
        ])
      )
    ),
    step(`close ${destination} and set its propagation if it has one`, from, [
      call("close", [base]),
      ...propagationThere(parsed, facts),
    ]),
  ];
}

/** Directory that holds the hierarchies. */
const base = slot("base");

/** A mount made in the cgroup namespace has the container's cgroup as its root. cgroup_namespaces(7) */
function mountHierarchy(parsed: Parsed, hierarchy: CgroupMountFact): readonly Op[] {
  const flags = cgroupFlags | (parsed.options.flags & MS_RDONLY);
  const name = hierarchy.name === "systemd" ? "systemd" : "cgroup";
  return mountHere(parsed, { type: "cgroup", source: name, flags, data: hierarchy.controllers });
}

/** Without the namespace it is a copy of the container's part of the host's mount. */
function bindHierarchy(parsed: Parsed, hierarchy: CgroupMountFact): readonly Op[] {
  const { options } = parsed;
  const bind = { ...parsed, options: { ...options, flags: options.flags | MS_BIND | MS_REC } };
  return [
    cloneMount(AT_FDCWD, hierarchy.source, true, { meaning: mountMeaning(parsed, bind.options.flags, "") }),
    ...bindAttributes(bind, source),
    placeMount(target),
    ...propagation(parsed, source),
    call("close", [source]),
    call("close", [target]),
  ];
}

/**
 * v2: a cgroup2 mount; where that is refused, and without a cgroup namespace, a copy of the host's.
 *
 * A new mount made in the host's cgroup namespace sets the options of the host's own: nsdelegate and memory_recursiveprot, which systemd
 * asks for, would be gone for all. apply_cgroup_root_flags in kernel/cgroup/cgroup.c
 */
function cgroup2Ops(parsed: Parsed, config: Config, facts: HostFacts): readonly Op[] {
  const { mount, destination, options } = parsed;
  const path = hasNamespace(config, "cgroup") && facts.cgroup2Path !== undefined ? facts.cgroup2Path : "/sys/fs/cgroup";
  const bind: Parsed = { ...parsed, options: { ...options, flags: options.flags | MS_BIND } };
  const [enter, mountOp, close] = mountHere(parsed, {
    type: "cgroup2",
    source: mount.source ?? "cgroup",
    flags: options.flags,
    data: options.data,
  }) as [CallOp, CallOp, CallOp];
  const place: Op[] = [...bindAttributes(bind, source), placeMount(target), call("close", [source])];
  const nothing = withContext("nr_blocks=1,nr_inodes=1", config.linux?.mountLabel);
  // Without root the cgroup may be out of sight. Then nothing is to be seen rather than what /sys shows there, writable (CVE-2023-25809).
  const copy: Op[] = facts.rootlessCgroups
    ? [
      cloneMount(AT_FDCWD, path, false, { tolerate: ["ENOENT"] }),
      when(source, "==", -Errno.ENOENT, [call("mount", ["tmpfs", ".", "tmpfs", MS_RDONLY, nothing])], place),
    ]
    : [cloneMount(AT_FDCWD, path, false), ...place];
  const start: Op[] = [
    ...ensureDirectory(destination, target, placeOptions(parsed, facts)),
    ...refuseTarget(parsed, facts),
    enter,
  ];
  if (!hasNamespace(config, "cgroup")) return [...start, ...copy, close];
  return [
    ...start,
    { ...mountOp, onError: [{ errnos: ["EPERM", "EBUSY"], ops: copy }] },
    close,
  ];
}

function fileSystemOps(parsed: Parsed, config: Config, facts: HostFacts): readonly Op[] {
  switch (parsed.mount.type) {
    case "proc":
    case "sysfs":
      return kernelFsOps(parsed, facts);
    case "tmpfs":
      return tmpfsOps(parsed, facts);
    case "cgroup":
      return cgroup2Ops(parsed, config, facts);
    default:
      return plainOps(parsed, facts);
  }
}

/** The bind mounts whose sources init cannot take by itself, in the config's order. */
export function helpedMounts(config: Config, facts: HostFacts, request: LaunchRequest): readonly HelpedMount[] {
  return (config.mounts ?? []).flatMap((mount, index) => {
    if (!isBind(mount) || !needsHelp(mount, config, facts.euid)) return [];
    const parsed = parse(mount, index, request.rootfs);
    return [{
      from: parsed.from,
      path: resolveSource(mount.source ?? "", request.bundle),
      recursive: (parsed.options.flags & MS_REC) !== 0,
      lookup: lookupOf(parsed.options),
      ids: mountIds(mount),
      meaning: mountMeaning(parsed, parsed.options.flags, ""),
      prefix: mountPrefix(mount),
    }];
  });
}

/** All mounts, in the config's order, writable where something has to be made in them. */
export function mountSteps(
  config: Config,
  facts: HostFacts,
  request: LaunchRequest,
): readonly Step[] {
  return (config.mounts ?? []).flatMap((mount, index) => {
    const parsed = parse(mount, index, request.rootfs);
    refuseInsideProc(parsed);
    if (isBind(mount)) return bindSteps(parsed, config, facts, request);
    if (mount.type === "cgroup" && facts.cgroupMode !== "v2") return cgroup1Steps(parsed, config, facts);
    const ops = [...fileSystemOps(parsed, config, facts), ...propagationThere(parsed, facts)];
    return [step(`mount ${mount.type ?? "nothing"} on ${parsed.destination}`, parsed.from, ops)];
  });
}

/** How often an attempt is made where files are open for writing, and the nanoseconds between two: as in runc, rootfs_linux.go, remountReadonly. */
const READ_ONLY_TRIES = 5, READ_ONLY_PAUSE = 100_000_000;

/** Makes the mount read-only. EBUSY: something has a file in it open for writing, a hook's child perhaps, which may be about to end. */
function makeReadOnlyOp({ destination, mount }: Parsed): CallOp {
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
 * What would have kept mount points and device nodes from being made: tmpfs mounts and /dev that are to be read-only, and attributes of
 * all mounts below one that is no bind mount. Runs in: init, after pivot_root.
 */
export function finishMountSteps(config: Config, request: LaunchRequest): readonly Step[] {
  return (config.mounts ?? []).flatMap((mount, index) => {
    if (isBind(mount)) return [];
    const parsed = parse(mount, index, request.rootfs);
    const { destination, options, from } = parsed;
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
