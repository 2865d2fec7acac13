/**
 * The container's view of its cgroups. Runs in: init, before pivot_root.
 *
 * @module
 */

import { AT_FDCWD, MountFlag } from "../../../ffi/constants.ts";
import { call, slot, step, when } from "../../../plan/build.ts";
import type { CallOp, Op, Step } from "../../../plan/op.ts";
import type { Config } from "../../../specs/config.ts";
import { Errno } from "../../../ffi/errno.ts";
import { ensureDirectory, openInRoot } from "../root/in_root.ts";
import type { CgroupMountFact, HostFacts } from "../../config/launch_request.ts";
import { withContext } from "../../config/mount_options.ts";
import type { CgroupMount, ParsedMount } from "../../config/mounts.ts";
import { hasNamespace } from "../../config/namespaces.ts";
import { bindAttributes, propagation, propagationThere } from "./attributes.ts";
import { cloneMount, mountHere, placeMount, source, target } from "./calls.ts";
import { mountMeaning } from "./messages.ts";
import { placeOptions, refuseTarget } from "./place.ts";

const { MS_BIND, MS_REC, MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC } = MountFlag;

const cgroupFlags = MS_NOSUID | MS_NODEV | MS_NOEXEC;

/**
 * The tmpfs gets the mode of the directory that it covers: 0555 on a sysfs (sysfs_create_mount_point, fs/sysfs/dir.c).
 * Like runc 1.1.5, the plan changes it after the mount. The mount's option stays mode=755.
 */
function isOnSysfs({ destination }: CgroupMount, mounts: readonly ParsedMount[]): boolean {
  return mounts.some(({ mount, path }) => mount.type === "sysfs" && `${path}/fs/cgroup` === destination);
}

/** v1: a tmpfs with one directory per hierarchy, and symlinks for joined names (`cpu` → `cpu,cpuacct`). */
export function cgroup1Steps(
  parsed: CgroupMount,
  mounts: readonly ParsedMount[],
  config: Config,
  facts: HostFacts,
): readonly Step[] {
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
      data: withContext("mode=755", config.linux?.mountLabel),
    }),
    openInRoot(destination, base, { arch: facts.arch, directory: true }),
    ...(isOnSysfs(parsed, mounts) ? [call("fchmodat", [base, ".", 0o555])] : []),
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
function mountHierarchy(parsed: CgroupMount, hierarchy: CgroupMountFact): readonly Op[] {
  const flags = cgroupFlags | (parsed.options.flags & MS_RDONLY);
  const name = hierarchy.name === "systemd" ? "systemd" : "cgroup";
  return mountHere(parsed, { type: "cgroup", source: name, flags, data: hierarchy.controllers });
}

/** Without a cgroup namespace: a copy of the container's part of the host's mount. */
function bindHierarchy(parsed: CgroupMount, hierarchy: CgroupMountFact): readonly Op[] {
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
 * v2: a cgroup2 mount. If the kernel refuses it, or without a cgroup namespace: a copy of the host's mount.
 *
 * A new mount in the host's cgroup namespace changes the options of the host's mount. It would clear nsdelegate and
 * memory_recursiveprot, which systemd sets, for all. apply_cgroup_root_flags in kernel/cgroup/cgroup.c
 */
export function cgroup2Ops(parsed: CgroupMount, config: Config, facts: HostFacts): readonly Op[] {
  const { mount, destination, options } = parsed;
  const path = hasNamespace(config, "cgroup") && facts.cgroup2Path !== undefined ? facts.cgroup2Path : "/sys/fs/cgroup";
  const bind = { ...parsed, options: { ...options, flags: options.flags | MS_BIND } };
  const [enter, mountOp, close] = mountHere(parsed, {
    type: "cgroup2",
    source: mount.source ?? "cgroup",
    flags: options.flags,
    data: options.data,
  }) as [CallOp, CallOp, CallOp];
  const place: Op[] = [...bindAttributes(bind, source), placeMount(target), call("close", [source])];
  const nothing = withContext("nr_blocks=1,nr_inodes=1", config.linux?.mountLabel);
  // Without root the cgroup may be invisible. Then a tmpfs hides the writable cgroups of /sys (CVE-2023-25809).
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
