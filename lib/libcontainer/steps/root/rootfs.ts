/**
 * The container's root: separated from the host, and entered. Runs in: init.
 *
 * @module
 */

import {
  AT_FDCWD,
  AtFlag,
  MountAttr,
  MountFlag,
  MoveMount,
  openFlag,
  OpenTree,
  UmountFlag,
} from "../../../ffi/constants.ts";
import { RuncError } from "../../../errors.ts";
import { call, slot, step, struct } from "../../../plan/build.ts";
import type { Op, Step } from "../../../plan/op.ts";
import type { Config } from "../../../specs/config.ts";
import type { Arch } from "../../../ffi/syscalls.ts";
import { cleanPath, makeParents, parent, root } from "./in_root.ts";
import { rootLayerSteps } from "./layers.ts";
import type { HostFacts, LaunchRequest } from "../../config/launch_request.ts";
import { hasNamespace, joinedNamespaces } from "../../config/namespaces.ts";

const { MS_PRIVATE, MS_REC, MS_SHARED, MS_SLAVE, MS_UNBINDABLE } = MountFlag;

/** linux.rootfsPropagation to mount(2)'s flags. */
const propagationFlags: Readonly<Record<string, number>> = {
  private: MS_PRIVATE,
  rprivate: MS_PRIVATE | MS_REC,
  slave: MS_SLAVE,
  rslave: MS_SLAVE | MS_REC,
  shared: MS_SHARED,
  rshared: MS_SHARED | MS_REC,
  unbindable: MS_UNBINDABLE,
  runbindable: MS_UNBINDABLE | MS_REC,
};

/** `/a/b/c` gives `/a/b/c`, `/a/b`, `/a`, `/`. */
function ancestors(path: string): readonly string[] {
  const all: string[] = [];
  for (let at = path; at !== "/" && at !== ""; at = at.slice(0, at.lastIndexOf("/"))) all.push(at);
  return [...all, "/"];
}

/** Separates the rootfs from the host: mounts made here must not appear there. */
function isolateStep(config: Config, rootfs: string): Step {
  const wanted = config.linux?.rootfsPropagation;
  const flags = wanted ? propagationFlags[wanted]! : MS_SLAVE | MS_REC;
  // The mount of the rootfs is the first of its ancestors that is a mount point, found by trying. EINVAL means that it
  // is not one. Reading mountinfo instead would be a race.
  const [first, ...rest] = ancestors(rootfs);
  const makePrivate = (path: string, then: readonly Op[]): Op =>
    call(
      "mount",
      [0, path, 0, MS_PRIVATE, 0],
      then.length === 0 ? {} : { onError: [{ errnos: ["EINVAL"], ops: then }] },
    );
  const chain = [first!, ...rest].reduceRight<readonly Op[]>((then, path) => [makePrivate(path, then)], []);
  return step(
    `make / ${wanted ?? "rslave"} and the mount that the rootfs is on private`,
    wanted ? "/linux/rootfsPropagation" : "",
    [
      call("mount", [0, "/", 0, flags, 0]),
      ...chain,
    ],
  );
}

/** `struct mount_attr`: its propagation is at 16. @see mount_setattr(2) */
const privateMount = struct("{propagation: MS_PRIVATE}", 32, [{ at: 16, size: 8, value: MS_PRIVATE }]);

/** Makes the rootfs and everything below it a mount of its own, and keeps it open as the root of all further paths. */
function takeRootStep(rootfs: string, first: readonly Op[] = []): Step {
  const flags = OpenTree.OPEN_TREE_CLONE | OpenTree.OPEN_TREE_CLOEXEC | OpenTree.AT_RECURSIVE;
  return step(
    `bind ${rootfs} on itself${first.length > 0 ? ", make it private" : ""} and keep it open as the root`,
    "/root/path",
    [
      call("open_tree", [AT_FDCWD, rootfs, flags], { out: root }),
      ...first,
      call("move_mount", [root, "", AT_FDCWD, rootfs, MoveMount.MOVE_MOUNT_F_EMPTY_PATH]),
    ],
  );
}

/** All steps before the first mount of the config. */
export function prepareRootSteps(config: Config, { rootfs, rootLayers }: LaunchRequest): readonly Step[] {
  const isJoined = joinedNamespaces(config).some(({ type }) => type === "mount");
  if (rootLayers !== undefined && (isJoined || !hasNamespace(config, "mount"))) {
    throw new RuncError("config-invalid", "a root of layers needs a mount namespace of its own");
  }
  if (hasNamespace(config, "mount")) {
    // Layers come after the isolation: the host must not see their mounts.
    return [isolateStep(config, rootfs), ...rootLayerSteps(rootLayers, rootfs), takeRootStep(rootfs)];
  }
  // The host's own mounts stay unchanged. The rootfs is one more mount, a private one, which the caller can unmount
  // with everything below it.
  return [takeRootStep(rootfs, [
    call("mount_setattr", [root, "", AtFlag.AT_EMPTY_PATH | AtFlag.AT_RECURSIVE, privateMount, 32]),
  ])];
}

/**
 * pivot_root(2) onto the open root. The old root is stacked below it and then unmounted. Requires no directory inside
 * the rootfs.
 */
function pivotStep(arch: Arch): Step {
  const O = openFlag(arch);
  const old = slot("old root");
  return step("make the rootfs the root, detach the old root and close both", "/root/path", [
    call("openat", [AT_FDCWD, "/", O.O_DIRECTORY | O.O_PATH | O.O_CLOEXEC, 0], { out: old }),
    call("fchdir", [root]),
    call("pivot_root", [".", "."]),
    call("fchdir", [old]),
    // The unmount must not propagate to the host. Slave instead of private: a private copy would keep a mount busy that
    // the host unmounts meanwhile.
    call("mount", [0, ".", 0, MS_SLAVE | MS_REC, 0]),
    call("umount2", [".", UmountFlag.MNT_DETACH]),
    call("close", [old]),
    call("close", [root]),
    call("chdir", ["/"]),
  ]);
}

const enterByChroot: readonly Op[] = [call("chroot", ["."]), call("close", [root]), call("chdir", ["/"])];

/**
 * Without pivot_root the host's mounts stay in the namespace. With a whole procfs among them, the kernel would allow a
 * new one without the masks. So each one is unmounted, or covered if that is not allowed.
 */
function moveRootSteps(facts: HostFacts, rootfs: string): readonly Step[] {
  const cover = facts.fullProcMounts.map((path) =>
    step(`unmount ${path} or cover it with a tmpfs`, "", [
      // It has disappeared meanwhile, alone or with the mount above it.
      call("mount", [0, path, 0, MS_SLAVE | MS_REC, 0], { endStepOn: ["ENOENT", "EINVAL"] }),
      call("umount2", [path, UmountFlag.MNT_DETACH], {
        onError: [{ errnos: ["EINVAL", "EPERM"], ops: [call("mount", ["tmpfs", path, "tmpfs", 0, 0])] }],
      }),
    ])
  );
  return [
    ...cover,
    step("move the rootfs over the root, enter it by chroot and close it", "/root/path", [
      call("fchdir", [root]),
      call("mount", [rootfs, "/", 0, MountFlag.MS_MOVE, 0]),
      ...enterByChroot,
    ]),
  ];
}

/** Makes the rootfs the root of the process. */
export function enterRootSteps(config: Config, facts: HostFacts, request: LaunchRequest): readonly Step[] {
  const steps: Step[] = [];
  if (!hasNamespace(config, "mount")) {
    // In the rootfs, also without pivot_root: otherwise the host's /proc would be unmounted, and the host's root
    // covered.
    steps.push(
      step("make the rootfs the root by chroot and close it", "/root/path", [call("fchdir", [root]), ...enterByChroot]),
    );
  } else if (request.noPivot) steps.push(...moveRootSteps(facts, request.rootfs));
  else steps.push(pivotStep(facts.arch));
  const wanted = config.linux?.rootfsPropagation;
  const flags = wanted ? propagationFlags[wanted]! : 0;
  if (flags & (MS_SHARED | MS_UNBINDABLE | MS_SLAVE)) {
    // Only now: before, the flag would have changed the host's mount.
    steps.push(step(`make the root ${wanted}`, "/linux/rootfsPropagation", [call("mount", [0, "/", 0, flags, 0])]));
  }
  return steps;
}

/** `root.readonly`, when nothing more is created in it. */
export function readonlyRootSteps(config: Config): readonly Step[] {
  if (!config.root?.readonly) return [];
  const attributes = struct("{attr_set: MOUNT_ATTR_RDONLY}", 32, [
    { at: 0, size: 8, value: MountAttr.MOUNT_ATTR_RDONLY },
  ]);
  return [step("make the root read-only", "/root/readonly", [
    call("mount_setattr", [AT_FDCWD, "/", 0, attributes, 32]),
  ])];
}

/**
 * The working directory, created if missing (0755). The rootfs is already the root, but the host's /proc is still open:
 * a symlink in the image may lead to its descriptor, and from there to the host (similar to CVE-2024-21626). Below a
 * descriptor of the root, no such link is followed.
 */
export function workingDirectorySteps(cwd: string, arch: Arch): readonly Step[] {
  const components = cleanPath(cwd).split("/").filter((part) => part !== "");
  if (components.length === 0) return [];
  const O = openFlag(arch);
  const make: readonly Op[] = [
    call("openat", [AT_FDCWD, "/", O.O_PATH | O.O_DIRECTORY | O.O_CLOEXEC, 0], { out: root }),
    ...makeParents(components, { arch }, { "*": `mkdir ${cwd}` }),
    call("close", [parent]),
    call("close", [root]),
  ];
  return [step(`make sure that ${cwd} exists`, "/process/cwd", [
    // It exists in most cases: one check saves two system calls for each component.
    call("faccessat", [AT_FDCWD, cwd, 0], {
      // EACCES: this process may not search it, but the user may; chdir will show.
      tolerate: ["EACCES"],
      onError: [{ errnos: ["ENOENT"], ops: make }],
    }),
  ])];
}
