/**
 * Converts `linux.cgroupsPath` and the container's id to one cgroup directory per controller.
 *
 * All decisions are made on strings. `..` cannot leave a hierarchy: a path is first cleaned as a path below `/`, then
 * the mount point is put in front. A cgroup file system cannot contain symlinks (it supports only mkdir and rmdir), so
 * the kernel resolves such a path the same way. That is why plain paths are safe for cgroup files. runc uses openat2
 * with RESOLVE_BENEATH because it goes through /sys/fs/cgroup, whose links (`cpu` to `cpu,cpuacct`) are in a tmpfs.
 * This project uses the mount points themselves.
 *
 * @module
 */

import { dirname, resolve } from "../std/path.ts";
import { RuncError } from "../errors.ts";
import type { Resources } from "../specs/config.ts";
import { type CgroupLayout, directoryOf, type Hierarchy } from "./layout.ts";

/** The controllers that runc manages on v1, in joining order. "" is the cgroup2 mount of a hybrid host. */
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

/** The cgroup that config.json requests. */
export interface CgroupRequest {
  readonly id: string;
  /** `linux.cgroupsPath`. If absent or empty, the id is the name. */
  readonly cgroupsPath?: string;
  /** On v1, only cgroups of these controllers; all if absent. {@link neededControllers} */
  readonly controllers?: ReadonlySet<string>;
}

/**
 * The v1 controllers that a container needs with these limits: those that limit something, `devices` and, to be paused,
 * `freezer`. In other hierarchies it may as well be where its creator is.
 */
export function neededControllers({ memory, cpu, pids, ...others }: Resources): ReadonlySet<string> {
  const { blockIO, hugepageLimits = [], network, rdma } = others;
  const wanted: readonly (readonly [controller: string, isNeeded: boolean])[] = [
    ["devices", true],
    ["freezer", true],
    ["memory", memory !== undefined],
    ["cpu", cpu !== undefined],
    ["cpuset", cpu?.cpus !== undefined || cpu?.mems !== undefined],
    ["pids", pids !== undefined],
    ["blkio", blockIO !== undefined],
    ["hugetlb", hugepageLimits.length > 0],
    ["net_cls", network !== undefined],
    ["net_prio", network !== undefined],
    ["rdma", rdma !== undefined],
  ];
  return new Set(wanted.filter(([, isNeeded]) => isNeeded).map(([controller]) => controller));
}

/**
 * The container's cgroup directories, in the form of `cgroup_paths` in runc's state.json. On v1: by controller, with ""
 * for the cgroup2 mount of a hybrid host. On v2: only "".
 *
 * An absolute `cgroupsPath` is below each mount point. A relative one is below this process's own cgroup on v1. On v2
 * it is below the parent of that cgroup: the own cgroup has processes, so it cannot pass controllers on. On a hybrid
 * host's cgroup2 mount it is at the top, as in runc.
 *
 * @throws {RuncError} `host-lacks` without a devices controller on v1: without it, the container could use every
 * device.
 */
export function cgroupPaths(layout: CgroupLayout, request: CgroupRequest): Record<string, string> {
  const path = cleanCgroupsPath(request.cgroupsPath ?? "") || cleanCgroupsPath(request.id);
  const parentOf = layout.mode === "v2" ? parentV2 : parentV1;
  const paths: Record<string, string> = {};
  for (const controller of layout.mode === "v2" ? [""] : v1Controllers) {
    const hierarchy = findHierarchy(layout, controller);
    const isWanted = layout.mode === "v2" || (request.controllers?.has(controller) ?? true);
    if (hierarchy !== undefined && isWanted) {
      paths[controller] = below(path.startsWith("/") ? hierarchy.mountPoint : parentOf(hierarchy), path);
    }
  }
  const needed = layout.mode === "v2" ? "" : "devices";
  if (paths[needed] === undefined) {
    throw new RuncError("host-lacks", `mountpoint for ${needed || "cgroup2"} not found`, {
      hint: "mount the cgroup file systems; see cgroups(7)",
    });
  }
  return paths;
}

/**
 * `path` without `.`, `..` and repeated slashes, resolved as if `/` were above it. The result can be joined to any
 * directory and stays below it. If nothing is left, it is `.`; an empty path stays empty.
 */
export function cleanCgroupsPath(path: string): string {
  if (path === "") return "";
  const clean = resolve("/", path);
  return path.startsWith("/") ? clean : clean.slice(1) || ".";
}

/** The parts of a `linux.cgroupsPath` in the systemd form. */
export interface SystemdPath {
  /** Empty: the driver's default. */
  readonly slice: string;
  readonly prefix: string;
  readonly name: string;
}

/**
 * Parses `slice:prefix:name`. Empty means `:runc:<id>`.
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
 * Checks that `--systemd-cgroup` can work.
 *
 * `systemdRuns`: whether /run/systemd/system is a directory, see sd_booted(3).
 *
 * @throws {RuncError} `host-lacks` if systemd is not running.
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

/** Joins a clean `path` to `parent`. */
function below(parent: string, path: string): string {
  const relative = path.startsWith("/") ? path.slice(1) : path;
  return relative === "" || relative === "." ? parent : `${parent}/${relative}`;
}
