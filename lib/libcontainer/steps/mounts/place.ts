/**
 * The place of a mount. Refuses places on the root, on /proc and in it. Runs in: init, before pivot_root.
 *
 * @module
 */

import { AtFlag, FsMagic, MountFlag } from "../../../ffi/constants.ts";
import { at, buffer, call, fail, load, slot, when } from "../../../plan/build.ts";
import type { Op, Operand, Slot } from "../../../plan/op.ts";
import { RuncError } from "../../../errors.ts";
import type { Arch } from "../../../ffi/syscalls.ts";
import { type InRootOptions, root } from "../root/in_root.ts";
import type { HostFacts } from "../../config/launch_request.ts";
import { isBind, type ParsedMount } from "../../config/mounts.ts";
import { loadStat, statBuffer } from "../stat.ts";
import { target } from "./calls.ts";
import { mountPrefix } from "./messages.ts";

const { MS_REMOUNT } = MountFlag;

/** Directories that every container has and that are not symlinks in images: places in them need fewer instructions. */
const usualPlaces = /^\/(dev|proc|sys)(\/|$)/;

/** How the place of a mount is opened. */
export function placeOptions({ destination, index, options }: ParsedMount, facts: HostFacts): InRootOptions {
  return {
    arch: facts.arch,
    askFor: usualPlaces.test(destination) ? undefined : index,
    noFollow: options.extensions.includes("dest-nofollow"),
  };
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

/** The root file system is root.path. */
export function refuseRootItself({ mount, destination, from }: ParsedMount): void {
  if (destination !== "/") return;
  throw new RuncError("config-invalid", `mountpoint ${JSON.stringify(mount.destination)} is on the top of rootfs`, {
    field: `${from}/destination`,
    hint: "the root file system is root.path; mount below it",
  });
}

/** Refuses paths that cover /proc or files in it: the protections of masked paths and LSM labels need a real /proc. */
export function refuseInsideProc(parsed: ParsedMount): void {
  const { mount, destination, from } = parsed;
  const refuse = (why: string) => {
    throw new RuncError(
      "config-invalid",
      `${JSON.stringify(mount.destination)} cannot be mounted because it is ${why}`,
      {
        field: `${from}/destination`,
      },
    );
  };
  if (destination === "/proc" && mount.type !== "proc" && !isBind(parsed)) refuse("not of type proc");
  if (destination.startsWith("/proc/") && !mountableBelowProc.has(destination)) refuse("inside /proc");
}

const STATX_MNT_ID = 0x1000, STATX_ATTR_MOUNT_ROOT = 0x2000;

const statx = buffer("statx", 256);

/**
 * Refuses a symlink to the root: a mount on the root would hide the container's files. A mount has one root, so the
 * target is the root if it is the root of the rootfs's mount. Offsets: struct statx, include/uapi/linux/stat.h
 */
function refuseRoot({ mount, destination }: ParsedMount, facts: HostFacts): readonly Op[] {
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

/** The same without statx(2): compares directories, so another mount of the same directory is refused too. */
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

/** Checks the open target: a symlink may lead into a procfs of an earlier mount (CVE-2019-19921). */
export function refuseTarget(parsed: ParsedMount, facts: HostFacts): readonly Op[] {
  const { mount, destination, options } = parsed;
  if (destination === "/proc" || mountableBelowProc.has(destination)) return [];
  // Only a remount, which changes an existing mount, may touch a procfs.
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

/** Only a procfs may be bound on /proc. `fd`: the mount for /proc. */
export function procOnly({ mount }: ParsedMount, fd: Slot, arch: Arch): readonly Op[] {
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

/** Puts the file system type of `fd` in the slot `type`. `struct statfs` is 120 bytes, f_type its first word. */
function loadFsType(fd: Operand): readonly Op[] {
  const statfs = buffer("statfs", 120);
  return [call("fstatfs", [fd, statfs]), load(statfs, 4, slot("type"))];
}
