/**
 * Parses texts of /proc, /sys and /etc. Pure.
 *
 * @module
 */

import { unescapeField } from "../../../cgroups/layout.ts";
import { cpuListError, parseCpuList } from "../../config/validate/cpu_list.ts";
import { capabilitiesIn } from "../../state/process_status.ts";
import type { IdRange } from "../facts.ts";

/** The numbers of a list such as /sys/devices/system/cpu/online. */
export function numbersOf(list: string | undefined): readonly number[] {
  const text = list?.trim() ?? "";
  return cpuListError(text) === undefined ? parseCpuList(text) : [];
}

/** `hugepages-2048kB` as `2MB`, which is how the hugetlb controller names it. Undefined for another name. */
export function hugepageSize(name: string): string | undefined {
  const [, kib] = /^hugepages-(\d+)kB$/.exec(name) ?? [];
  if (kib === undefined) return undefined;
  const size = Number(kib);
  if (size % (1024 * 1024) === 0) return `${size / (1024 * 1024)}GB`;
  return size % 1024 === 0 ? `${size / 1024}MB` : `${size}KB`;
}

/** The names of file systems in /proc/filesystems. Lines: `nodev\tproc`, `\text4`. */
export function fileSystemsOf(text: string): readonly string[] {
  return text.split("\n").flatMap((line) => line.split("\t")[1] || []);
}

/** The interfaces in /proc/net/dev: two lines of headings, then `  eth0: numbers`. */
export function interfacesOf(text: string): readonly string[] {
  return text.split("\n").slice(2).flatMap((line) => /^\s*([^:]+):/.exec(line)?.[1] ?? []);
}

/** The enabled controllers in /proc/cgroups, also unmounted ones. Lines: name, hierarchy, number of cgroups, enabled. */
export function enabledControllers(text: string): readonly string[] {
  return text.split("\n").map((line) => line.split("\t")).flatMap(([name = "", , , enabled]) =>
    enabled === "1" ? name : []
  );
}

/** The ranges of a user in /etc/subuid or /etc/subgid. Lines: `user:first:size`; the user is a name or a number. */
export function subordinateRanges(text: string, user: { uid: number; name?: string }): readonly IdRange[] {
  return text.split("\n").flatMap((line) => {
    const [owner, first, size] = line.trim().split(":");
    if (size === undefined || (owner !== user.name && owner !== String(user.uid))) return [];
    return [{ first: Number(first), size: Number(size) }];
  });
}

/** The name of a user in /etc/passwd; undefined if it has none. */
export function userName(passwd: string, uid: number): string | undefined {
  return passwd.split("\n").map((line) => line.split(":")).find(([, , id]) => id === String(uid))?.[0];
}

/** The capabilities of one line of /proc/PID/status, such as CapPrm. */
export function capabilitiesOf(status: string, line: "CapPrm" | "CapBnd"): readonly string[] {
  return capabilitiesIn(status, line) ?? [];
}

/** A mount in mountinfo. */
export interface MountLine {
  readonly id: number;
  readonly parent: number;
  readonly root: string;
  readonly mountPoint: string;
  /** Options of this mount, such as `rw` and `noexec`. */
  readonly options: readonly string[];
  readonly type: string;
  /** Options of the file system. */
  readonly superOptions: readonly string[];
}

/** The mounts in mountinfo. @see proc_pid_mountinfo(5) */
export function mountLines(mountinfo: string): readonly MountLine[] {
  return mountinfo.split("\n").filter((line) => line !== "").map((line) => {
    const [before = "", after = ""] = line.split(" - ");
    const [id, parent, , root = "", mountPoint = "", options = ""] = before.split(" ");
    const [type = "", , superOptions = ""] = after.split(" ");
    return {
      id: Number(id),
      parent: Number(parent),
      root: unescapeField(root),
      mountPoint: unescapeField(mountPoint),
      options: options.split(","),
      type,
      superOptions: superOptions.split(","),
    };
  });
}

/** Directories of proc that are always empty, so that a mount on them hides nothing. fs/proc/root.c, sysctl.c */
const emptyDirectories: readonly string[] = ["/sys/fs/binfmt_misc", "/fs/nfsd", "/openprom"];

/** What hides parts of a mount of proc: the mount points on it. */
export function coversOf(mounts: readonly MountLine[], proc: MountLine): readonly string[] {
  return mounts.filter(({ parent }) => parent === proc.id).map(({ mountPoint }) => mountPoint)
    .filter((path) => !emptyDirectories.includes(path.slice(proc.mountPoint.length)));
}

/**
 * Whether a mount of proc shows everything. Only then may a user namespace mount another one: mnt_already_visible() in
 * fs/namespace.c
 */
export function showsAllOfProc(mounts: readonly MountLine[]): boolean {
  return mounts.some((mount) => mount.type === "proc" && mount.root === "/" && coversOf(mounts, mount).length === 0);
}

/** The path in /proc/sys of a parameter with dots, in which a slash stands for a dot of a name. sysctl(8) */
export function sysctlPath(dotted: string): string {
  return `/proc/sys/${dotted.replace(/[./]/g, (character) => character === "." ? "/" : ".")}`;
}

/** Parameters of a network interface, which may appear only in the container. */
export function isOfInterface(dotted: string): boolean {
  return /^net\.ipv[46]\.(?:conf|neigh)\./.test(dotted);
}
