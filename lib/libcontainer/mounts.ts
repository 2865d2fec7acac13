/**
 * The mounts of config.json, in its order. Runs in: init, in its mount namespace, before pivot_root.
 *
 * A mount's place is a descriptor from the moment it is resolved: file systems are mounted on "." of it, copies of mounts are moved onto it.
 *
 * @module
 */

import { AT_FDCWD, AtFlag, formatFlags, FsMagic, MountAttr, MountFlag, MoveMount, OpenTree } from "../ffi/constants.ts";
import { at, buffer, bytes, call, fail, load, slot, step, store, struct, when } from "../plan/build.ts";
import type { CallOp, Op, Operand, Step, Struct } from "../plan/op.ts";
import type { Config, Mount } from "../specs/config.ts";
import { RuncError } from "../errors.ts";
import { cleanPath, ensureDirectory, ensureTarget, openInRoot } from "./in_root.ts";
import type { CgroupMountFact, HostFacts, LaunchRequest } from "./launch_request.ts";
import { type MountOptions, parseMountOptions } from "./mount_options.ts";
import { hasNamespace } from "./namespaces.ts";

const target = slot("target");
const source = slot("source");

const { MS_BIND, MS_REC, MS_REMOUNT, MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC } = MountFlag;

/** A mount of the config with its options taken apart. */
interface Parsed {
  readonly mount: Mount;
  /** Clean and absolute. */
  readonly destination: string;
  readonly options: MountOptions;
  readonly from: string;
}

/** Whether the options make it a bind mount, whatever the type says. */
export function isBind(mount: Mount): boolean {
  return mount.options?.some((option) => option === "bind" || option === "rbind") ?? false;
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
  return { mount, destination, options: parseMountOptions(mount.options ?? []), from };
}

/** What the caller reads when a mount fails: runc's words, which Docker and podman look into. */
function mountMeaning({ mount }: Parsed, flags: number, data: string): CallOp["meaning"] {
  const parts = [`src=${mount.source ?? ""}`, `dst=${mount.destination}`, `flags=${formatFlags(MountFlag, flags)}`];
  if (data !== "") parts.push(`data=${data}`);
  return { "*": `${mountPrefix(mount)}: mount ${parts.join(", ")}` };
}

function mountPrefix(mount: Mount): string {
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

/**
 * Refuses by what the descriptor shows: a symlink may have led into a procfs that an earlier mount brought (CVE-2019-19921).
 */
function refuseProcTarget({ mount, destination, options }: Parsed): readonly Op[] {
  if (destination === "/proc" || mountableBelowProc.has(destination)) return [];
  // The remount of what is there already is the one reason to touch it.
  if (options.flags & MS_REMOUNT) return [];
  return [
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

/** Sets the options of a bind mount's copy before anybody can see it. */
function bindAttributes(parsed: Parsed): readonly Op[] {
  const { mount, options } = parsed;
  const flags = options.flags & ~(MS_BIND | MS_REC | MS_REMOUNT);
  const ops: Op[] = [];
  if (flags !== 0 || options.clearedFlags !== 0) {
    const { set, clear } = remountAttributes(flags);
    const setattr = (attributes: Struct, rest: Partial<CallOp> = {}) =>
      call("mount_setattr", [source, "", AtFlag.AT_EMPTY_PATH, attributes, 32], rest);
    const why = { "*": `${mountPrefix(mount)}: failed to set user-requested vfs flags on bind-mount` };
    // EPERM: an option that a parent user namespace locked would be cleared. Then only those go that were named; if one of
    // them is locked, that is an error. mount_namespaces(7), "Restrictions on mount namespaces"
    const named = toAttributes(options.clearedFlags);
    const atime = clear & MountAttr.MOUNT_ATTR__ATIME;
    ops.push(setattr(mountAttr(set, clear), {
      meaning: why,
      onError: [{ errnos: ["EPERM"], ops: [setattr(mountAttr(set, named | atime), { meaning: why })] }],
    }));
  }
  if (options.recursiveSet !== 0 || options.recursiveClear !== 0) {
    const attributes = mountAttr(options.recursiveSet, options.recursiveClear);
    ops.push(
      call("mount_setattr", [source, "", AtFlag.AT_EMPTY_PATH | AtFlag.AT_RECURSIVE, attributes, 32], {
        meaning: { "*": `${mountPrefix(mount)}: failed to set recursive vfs flags` },
      }),
    );
  }
  return ops;
}

/** Copies the mount at the host's `path` into the slot `source`. @see open_tree(2) */
export function cloneMount(directory: Operand, path: string, recursive: boolean, rest: Partial<CallOp> = {}): CallOp {
  const flags = OpenTree.OPEN_TREE_CLONE | OpenTree.OPEN_TREE_CLOEXEC | (recursive ? OpenTree.AT_RECURSIVE : 0) |
    (path === "" ? OpenTree.AT_EMPTY_PATH : 0);
  return call("open_tree", [directory, path, flags], { out: source, ...rest });
}

/** Puts the copy in `source` on the place open as `on`, and closes it. @see move_mount(2) */
export function placeMount(on: Operand, rest: Partial<CallOp> = {}): readonly Op[] {
  const flags = MoveMount.MOVE_MOUNT_F_EMPTY_PATH | MoveMount.MOVE_MOUNT_T_EMPTY_PATH;
  return [call("move_mount", [source, "", on, "", flags], rest), call("close", [source])];
}

/** Sets the propagation of the mount that now lies on `destination`, one call a flag. mount_setattr(2) */
function propagation({ destination, options, mount }: Parsed, facts: HostFacts): readonly Op[] {
  if (options.propagation.length === 0) return [];
  const ops = options.propagation.map((flags) => {
    const value = flags & ~MS_REC;
    const attributes = struct(`{propagation: ${formatFlags(MountFlag, value)}}`, 32, [{ at: 16, size: 8, value }]);
    const recursive = flags & MS_REC ? AtFlag.AT_RECURSIVE : 0;
    return call("mount_setattr", [target, "", AtFlag.AT_EMPTY_PATH | recursive, attributes, 32], {
      meaning: { "*": `${mountPrefix(mount)}: set propagation` },
    });
  });
  return [openInRoot(destination, target, { arch: facts.arch }), ...ops, call("close", [target])];
}

function bindSteps(parsed: Parsed, facts: HostFacts, request: LaunchRequest): readonly Step[] {
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
  const ops: Op[] = [
    cloneMount(AT_FDCWD, path, recursive, { meaning }),
    // A directory can be entered, a file cannot: what the target has to be if it must be made.
    call("fchdir", [source], { out: slot("is file"), tolerate: ["ENOTDIR", "EACCES"] }),
    ...ensureTarget(destination, target, slot("is file"), { arch: facts.arch }),
    ...(destination === "/proc" ? procSourceOnly(parsed) : refuseProcTarget(parsed)),
    ...bindAttributes(parsed),
    ...placeMount(target, { meaning }),
    call("close", [target]),
    ...propagation(parsed, facts),
  ];
  return [step(`bind ${path} on ${destination}`, from, ops)];
}

function resolveSource(path: string, bundle: string): string {
  return path.startsWith("/") ? path : cleanPath(`${bundle}/${path}`);
}

/** Only a procfs may be bound on /proc. */
function procSourceOnly({ mount }: Parsed): readonly Op[] {
  return [
    ...loadFsType(source),
    when(slot("type"), "!=", FsMagic.PROC, [
      fail(
        0,
        `${mountPrefix(mount)}: ${JSON.stringify(mount.destination)} cannot be mounted because it is not of type proc`,
      ),
    ]),
  ];
}

/** A file system of its own, mounted on "." of its place. */
function mountHere(parsed: Parsed, how: { type: string; source: string; flags: number; data: string }): readonly Op[] {
  return [
    call("fchdir", [target]),
    call("mount", [how.source, ".", how.type, how.flags, how.data === "" ? 0 : how.data], {
      meaning: mountMeaning(parsed, how.flags, how.data),
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
  // Read-only comes at the end: mount points and device nodes are made in it first.
  const how = { type: "tmpfs", source: mount.source ?? "tmpfs", flags: options.flags & ~MS_RDONLY, data: options.data };
  const place = ensureDirectory(destination, target, { arch: facts.arch });
  const hasMode = options.data.split(",").some((option) => option.startsWith("mode="));
  if (hasMode) return [...place, ...refuseProcTarget(parsed), ...mountHere(parsed, how)];
  const existed = slot("existed");
  const set = (value: number): Op => ({ op: "add", left: value, right: 0, out: existed });
  const [open] = place as [CallOp];
  const [make] = open.onError!;
  return [
    set(1),
    { ...open, onError: [{ errnos: make!.errnos, ops: [...make!.ops, set(0)] }] },
    ...refuseProcTarget(parsed),
    when(existed, "!=", 0, mountWithMode(parsed, how), mountHere(parsed, how)),
  ];
}

/** Mounts with `mode=` as the directory in `target` has it, in four octal digits that are written when the plan runs. */
function mountWithMode(
  parsed: Parsed,
  how: { type: string; source: string; flags: number; data: string },
): readonly Op[] {
  const statx = buffer("statx", 256);
  const mode = slot("mode");
  const digit = slot("digit");
  const text = `mode=0000${how.data === "" ? "" : `,${how.data}`}`;
  const data = bytes(
    new TextEncoder().encode(`${text}\0`),
    JSON.stringify(text.replace("0000", "<that of the directory>")),
  );
  const digits = [9, 6, 3, 0].flatMap((shift, index): readonly Op[] => [
    { op: "shr", left: mode, right: shift, out: digit },
    { op: "and", left: digit, right: 7, out: digit },
    { op: "add", left: digit, right: "0".charCodeAt(0), out: digit },
    store(at(data, "mode=".length + index), 1, digit),
  ]);
  return [
    call("statx", [target, "", AtFlag.AT_EMPTY_PATH, 0x2, statx]),
    load(at(statx, 28), 2, mode),
    ...digits,
    call("fchdir", [target]),
    call("mount", [how.source, ".", how.type, how.flags, data], { meaning: mountMeaning(parsed, how.flags, text) }),
    call("close", [target]),
  ];
}

/** Any other type, as mount(2) takes it. */
function plainOps(parsed: Parsed, facts: HostFacts): readonly Op[] {
  const { mount, destination, options } = parsed;
  return [
    ...ensureDirectory(destination, target, { arch: facts.arch }),
    ...refuseProcTarget(parsed),
    ...mountHere(parsed, {
      type: mount.type ?? "",
      source: mount.source ?? "",
      flags: options.flags,
      data: options.data,
    }),
  ];
}

const cgroupFlags = MS_NOSUID | MS_NODEV | MS_NOEXEC;

/** v1: a tmpfs with one directory a hierarchy, and symlinks for joined names (`cpu` → `cpu,cpuacct`). */
function cgroup1Steps(parsed: Parsed, config: Config, facts: HostFacts): readonly Step[] {
  const { destination, from } = parsed;
  const own = hasNamespace(config, "cgroup");
  const show = own ? mountHierarchy : bindHierarchy;
  const tmpfs: Op[] = [
    ...ensureDirectory(destination, target, { arch: facts.arch }),
    ...refuseProcTarget(parsed),
    ...mountHere(parsed, { type: "tmpfs", source: "tmpfs", flags: cgroupFlags, data: "mode=755" }),
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
    step(`leave ${destination}`, from, [call("close", [base]), ...propagation(parsed, facts)]),
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
    ...bindAttributes(bind),
    ...placeMount(target),
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
  const copy: Op[] = [cloneMount(AT_FDCWD, path, false), ...bindAttributes(bind), ...placeMount(target)];
  const place: Op[] = [...ensureDirectory(destination, target, { arch: facts.arch }), ...refuseProcTarget(parsed)];
  if (!hasNamespace(config, "cgroup")) return [...place, ...copy, close];
  return [
    ...place,
    enter,
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

/** All mounts, in the config's order, writable where something has to be made in them. */
export function mountSteps(config: Config, facts: HostFacts, request: LaunchRequest): readonly Step[] {
  return (config.mounts ?? []).flatMap((mount, index) => {
    const parsed = parse(mount, index, request.rootfs);
    refuseInsideProc(parsed);
    if (isBind(mount)) return bindSteps(parsed, facts, request);
    if (mount.type === "cgroup" && facts.cgroupMode !== "v2") return cgroup1Steps(parsed, config, facts);
    const ops = [...fileSystemOps(parsed, config, facts), ...propagation(parsed, facts)];
    return [step(`mount ${mount.type ?? "nothing"} on ${parsed.destination}`, parsed.from, ops)];
  });
}

/**
 * What would have kept mount points and device nodes from being made: tmpfs mounts and /dev that are to be read-only, and attributes of
 * all mounts below one that is no bind mount. Runs in: init, after pivot_root.
 */
export function finishMountSteps(config: Config, request: LaunchRequest): readonly Step[] {
  return (config.mounts ?? []).flatMap((mount, index) => {
    if (isBind(mount)) return [];
    const { destination, options, from } = parse(mount, index, request.rootfs);
    const setattr = (flags: number, attributes: Struct) =>
      call("mount_setattr", [AT_FDCWD, destination, flags, attributes, 32], {
        meaning: { "*": `${mountPrefix(mount)}: failed to set vfs flags` },
      });
    const ops: Op[] = [];
    const delayed = (options.flags & MS_RDONLY) !== 0 && (mount.type === "tmpfs" || destination === "/dev");
    if (delayed) ops.push(setattr(0, mountAttr(MountAttr.MOUNT_ATTR_RDONLY, 0)));
    if (options.recursiveSet !== 0 || options.recursiveClear !== 0) {
      ops.push(setattr(AtFlag.AT_RECURSIVE, mountAttr(options.recursiveSet, options.recursiveClear)));
    }
    return ops.length === 0 ? [] : [
      step(
        delayed ? `make ${destination} read-only` : `set attributes of all mounts on ${destination}`,
        `${from}/options`,
        ops,
      ),
    ];
  });
}
