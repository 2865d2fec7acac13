/**
 * Where a container's cgroups are: `linux.cgroupsPath` and the container's id turned into one directory a controller.
 *
 * Everything is decided on strings. `..` cannot leave a hierarchy, because a path is cleaned as one below `/` before the mount point is
 * put in front of it; and nothing in a cgroup file system is a symlink (it offers mkdir and rmdir only), so such a path
 * means the same to the kernel. That is why the cgroup files are opened by plain paths: runc opens them with openat2 and
 * RESOLVE_BENEATH because it goes through /sys/fs/cgroup, whose links (`cpu` to `cpu,cpuacct`) are in a tmpfs, and we go
 * through the mount points themselves.
 *
 * @module
 */

import { dirname, resolve } from "@std/path";
import { RuncError } from "../errors.ts";
import { type CgroupLayout, directoryOf, type Hierarchy } from "./layout.ts";

/** The controllers that runc manages on v1, in the order in which a container joins them. "" is the cgroup2 mount of a hybrid host. */
export const v1Controllers: readonly string[] = [
  "cpuset",
  "devices",
  "memory",
  "cpu",
  "cpuacct",
  "pids",
  "blkio",
  "hugetlb",
  "net_cls",
  "net_prio",
  "perf_event",
  "freezer",
  "rdma",
  "name=systemd",
  "misc",
  "",
];

/** A container's cgroup as config.json asks for it. */
export interface CgroupRequest {
  readonly id: string;
  /** `linux.cgroupsPath`; absent or empty: named by the id. */
  readonly cgroupsPath?: string;
}

/**
 * The container's cgroup directories, as runc's state.json has them in `cgroup_paths`: by controller on v1, with "" for the cgroup2
 * mount of a hybrid host; only "" on v2.
 *
 * An absolute `cgroupsPath` is below each mount point. A relative one is below this process's own cgroup on v1 and below that one's parent
 * on v2: the own one has processes in it, so it cannot pass controllers on. On a hybrid host's cgroup2 mount
 * it is at the top, as with runc.
 *
 * @throws {RuncError} `host-lacks` without a devices controller on v1: a container that may use every device is not contained.
 */
export function cgroupPaths(layout: CgroupLayout, request: CgroupRequest): Record<string, string> {
  const path = cleanPath(request.cgroupsPath ?? "") || cleanPath(request.id);
  const parentOf = layout.mode === "v2" ? parentV2 : parentV1;
  const paths: Record<string, string> = {};
  for (const controller of layout.mode === "v2" ? [""] : v1Controllers) {
    const hierarchy = findHierarchy(layout, controller);
    if (hierarchy !== undefined) {
      paths[controller] = below(path.startsWith("/") ? hierarchy.mountPoint : parentOf(hierarchy), path);
    }
  }
  const needed = layout.mode === "v2" ? "" : "devices";
  if (paths[needed] === undefined) {
    throw new RuncError("host-lacks", `mountpoint for ${needed || "cgroup2"} not found`, {
      hint: "mount the cgroup file systems, see cgroups(7)",
    });
  }
  return paths;
}

/**
 * `path` without `.`, `..` and repeated slashes, as if `/` were above it: it can be joined to any directory and stays below. One that
 * leads nowhere is `.`; an empty one stays empty.
 */
export function cleanPath(path: string): string {
  if (path === "") return "";
  const clean = resolve("/", path);
  return path.startsWith("/") ? clean : clean.slice(1) || ".";
}

/** The parts of a `linux.cgroupsPath` for the systemd driver. */
export interface SystemdPath {
  /** Empty: the driver's default. */
  readonly slice: string;
  readonly prefix: string;
  readonly name: string;
}

/**
 * `slice:prefix:name` taken apart; empty is `:runc:<id>`.
 *
 * @throws {RuncError} `config-invalid` unless it has exactly two colons.
 */
export function parseSystemdPath({ id, cgroupsPath = "" }: CgroupRequest): SystemdPath {
  if (cgroupsPath === "") return { slice: "", prefix: "runc", name: id };
  const parts = cgroupsPath.split(":");
  const [slice, prefix, name] = parts;
  if (parts.length !== 3 || slice === undefined || prefix === undefined || name === undefined) {
    throw new RuncError(
      "config-invalid",
      `expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got ${
        JSON.stringify(cgroupsPath)
      } instead`,
      { field: "/linux/cgroupsPath" },
    );
  }
  return { slice, prefix, name };
}

/**
 * Does nothing where `--systemd-cgroup` can work.
 *
 * `systemdRuns`: whether /run/systemd/system is a directory, see sd_booted(3).
 *
 * @throws {RuncError} `host-lacks` where systemd does not run.
 */
export function requireSystemd(systemdRuns: boolean): void {
  if (systemdRuns) return;
  throw new RuncError("host-lacks", "systemd not running on this host, cannot use systemd cgroups manager", {
    hint: "leave out --systemd-cgroup",
  });
}

function findHierarchy({ hierarchies }: CgroupLayout, controller: string): Hierarchy | undefined {
  return hierarchies.find(({ controllers }) =>
    controller === "" ? controllers.length === 0 : controllers.includes(controller)
  );
}

function parentV1(hierarchy: Hierarchy): string {
  if (hierarchy.controllers.length === 0) return hierarchy.mountPoint;
  return directoryOf(hierarchy, hierarchy.ownPath);
}

function parentV2(hierarchy: Hierarchy): string {
  return directoryOf(hierarchy, dirname(resolve("/", hierarchy.ownPath)));
}

/** `path` is clean. */
function below(parent: string, path: string): string {
  const relative = path.startsWith("/") ? path.slice(1) : path;
  return relative === "" || relative === "." ? parent : `${parent}/${relative}`;
}
