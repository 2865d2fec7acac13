/**
 * /dev: device nodes, links, ptmx, and stdio that is the host's /dev/null. Runs in: init.
 *
 * @module
 */

import { AT_FDCWD, AtFlag, FileType, MoveMount, openFlag, OpenTree } from "../../ffi/constants.ts";
import type { Arch } from "../../ffi/syscalls.ts";
import { call, fail, slot, step, when } from "../../plan/build.ts";
import type { Op, Operand, Step } from "../../plan/op.ts";
import type { Config, LinuxDevice } from "../../specs/config.ts";
import { defaultDevices } from "../../specs/default_devices.ts";
import { RuncError } from "../../errors.ts";
import { cleanPath, ensureDirectory, ensureFile, openInside } from "./root/in_root.ts";
import type { HostFacts } from "../config/launch_request.ts";
import { makesNamespace } from "../config/namespaces.ts";
import { FIRST_DEVICE } from "./protocol.ts";
import { loadStat, statBuffer } from "./stat.ts";

const fileTypes: Readonly<Record<string, number>> = {
  c: FileType.S_IFCHR,
  u: FileType.S_IFCHR,
  b: FileType.S_IFBLK,
  p: FileType.S_IFIFO,
};

/** A device to make and its JSON pointer in config.json, `from`; empty for a default device. */
interface Wanted {
  readonly device: LinuxDevice;
  readonly path: string;
  readonly from: string;
  /** Index in linux.devices; −1 for a default device. */
  readonly index: number;
}

function wantedDevices(config: Config): readonly Wanted[] {
  const listed = (config.linux?.devices ?? []).map((device, index): Wanted => ({
    device,
    path: cleanPath(device.path),
    from: `/linux/devices/${index}`,
    index,
  }));
  const defaults = defaultDevices
    .filter(({ path }) => !listed.some((one) => one.path === path))
    .map((device): Wanted => ({ device, path: device.path, from: "", index: -1 }));
  // /dev/ptmx is always a link.
  return [...listed, ...defaults].filter(({ path }) => path !== "/dev/ptmx");
}

/** A device number as the kernel encodes it. include/linux/kdev_t.h, new_encode_dev */
export function deviceNumber(major: number, minor: number): number {
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0;
}

/** Loads type and device number of the file open as `fd` into slots. */
function loadIdentity(fd: Operand, arch: Arch): readonly Op[] {
  return [
    call("fstat", [fd, statBuffer]),
    loadStat("mode", slot("type"), arch),
    { op: "and", left: slot("type"), right: FileType.S_IFMT, out: slot("type") },
    loadStat("rdev", slot("device"), arch),
  ];
}

/** Runs `then` unless the slots have this type, by default a character device, and these numbers. */
function unlessDevice(
  major: number,
  minor: number,
  then: readonly Op[],
  type: number = FileType.S_IFCHR,
): readonly Op[] {
  const is = slot("is device");
  return [
    { op: "add", left: 0, right: 0, out: is },
    when(slot("type"), "==", type, [
      when(slot("device"), "==", deviceNumber(major, minor), [{ op: "add", left: 1, right: 0, out: is }]),
    ]),
    when(is, "==", 0, then),
  ];
}

/** Runs `otherwise` unless the file open as `node` is the device that is wanted. */
function unlessWanted({ device }: Wanted, node: Operand, arch: Arch, otherwise: readonly Op[]): readonly Op[] {
  const numbers = device.type === "p" ? [0, 0] as const : [device.major, device.minor] as const;
  return [...loadIdentity(node, arch), ...unlessDevice(...numbers, otherwise, fileTypes[device.type])];
}

/** Sets the owner of a new node. Verifies it first: the name may be another file now (example: CVE-2025-52565). */
function ownOps(wanted: Wanted, parent: Operand, name: string, facts: HostFacts): readonly Op[] {
  const { path, device: { uid = 0, gid = 0 } } = wanted;
  if (uid === 0 && gid === 0) return [];
  const O = openFlag(facts.arch);
  const node = slot("node");
  const changed = fail(0, `new device ${path} is not what was made: another process changed it`);
  return [
    call("openat", [parent, name, O.O_PATH | O.O_NOFOLLOW | O.O_CLOEXEC, 0], { out: node }),
    ...unlessWanted(wanted, node, facts.arch, [changed]),
    call("fchownat", [node, "", uid, gid, AtFlag.AT_EMPTY_PATH]),
    call("close", [node]),
  ];
}

/** A file of the image in the place of a device stays, like in runc. A warning reports a different file. */
function keepOps(wanted: Wanted, parent: Operand, name: string, facts: HostFacts): readonly Op[] {
  const O = openFlag(facts.arch);
  const node = slot("node");
  const why = `${wanted.path} is there already and is another file than linux.devices asks for: it stays as it is`;
  return [
    call("openat", [parent, name, O.O_PATH | O.O_NOFOLLOW | O.O_CLOEXEC, 0], { out: node }),
    ...unlessWanted(wanted, node, facts.arch, [{ op: "warn", value: 0, why }]),
    call("close", [node]),
  ];
}

/** Makes the node in the open directory `parent`; an existing file stays. */
function nodeOps(wanted: Wanted, parent: Operand, name: string, facts: HostFacts): readonly Op[] {
  const { device, index } = wanted;
  const mode = fileTypes[device.type]! | ((device.fileMode ?? 0o666) & 0o7777);
  const number = device.type === "p" ? 0 : deviceNumber(device.major, device.minor);
  const made = slot("made");
  const own = ownOps(wanted, parent, name, facts);
  const bind = { errnos: ["EPERM", "EACCES"], ops: bindOps(wanted, parent, name, facts) } as const;
  // Of the default devices only /dev/null matters. It is verified before its use.
  const keep = index < 0 ? [] : [{ errnos: ["EEXIST"], ops: keepOps(wanted, parent, name, facts) } as const];
  return [
    call("mknodat", [parent, name, mode, number], {
      out: made,
      tolerate: index < 0 ? ["EEXIST"] : [],
      onError: [bind, ...keep],
    }),
    ...(own.length === 0 ? [] : [when(made, "==", 0, own)]),
  ];
}

/** Binds the host's node over an empty file: a process in a user namespace cannot make device nodes. */
function bindOps({ path }: Wanted, parent: Operand, name: string, facts: HostFacts): readonly Op[] {
  const node = slot("node");
  const copy = slot("copy");
  return [
    call("open_tree", [AT_FDCWD, path, OpenTree.OPEN_TREE_CLONE | OpenTree.OPEN_TREE_CLOEXEC], { out: copy }),
    ...ensureFile(parent, name, node, 0, facts.arch),
    call("move_mount", [copy, "", node, "", MoveMount.MOVE_MOUNT_F_EMPTY_PATH | MoveMount.MOVE_MOUNT_T_EMPTY_PATH]),
    call("close", [copy]),
    call("close", [node]),
  ];
}

/** dev_t has 12 bits for the major and 20 for the minor number. include/linux/kdev_t.h */
const MAJOR_LIMIT = 1 << 12, MINOR_LIMIT = 1 << 20;

function checkDevice({ device, from }: Wanted): void {
  const { path, type, major, minor } = device;
  const refuse = (what: string, field: string) => {
    throw new RuncError("config-invalid", `${what} for device ${path}`, { field: `${from}/${field}` });
  };
  if (fileTypes[type] === undefined) refuse(`${type} is not a valid device type`, "type");
  if (type === "p") return;
  if (major < 0 || major >= MAJOR_LIMIT) refuse(`${major} is not a valid major number`, "major");
  if (minor < 0 || minor >= MINOR_LIMIT) refuse(`${minor} is not a valid minor number`, "minor");
}

/** The links of config-linux.md, "Dev symbolic links". */
function linkOps(dev: Operand, facts: HostFacts): readonly Op[] {
  const links: readonly (readonly [target: string, name: string])[] = [
    ["/proc/self/fd", "fd"],
    ["/proc/self/fd/0", "stdin"],
    ["/proc/self/fd/1", "stdout"],
    ["/proc/self/fd/2", "stderr"],
    ...(facts.kcore ? [["/proc/kcore", "core"] as const] : []),
  ];
  return [
    call("unlinkat", [dev, "ptmx", 0], { tolerate: ["ENOENT"] }),
    call("symlinkat", ["pts/ptmx", dev, "ptmx"]),
    ...links.map(([target, name]) => call("symlinkat", [target, dev, name], { tolerate: ["EEXIST"] })),
  ];
}

/** The directory of a device of the config, clean and absolute in the container. */
export function directoryOf({ path }: LinuxDevice): string {
  const clean = cleanPath(path);
  return clean.slice(0, clean.lastIndexOf("/")) || "/";
}

/**
 * Makes nodes and links in the rootfs's /dev, which is the container's own. All names are relative to open directories
 * (CVE-2026-41579). Runs before pivot_root.
 */
export function deviceSteps(config: Config, facts: HostFacts): readonly Step[] {
  const bind = facts.inUserNamespace || makesNamespace(config, "user") ||
    (config.linux?.namespaces?.some(({ type }) => type === "user") ?? false);
  const make = bind ? bindOps : nodeOps;
  const dev = slot("dev");
  const parent = slot("device directory");
  const open = step("open /dev or make it", "", ensureDirectory("/dev", dev, { arch: facts.arch }));
  const nodes = wantedDevices(config).map((wanted) => {
    checkDevice(wanted);
    const name = wanted.path.slice(wanted.path.lastIndexOf("/") + 1);
    const directory = directoryOf(wanted.device);
    const askFor = FIRST_DEVICE + wanted.index;
    const ops = directory === "/dev" ? make(wanted, dev, name, facts) : [
      ...ensureDirectory(directory, parent, { arch: facts.arch, askFor }),
      ...make(wanted, parent, name, facts),
      call("close", [parent]),
    ];
    return step(`make ${wanted.path}`, wanted.from, ops);
  });
  return [
    open,
    ...nodes,
    step("make the links in /dev and close /dev", "", [...linkOps(dev, facts), call("close", [dev])]),
  ];
}

/** Opens the container's /dev/null and verifies its type and number (CVE-2025-31133). */
export function openNullOps(facts: HostFacts, flags: number, why: string): readonly Op[] {
  const null_ = slot("null");
  return [
    openInside("/dev/null", null_, flags, facts.arch, { meaning: { "*": `${why}: open /dev/null` } }),
    ...loadIdentity(null_, facts.arch),
    ...unlessDevice(1, 3, [fail(0, `${why}: container's /dev/null is invalid`)]),
  ];
}

/**
 * Replaces stdin, stdout and stderr by the container's /dev/null if they are the host's. The container's stays open in
 * the slot `null`. Runs after pivot_root.
 */
export function reopenNullSteps(facts: HostFacts): readonly Step[] {
  const { O_RDWR } = openFlag(facts.arch);
  const again = (fd: number): readonly Op[] => [
    ...loadIdentity(fd, facts.arch),
    { op: "add", left: 1, right: 0, out: slot("reopen") },
    ...unlessDevice(1, 3, [{ op: "add", left: 0, right: 0, out: slot("reopen") }]),
    when(slot("reopen"), "!=", 0, [call("dup3", [slot("null"), fd, 0])]),
  ];
  return [
    step(
      "open the container's /dev/null and verify its device number",
      "",
      openNullOps(facts, O_RDWR, "can't reopen /dev/null"),
    ),
    ...[0, 1, 2].map((fd) =>
      step(`replace descriptor ${fd} by the container's /dev/null if it is the host's`, "", again(fd))
    ),
  ];
}
