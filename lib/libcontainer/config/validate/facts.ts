/**
 * The host facts that the rules need. They are read beforehand, so that the rules are pure.
 *
 * @module
 */

import type { Config, IdMapping, Namespace, NamespaceType } from "../../../specs/config.ts";
import type { Problem } from "../../../specs/problem.ts";
import type { ParsedMount } from "../mounts.ts";

/** Facts of the host and the command line that a config is checked against. */
export interface ValidationFacts {
  /** The directory of `root.path`. */
  readonly rootfs: RootfsFacts;
  /** The caller is not root: everything requires a user namespace. */
  readonly rootlessEuid: boolean;
  /** Failures to manage cgroups are ignored. */
  readonly rootlessCgroups: boolean;
  /** The host has only the unified hierarchy. */
  readonly cgroup2: boolean;
  /** `--systemd-cgroup`. */
  readonly systemdCgroup: boolean;
  /** `--no-pivot`. */
  readonly noPivot: boolean;
  /** SELinux is enabled. */
  readonly selinux: boolean;
  /** The types of namespaces that the kernel supports: the files in /proc/self/ns. */
  readonly kernelNamespaces: readonly NamespaceType[];
  /** The network namespace that the config joins by path; absent if none. */
  readonly joinedNetwork?: { readonly isOurs: boolean } | Unreadable;
  /** The user namespace that the config joins by path; absent if none. */
  readonly joinedUser?:
    | { readonly uidMappings: readonly IdMapping[]; readonly gidMappings: readonly IdMapping[] }
    | Unreadable;
  /** The groups of the container's user namespace; used only if the caller is not root. */
  readonly groups: GroupFacts;
  /** Intel RDT; absent if resctrl is not mounted. */
  readonly intelRdt?: { readonly cat: boolean; readonly mba: boolean };
}

/** The groups that a process of a rootless container can have. */
export interface GroupFacts {
  /** The mapped gids. */
  readonly mappings: readonly IdMapping[];
  /** setgroups(2) is permanently denied there, or will be. */
  readonly isDenied: boolean;
}

/** The results of stat(2) and realpath(3) for the root file system. */
export interface RootfsFacts {
  /** root.path, made absolute from the bundle. */
  readonly path: string;
  /** The same without symlinks; absent if it cannot be resolved. */
  readonly resolved?: string;
  /** Absent if stat(2) failed. */
  readonly isDirectory?: boolean;
  /** The error: `stat /bundle/rootfs: no such file or directory`. */
  readonly error?: string;
}

/** A namespace that could not be read. */
export interface Unreadable {
  /** The reason. */
  readonly error: string;
}

/** One rule: yields the problems that it finds. `mounts`: the parsed mounts of the config. */
export type Rule = (config: Config, facts: ValidationFacts, mounts: readonly ParsedMount[]) => Iterable<Problem>;

/** The config's entry for a kind of namespace. */
export function namespaceOf(config: Config, type: NamespaceType): Namespace | undefined {
  return config.linux?.namespaces?.find((namespace) => namespace.type === type);
}

/** Text in double quotes, like Go's `%q` for the texts in configs. */
export function quote(text: string): string {
  return JSON.stringify(text);
}
