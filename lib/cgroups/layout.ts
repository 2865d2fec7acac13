/**
 * Which cgroup hierarchies this host has, where they are mounted, and where in them this process is.
 *
 * Parsing is pure; {@link readCgroupLayout} reads the two files that everything follows from, each at most once.
 *
 * @module
 */

import { basename, resolve } from "@std/path";
import { FsMagic } from "../ffi/constants.ts";
import { fsMagic, mountId } from "../ffi/files.ts";
import type { Kernel } from "../ffi/kernel.ts";

/**
 * `v1`: one hierarchy a controller, or several joined. `hybrid`: the same, and a cgroup2 mount beside them at
 * /sys/fs/cgroup/unified. `v2`: one cgroup2 mount.
 */
export type CgroupMode = "v1" | "hybrid" | "v2";

/** One mounted cgroup hierarchy. */
export interface Hierarchy {
  /** `["cpu", "cpuacct"]`, `["name=systemd"]`; empty for cgroup2. */
  readonly controllers: readonly string[];
  /** Absolute path of the mount. */
  readonly mountPoint: string;
  /** Which cgroup of the hierarchy the mount shows at its top, as mountinfo has it: `/` unless this is a container. */
  readonly root: string;
  /** This process's own cgroup, as /proc/self/cgroup has it. */
  readonly ownPath: string;
}

/** The host's cgroups, in the order of mountinfo. */
export interface CgroupLayout {
  /** Which versions there are. */
  readonly mode: CgroupMode;
  /** Those that are mounted. */
  readonly hierarchies: readonly Hierarchy[];
}

/** A v1 hierarchy as a container's mount of type `cgroup` shows it. */
export interface V1Mount {
  /** Directory below the mount's destination: `cpu,cpuacct`. */
  readonly name: string;
  /** Mount data for a new mount of the hierarchy (in a cgroup namespace): `cpu,cpuacct`, `name=systemd`. */
  readonly data: string;
  /** The container's cgroup on the host: what to bind where there is no cgroup namespace. */
  readonly source: string;
  /** Symlinks to `name` beside it: `cpu`, `cpuacct`. */
  readonly links: readonly string[];
}

/** A line of mountinfo. */
export interface CgroupMount {
  readonly id: number;
  /** The mount that it is mounted on. */
  readonly parent: number;
  readonly type: string;
  readonly root: string;
  readonly mountPoint: string;
  readonly superOptions: readonly string[];
}

const CGROUP_ROOT = "/sys/fs/cgroup";
/** Where systemd mounts cgroup2 beside v1, and the only place where runc looks for it. */
const HYBRID_MOUNT = "/sys/fs/cgroup/unified";

/** Reads what {@link parseCgroupLayout} needs. */
export function readCgroupLayout(kernel: Kernel): CgroupLayout {
  const mountinfo = Deno.readTextFileSync("/proc/self/mountinfo");
  return parseCgroupLayout(mountinfo, Deno.readTextFileSync("/proc/self/cgroup"), (mount) => isReached(kernel, mount));
}

/** Whether the path of a mount leads to it, and not to another one above it. */
function isReached(kernel: Kernel, { id, type, mountPoint }: CgroupMount): boolean {
  const there = mountId(kernel, mountPoint);
  if (there !== undefined) return there === id;
  // A path that leads nowhere, or a sandbox around us that refuses statx(2): the type is the next best.
  try {
    return fsMagic(kernel, mountPoint) === (type === "cgroup2" ? FsMagic.CGROUP2 : FsMagic.CGROUP);
  } catch {
    return false;
  }
}

/**
 * The layout from the texts of /proc/self/mountinfo and /proc/self/cgroup.
 *
 * A mount counts only where its path leads to it: mountinfo lists what is hidden by another mount, too. `isReached` is asked for those that
 * are wanted and may be hidden: of most hosts, for none.
 *
 * A host without cgroups gives mode `v1` without hierarchies.
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
  // The topmost mount at /sys/fs/cgroup decides, as runc's statfs of it does.
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

/** The lines of /proc/PID/cgroup: `4:cpu,cpuacct:/user.slice`. A path may hold colons. */
export function parseProcCgroup(text: string): readonly OwnCgroup[] {
  return text.split("\n").filter((line) => line !== "").map((line) => {
    const [, controllers = "", ...path] = line.split(":");
    return { controllers: controllers === "" ? [] : controllers.split(","), path: path.join(":") };
  });
}

/**
 * The directory of `cgroup` (as /proc/PID/cgroup names it) below the hierarchy's mount point.
 *
 * In a container without a cgroup namespace the mount shows only the part below `root`, while /proc names the whole path. One that is not
 * below `root` cannot be reached through this mount: the mount point itself stands for it, never something outside.
 */
export function directoryOf({ mountPoint, root }: Hierarchy, cgroup: string): string {
  const top = resolve("/", root);
  const path = resolve("/", cgroup);
  if (top === "/") return path === "/" ? mountPoint : mountPoint + path;
  return path.startsWith(`${top}/`) ? mountPoint + path.slice(top.length) : mountPoint;
}

/**
 * What a container's mount of type `cgroup` is made of on a v1 host: every v1 hierarchy, not the cgroup2 mount of a hybrid host (runc
 * leaves it out too).
 *
 * `paths`: the container's cgroups by controller. A hierarchy that it has none in shows this process's own cgroup.
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

/** Mounts of cgroups, and whatever else is at or below /sys. A host may have thousands of others, so they are not taken apart. */
function parseMounts(mountinfo: string): readonly CgroupMount[] {
  return mountinfo.split("\n").filter((line) => line.includes(" - cgroup") || line.includes(" /sys")).map(parseMount);
}

/** What can be mounted on the way to {@link CGROUP_ROOT}. Nothing mounted over `/` hides what a process sees: its root stays below. */
const ON_THE_WAY: readonly string[] = ["/sys", "/sys/fs", CGROUP_ROOT];

/**
 * Tells by mountinfo alone, which costs no call, that a mount right below /sys/fs/cgroup, or there, cannot be hidden: what is mounted on the
 * way to it is one on the other, it on top of them, and nothing else is at its path.
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
  // A variable number of optional fields ends with "-".
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

/** A field of mountinfo, which writes space, tab, newline and backslash as three octal digits. */
export function unescapeField(field: string): string {
  if (!field.includes("\\")) return field;
  return field.replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)));
}

/** A hierarchy mounted twice counts once: where it is below /sys/fs/cgroup if it is. */
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
