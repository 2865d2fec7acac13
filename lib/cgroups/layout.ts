/**
 * The cgroup hierarchies of this host, their mount points, and this process's own cgroups.
 *
 * Parsing is pure. {@link readCgroupLayout} reads the two source files, each at most once.
 *
 * @module
 */

import { basename, resolve } from "../std/path.ts";
import { FsMagic } from "../ffi/constants.ts";
import { fsMagic, mountId } from "../ffi/files.ts";
import type { Kernel } from "../ffi/kernel.ts";

/**
 * - `v1`: one hierarchy per controller or group of controllers.
 * - `hybrid`: the same, plus a cgroup2 mount at /sys/fs/cgroup/unified.
 * - `v2`: one cgroup2 mount.
 */
export type CgroupMode = "v1" | "hybrid" | "v2";

/** One mounted cgroup hierarchy. */
export interface Hierarchy {
  /** `["cpu", "cpuacct"]`, `["name=systemd"]`; empty for cgroup2. */
  readonly controllers: readonly string[];
  /** Absolute path of the mount. */
  readonly mountPoint: string;
  /** The cgroup that is visible at the mount's top, as in mountinfo: `/` unless this is a container. */
  readonly root: string;
  /** This process's own cgroup, as in /proc/self/cgroup. */
  readonly ownPath: string;
}

/** The host's cgroups, in the order of mountinfo. */
export interface CgroupLayout {
  /** The cgroup versions in use. */
  readonly mode: CgroupMode;
  /** The mounted hierarchies. */
  readonly hierarchies: readonly Hierarchy[];
}

/** A v1 hierarchy in a container's mount of type `cgroup`. */
export interface V1Mount {
  /** Directory below the mount's destination: `cpu,cpuacct`. */
  readonly name: string;
  /** Mount data for a new mount of the hierarchy (in a cgroup namespace): `cpu,cpuacct`, `name=systemd`. */
  readonly data: string;
  /** The container's cgroup on the host, for a bind mount if there is no cgroup namespace. */
  readonly source: string;
  /** Symlinks to `name` beside it: `cpu`, `cpuacct`. */
  readonly links: readonly string[];
}

/** A line of mountinfo. */
export interface CgroupMount {
  readonly id: number;
  /** The id of the parent mount. */
  readonly parent: number;
  readonly type: string;
  readonly root: string;
  readonly mountPoint: string;
  readonly superOptions: readonly string[];
}

const CGROUP_ROOT = "/sys/fs/cgroup";
/** systemd mounts cgroup2 here next to v1. runc looks for it only here. */
const HYBRID_MOUNT = "/sys/fs/cgroup/unified";

/** Reads the sources of {@link parseCgroupLayout}. */
export function readCgroupLayout(kernel: Kernel): CgroupLayout {
  const mountinfo = Deno.readTextFileSync("/proc/self/mountinfo");
  return parseCgroupLayout(mountinfo, Deno.readTextFileSync("/proc/self/cgroup"), (mount) => isReached(kernel, mount));
}

/** Whether the mount's path resolves to this mount and not to one mounted over it. */
function isReached(kernel: Kernel, { id, type, mountPoint }: CgroupMount): boolean {
  const there = mountId(kernel, mountPoint);
  if (there !== undefined) return there === id;
  // The path does not exist, or a sandbox refuses statx(2): compare the type instead.
  try {
    return fsMagic(kernel, mountPoint) === (type === "cgroup2" ? FsMagic.CGROUP2 : FsMagic.CGROUP);
  } catch {
    return false;
  }
}

/**
 * The layout from the texts of /proc/self/mountinfo and /proc/self/cgroup.
 *
 * mountinfo also lists mounts that are hidden by another mount. A mount counts only if its path resolves to it.
 * `isReached` is called only for wanted mounts that may be hidden; on most hosts that is none.
 *
 * Without cgroups the result is mode `v1` with no hierarchies.
 *
 * @see proc_pid_mountinfo(5), cgroups(7)
 */
export function parseCgroupLayout(
  mountinfo: string,
  cgroup: string,
  isReached: (mount: CgroupMount) => boolean = () => true,
): CgroupLayout {
  const mounts = parseMounts(mountinfo);
  const isCertain = certainty(mounts);
  const counts = (mount: CgroupMount) => isCertain(mount) || isReached(mount);
  const ownPaths = parseProcCgroup(cgroup);
  const unified = (mount: CgroupMount): Hierarchy =>
    hierarchy(mount, [], ownPaths.find(({ controllers }) => controllers.length === 0)?.path ?? "/");
  // The topmost mount at /sys/fs/cgroup decides, as in runc, which calls statfs on it.
  const top = mounts.findLast(({ mountPoint }) => mountPoint === CGROUP_ROOT);
  if (top?.type === "cgroup2" && counts(top)) return { mode: "v2", hierarchies: [unified(top)] };
  const v1 = v1Hierarchies(mounts, ownPaths, counts);
  const v2 = mounts.filter(({ type }) => type === "cgroup2");
  const elsewhere = v1.length === 0 ? v2.find(counts) : undefined;
  if (elsewhere !== undefined) return { mode: "v2", hierarchies: [unified(elsewhere)] };
  const beside = v2.find((mount) => mount.mountPoint === HYBRID_MOUNT && counts(mount));
  if (beside === undefined) return { mode: "v1", hierarchies: v1 };
  return { mode: "hybrid", hierarchies: [...v1, unified(beside)] };
}

/** One line of /proc/PID/cgroup. `controllers` is empty for cgroup2. */
export interface OwnCgroup {
  readonly controllers: readonly string[];
  readonly path: string;
}

/** Parses /proc/PID/cgroup. A line: `4:cpu,cpuacct:/user.slice`. A path may contain colons. */
export function parseProcCgroup(text: string): readonly OwnCgroup[] {
  return text.split("\n").filter((line) => line !== "").map((line) => {
    const [, controllers = "", ...path] = line.split(":");
    return { controllers: controllers === "" ? [] : controllers.split(","), path: path.join(":") };
  });
}

/**
 * The directory of `cgroup` (a path from /proc/PID/cgroup) below the hierarchy's mount point.
 *
 * In a container without a cgroup namespace, the mount shows only the part below `root`, but /proc has the whole path.
 * A cgroup outside `root` cannot be reached through this mount. The mount point itself is returned for it, never a path
 * outside.
 */
export function directoryOf({ mountPoint, root }: Hierarchy, cgroup: string): string {
  const top = resolve("/", root);
  const path = resolve("/", cgroup);
  if (top === "/") return path === "/" ? mountPoint : mountPoint + path;
  return path.startsWith(`${top}/`) ? mountPoint + path.slice(top.length) : mountPoint;
}

/**
 * The hierarchies in a container's mount of type `cgroup` on a v1 host: all v1 hierarchies, without the cgroup2 mount
 * of a hybrid host, which runc leaves out too.
 *
 * `paths`: the container's cgroups by controller. If the container has no cgroup in a hierarchy, this process's own
 * cgroup is shown.
 */
export function v1Mounts(layout: CgroupLayout, paths: Readonly<Record<string, string>>): readonly V1Mount[] {
  return layout.hierarchies.filter(({ controllers }) => controllers.length > 0).map((hierarchy) => {
    const name = basename(hierarchy.mountPoint);
    const known = hierarchy.controllers.find((controller) => paths[controller] !== undefined);
    return {
      name,
      data: hierarchy.controllers.join(","),
      source: (known === undefined ? undefined : paths[known]) ?? directoryOf(hierarchy, hierarchy.ownPath),
      links: name.includes(",") ? name.split(",") : [],
    };
  });
}

function hierarchy(mount: CgroupMount, controllers: readonly string[], ownPath: string): Hierarchy {
  return { controllers, mountPoint: mount.mountPoint, root: mount.root, ownPath };
}

/** Cgroup mounts, and all other mounts at or below /sys. Other lines are not parsed: a host may have thousands. */
function parseMounts(mountinfo: string): readonly CgroupMount[] {
  return mountinfo.split("\n").filter((line) => line.includes(" - cgroup") || line.includes(" /sys")).map(parseMount);
}

/** Mount points that can hide {@link CGROUP_ROOT}. A mount over `/` does not: the process's root stays below it. */
const ON_THE_WAY: readonly string[] = ["/sys", "/sys/fs", CGROUP_ROOT];

/**
 * Returns a test that decides from mountinfo alone, without system calls, whether a mount at or directly below
 * /sys/fs/cgroup cannot be hidden: the mounts on the way to it are stacked on each other with this one on top, and
 * nothing else is mounted at its path.
 */
function certainty(mounts: readonly CgroupMount[]): (mount: CgroupMount) => boolean {
  const way = mounts.filter(({ mountPoint }) => ON_THE_WAY.includes(mountPoint));
  if (way.some(({ parent }, index) => index > 0 && parent !== way[index - 1]!.id)) return () => false;
  const top = way.at(-1);
  return (mount) => {
    if (mount === top) return true;
    const path = mount.mountPoint;
    return mount.parent === top?.id && top.mountPoint === CGROUP_ROOT && path.lastIndexOf("/") === CGROUP_ROOT.length &&
      path.startsWith(CGROUP_ROOT) && mounts.every((other) => other === mount || other.mountPoint !== path);
  };
}

function parseMount(line: string): CgroupMount {
  const fields = line.split(" ");
  // "-" ends a variable number of optional fields.
  const end = fields.indexOf("-", 6);
  return {
    id: Number(fields[0]),
    parent: Number(fields[1]),
    root: unescapeField(fields[3] ?? "/"),
    mountPoint: unescapeField(fields[4] ?? "/"),
    type: fields[end + 1] ?? "",
    superOptions: (fields[end + 3] ?? "").split(","),
  };
}

/** Decodes a field of mountinfo, which escapes space, tab, newline and backslash as three octal digits. */
export function unescapeField(field: string): string {
  if (!field.includes("\\")) return field;
  return field.replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)));
}

/** If a hierarchy is mounted twice, only one mount counts, preferably one below /sys/fs/cgroup. */
function v1Hierarchies(
  mounts: readonly CgroupMount[],
  ownPaths: readonly OwnCgroup[],
  counts: (mount: CgroupMount) => boolean,
): readonly Hierarchy[] {
  const v1 = mounts.filter(({ type }) => type === "cgroup");
  const found = ownPaths.filter(({ controllers }) => controllers.length > 0).flatMap(({ controllers, path }) => {
    const shows = v1.filter(({ superOptions }) => controllers.every((controller) => superOptions.includes(controller)));
    const usual = shows.find((mount) => mount.mountPoint.startsWith(`${CGROUP_ROOT}/`) && counts(mount));
    const mount = usual ?? shows.find(counts);
    return mount === undefined ? [] : [{ order: v1.indexOf(mount), hierarchy: hierarchy(mount, controllers, path) }];
  });
  return found.toSorted((a, b) => a.order - b.order).map(({ hierarchy }) => hierarchy);
}
