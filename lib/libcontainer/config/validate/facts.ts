/**
 * What the rules need to know of the host, read beforehand so that they are pure.
 *
 * @module
 */

import type { Config, IdMapping, Namespace, NamespaceType } from "../../../specs/config.ts";
import type { Problem } from "../../../specs/problem.ts";
import type { ParsedMount } from "../mounts.ts";

/** The host and the command line, as far as a config can be wrong for them. */
export interface ValidationFacts {
  /** Of `root.path`. */
  readonly rootfs: RootfsFacts;
  /** The caller is not root: a user namespace is needed for everything. */
  readonly rootlessEuid: boolean;
  /** Failing to manage cgroups is to be expected. */
  readonly rootlessCgroups: boolean;
  /** The unified hierarchy alone. */
  readonly cgroup2: boolean;
  /** `--systemd-cgroup`. */
  readonly systemdCgroup: boolean;
  /** `--no-pivot`. */
  readonly noPivot: boolean;
  /** SELinux is enabled. */
  readonly selinux: boolean;
  /** The kinds of namespaces that the kernel has: the files in /proc/self/ns. */
  readonly kernelNamespaces: readonly NamespaceType[];
  /** The network namespace that the config joins by path; absent where it joins none. */
  readonly joinedNetwork?: { readonly isOurs: boolean } | Unreadable;
  /** The user namespace that the config joins by path; absent where it joins none. */
  readonly joinedUser?:
    | { readonly uidMappings: readonly IdMapping[]; readonly gidMappings: readonly IdMapping[] }
    | Unreadable;
  /** What the container's user namespace has to do with groups; looked at only for a caller who is not root. */
  readonly groups: GroupFacts;
  /** Intel RDT; absent where resctrl is not mounted. */
  readonly intelRdt?: { readonly cat: boolean; readonly mba: boolean };
}

/** The groups that a process of a user's container can have. */
export interface GroupFacts {
  /** The gids that are mapped. */
  readonly mappings: readonly IdMapping[];
  /** setgroups(2) is given up there for good, or will be. */
  readonly isDenied: boolean;
}

/** What stat(2) and realpath(3) say of the root file system. */
export interface RootfsFacts {
  /** root.path, made absolute from the bundle. */
  readonly path: string;
  /** The same without symlinks; absent where it cannot be resolved. */
  readonly resolved?: string;
  /** Absent where it could not be looked at. */
  readonly isDirectory?: boolean;
  /** Why not: `stat /bundle/rootfs: no such file or directory`. */
  readonly error?: string;
}

/** Why something could not be looked at. */
export interface Unreadable {
  /** Why. */
  readonly error: string;
}

/** One rule: what it finds wrong. `mounts`: those of the config. */
export type Rule = (config: Config, facts: ValidationFacts, mounts: readonly ParsedMount[]) => Iterable<Problem>;

/** The config's entry for a kind of namespace. */
export function namespaceOf(config: Config, type: NamespaceType): Namespace | undefined {
  return config.linux?.namespaces?.find((namespace) => namespace.type === type);
}

/** Text in double quotes, as Go's `%q` prints it for what stands in a config. */
export function quote(text: string): string {
  return JSON.stringify(text);
}
