/**
 * The root of a debugger: programs of the host over the container's namespaces, in a mount namespace that only the
 * debugger has. Runs in: stage, which no process of the container sees: it is not in their pid namespace yet.
 *
 *     /              a tmpfs
 *     /usr, …        programs of the host, read-only, without set-user-id and devices
 *     /container     the container's root, with all of its mounts
 *     /proc, /sys    the container's own, with what is masked and read-only there
 *     /dev           devices of the host, and terminals that the container does not have
 *
 * @see mount_namespaces(7)
 * @module
 */

import {
  AT_FDCWD,
  AtFlag,
  CloneFlag,
  FsMagic,
  MountAttr,
  MountFlag,
  MoveMount,
  openFlag,
  OpenTree,
  Resolve,
} from "../../../ffi/constants.ts";
import type { Arch } from "../../../ffi/syscalls.ts";
import { buffer, call, load, slot, step, struct, when } from "../../../plan/build.ts";
import type { Slot, Step, Struct } from "../../../plan/op.ts";
import type { JoinedNamespace } from "../../config/namespaces.ts";
import { openHow } from "./in_root.ts";
import { joinSteps } from "../namespaces.ts";
import { newMountOps } from "../mounts/new_mount.ts";

/** What is made in the new root. Paths are absolute. */
export type ToolEntry =
  | { readonly path: string; readonly kind: "directory" }
  | { readonly path: string; readonly kind: "symlink"; readonly target: string }
  | { readonly path: string; readonly kind: "file"; readonly content: string };

/** A file or directory of the host and its place in the new root. */
export interface ToolMount {
  /** Absolute, on the host; not a symlink. */
  readonly source: string;
  readonly path: string;
}

/** The programs of a debugger. */
export interface ToolRoot {
  /** Each after the directories above it, and the places of mounts among them. */
  readonly entries: readonly ToolEntry[];
  readonly mounts: readonly ToolMount[];
}

/** Where the container's root is in a debugger's root. */
export const CONTAINER = "/container";

/** What of the container's root is at the same place in the new root, and the file system that it must be. */
const borrowed = [
  { name: "proc", type: FsMagic.PROC },
  { name: "sys", type: FsMagic.SYSFS },
] as const;

/**
 * Devices without power. Not the container's: its root may replace them. Of a terminal of the container's devpts, it
 * could read what is typed.
 */
const devices = ["null", "zero", "full", "random", "urandom", "tty"];
const deviceEntries: readonly ToolEntry[] = [
  { path: "/dev", kind: "directory" },
  ...devices.map((name): ToolEntry => ({ path: `/dev/${name}`, kind: "file", content: "" })),
  ...["pts", "shm"].map((name): ToolEntry => ({ path: `/dev/${name}`, kind: "directory" })),
  { path: "/dev/ptmx", kind: "symlink", target: "pts/ptmx" },
  { path: "/dev/fd", kind: "symlink", target: "/proc/self/fd" },
  ...["stdin", "stdout", "stderr"].map((name, fd): ToolEntry => ({
    path: `/dev/${name}`,
    kind: "symlink",
    target: `/proc/self/fd/${fd}`,
  })),
];

const root = slot("tool root");
const copy = slot("copy");
const place = slot("place");
const sourceOf = (index: number): Slot => slot(`tools ${index}`);
const moveBy = MoveMount.MOVE_MOUNT_F_EMPTY_PATH;
const { OPEN_TREE_CLONE, OPEN_TREE_CLOEXEC, AT_RECURSIVE, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH } = OpenTree;

/**
 * `struct mount_attr`: attr_set at 0, propagation at 16. Private: a mount in the container's namespaces must not appear
 * on the host. @see mount_setattr(2)
 */
const attributesWith = (names: string, flags: number) =>
  struct(`{attr_set: ${names}, propagation: MS_PRIVATE}`, 32, [
    { at: 0, size: 8, value: flags },
    { at: 16, size: 8, value: MountFlag.MS_PRIVATE },
  ]);
const toolAttributes = attributesWith(
  "MOUNT_ATTR_RDONLY|MOUNT_ATTR_NOSUID|MOUNT_ATTR_NODEV",
  MountAttr.MOUNT_ATTR_RDONLY | MountAttr.MOUNT_ATTR_NOSUID | MountAttr.MOUNT_ATTR_NODEV,
);
const deviceAttributes = attributesWith(
  "MOUNT_ATTR_RDONLY|MOUNT_ATTR_NOSUID",
  MountAttr.MOUNT_ATTR_RDONLY | MountAttr.MOUNT_ATTR_NOSUID,
);

/**
 * Joins the namespaces and makes the root. `euid`: without root, the tools can be copied only in a mount namespace of
 * the container's user namespace, so this process makes one for the time being. @see open_tree(2), EPERM
 */
export function toolRootSteps(
  tools: ToolRoot,
  joined: readonly JoinedNamespace[],
  { arch, euid }: { readonly arch: Arch; readonly euid: number },
): readonly Step[] {
  const user = joined.filter(({ type }) => type === "user");
  const others = joined.filter(({ type }) => type !== "user");
  const mounts = [
    ...tools.mounts.map((mount) => ({ ...mount, attributes: toolAttributes })),
    ...devices.map((name) => ({ source: `/dev/${name}`, path: `/dev/${name}`, attributes: deviceAttributes })),
  ];
  const copies = mounts.map(({ source, attributes }, index) => copyStep(source, sourceOf(index), attributes));
  const join = euid === 0 || user.length === 0 ? [...copies, ...joinSteps(joined)] : [
    ...joinSteps(user),
    step("copy the host's mounts for the time being", "", [call("unshare", [CloneFlag.CLONE_NEWNS])]),
    ...copies,
    ...joinSteps(others),
  ];
  return [
    ...join,
    step("leave the container's mounts for a private copy of them", "", [
      call("unshare", [CloneFlag.CLONE_NEWNS]),
      // Before the first mount: it would appear in the container otherwise.
      call("mount", [0, "/", 0, MountFlag.MS_PRIVATE | MountFlag.MS_REC, 0]),
    ]),
    newRootStep(),
    ...[...tools.entries.filter(({ path }) => path !== "/dev"), ...deviceEntries].map((entry) =>
      entryStep(entry, arch)
    ),
    ...mounts.map(({ path }, index) => placeStep(path, sourceOf(index))),
    terminalsStep(),
    ...borrowed.map((each) => borrowStep(each, arch)),
    step("close the new root", "", [call("close", [root])]),
  ];
}

function copyStep(source: string, out: Slot, attributes: Struct): Step {
  const flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE | AT_SYMLINK_NOFOLLOW;
  return step(`take ${source}, read-only`, "", [
    call("open_tree", [AT_FDCWD, source, flags], {
      out,
      hint: { EMFILE: "the soft limit of open files (ulimit -Sn) is too low" },
    }),
    call("mount_setattr", [out, "", AtFlag.AT_EMPTY_PATH | AtFlag.AT_RECURSIVE, attributes, 32]),
  ]);
}

/** A devpts: an instance of its own, as each mount is since Linux 4.7. Documentation/filesystems/devpts.rst */
function terminalsStep(): Step {
  const attributes = MountAttr.MOUNT_ATTR_NOSUID | MountAttr.MOUNT_ATTR_NOEXEC;
  return step("mount a devpts of the debugger's own on /dev/pts", "", [
    ...newMountOps({ type: "devpts", options: [["ptmxmode", "0666"]], attributes }, copy),
    call("move_mount", [copy, "", root, "dev/pts", moveBy]),
    call("close", [copy]),
  ]);
}

/** A tmpfs as the root; the old root, with its mounts, moves to {@link CONTAINER}. @see pivot_root(2) */
function newRootStep(): Step {
  const attributes = MountAttr.MOUNT_ATTR_NOSUID | MountAttr.MOUNT_ATTR_NODEV;
  // The size is for the debugger's own files. The container's memory limit counts them.
  const options = [["source", "tmpfs"], ["mode", "0755"], ["size", "64m"]] as const;
  return step(`make a tmpfs the root, and move the container's to ${CONTAINER}`, "", [
    ...newMountOps({ type: "tmpfs", options, attributes }, root),
    call("mkdirat", [root, CONTAINER.slice(1), 0o755]),
    // On top of the old root: pivot_root(2) needs a mount below it, and no directory of the image is needed this way.
    call("move_mount", [root, "", AT_FDCWD, "/", moveBy]),
    call("fchdir", [root]),
    call("pivot_root", [".", CONTAINER.slice(1)], {
      hint: { EINVAL: "the root of a container that was created with --no-pivot cannot be moved" },
    }),
    call("chdir", ["/"]),
  ]);
}

function entryStep(entry: ToolEntry, arch: Arch): Step {
  const { path, kind } = entry;
  const name = path.slice(1);
  const O = openFlag(arch);
  const file = slot("file");
  switch (kind) {
    case "directory":
      return step(`make ${path}`, "", [call("mkdirat", [root, name, 0o755])]);
    case "symlink":
      return step(`link ${path} to ${entry.target}`, "", [call("symlinkat", [entry.target, root, name])]);
    case "file": {
      const { content } = entry;
      const sizeBytes = new TextEncoder().encode(content).length;
      return step(`make ${path}`, "", [
        call("openat", [root, name, O.O_WRONLY | O.O_CREAT | O.O_EXCL | O.O_NOFOLLOW | O.O_CLOEXEC, 0o644], {
          out: file,
        }),
        ...(sizeBytes > 0 ? [call("write", [file, content, sizeBytes])] : []),
        call("close", [file]),
      ]);
    }
  }
}

function placeStep(path: string, source: Slot): Step {
  return step(`show the host's ${path}`, "", [
    call("move_mount", [source, "", root, path.slice(1), moveBy]),
    call("close", [source]),
  ]);
}

/**
 * Binds a directory of the container, so that nothing is visible that its config hides. The image may have a symlink
 * there, and the container's root another file system: then the new root has an empty directory.
 */
function borrowStep({ name, type }: { readonly name: string; readonly type: number }, arch: Arch): Step {
  const O = openFlag(arch);
  const how = openHow({
    flags: O.O_PATH | O.O_DIRECTORY | O.O_NOFOLLOW | O.O_CLOEXEC,
    resolve: Resolve.RESOLVE_NO_SYMLINKS,
  }, "{flags: O_PATH|O_DIRECTORY|O_NOFOLLOW|O_CLOEXEC, resolve: RESOLVE_NO_SYMLINKS}");
  const statfs = buffer("statfs", 120);
  const found = slot("type");
  return step(`show the container's /${name}, if it has one`, "", [
    call("mkdirat", [root, name, 0o755], { tolerate: ["EEXIST"] }),
    call("openat2", [AT_FDCWD, `${CONTAINER}/${name}`, how, 24], { out: place, endStepOn: ["*"] }),
    call("fstatfs", [place, statfs]),
    load(statfs, 4, found),
    when(found, "!=", type, [call("close", [place]), { op: "endStep" }]),
    call("open_tree", [place, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE | AT_EMPTY_PATH], { out: copy }),
    call("move_mount", [copy, "", root, name, moveBy]),
    call("close", [copy]),
    call("close", [place]),
  ]);
}
