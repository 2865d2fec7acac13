/**
 * What the kernel shows of a container, as data. ./read_view.ts reads it. Pure.
 *
 * @module
 */

import type { OwnCgroup } from "../../cgroups/layout.ts";
import type { NamespaceType } from "../../specs/config.ts";
import type { MountInfo } from "./proc_files.ts";

/** Namespaces by their type, as the links below /proc/PID/ns name them: `net:[4026531840]`. */
export type NamespaceLinks = Readonly<Partial<Record<NamespaceType, string>>>;

/** The container's first process. A file that this process may not read is absent. */
export interface ProcessView {
  /** The lines of /proc/PID/status. */
  readonly status: Readonly<Record<string, string>>;
  readonly namespaces: NamespaceLinks;
  /** `soft hard` by name. */
  readonly limits?: Readonly<Record<string, string>>;
  readonly mounts?: readonly MountInfo[];
  /** Files in the container by the path that the config has. */
  readonly files: Readonly<Record<string, FileView>>;
  readonly uidMap?: string;
  readonly gidMap?: string;
  readonly cgroups?: readonly OwnCgroup[];
  readonly oomScoreAdj?: string;
  /** The label of the security module that answers; AppArmor's if there is one. */
  readonly label?: string;
}

/** A file in the container, symlinks followed. */
export type FileView = FoundFile | {
  /** Why it cannot be looked at: `ENOENT`. */
  readonly error: string;
};

/** Whether there is no file at a path, as opposed to one that cannot be looked at. */
export function isAbsent(file: FileView): boolean {
  // ENOTDIR: a part of the path is a file.
  return "error" in file && (file.error === "ENOENT" || file.error === "ENOTDIR");
}

/** A file in the container that exists. */
export interface FoundFile {
  /** The path without symlinks. */
  readonly path: string;
  /** The mount that it is on, as in mountinfo. */
  readonly mountId?: number;
  /** Type and permissions. */
  readonly mode: number;
  /** As this process sees it. */
  readonly uid: number;
  readonly gid: number;
  /** The device number of a device file. */
  readonly device: { readonly major: number; readonly minor: number };
}

/** The container's cgroups. */
export interface CgroupView {
  /** The directories by controller, as in state.json. */
  readonly paths: Readonly<Record<string, string>>;
  /** The directories that the first process is in, by controller. */
  readonly entered: Readonly<Record<string, string>>;
  /** Contents of files in the container's cgroup, by `controller/file`. A file that does not exist is absent. */
  readonly files: Readonly<Record<string, string>>;
  /** The tightest limit of the same name in a cgroup above, by `controller/file`. */
  readonly ceilings: Readonly<Record<string, { readonly directory: string; readonly value: string }>>;
}

/** What the kernel shows. */
export interface KernelView {
  /** Absent: the process has ended. */
  readonly process?: ProcessView;
  /** This process, to compare with: what a container shares with its host. */
  readonly own: { readonly namespaces: NamespaceLinks; readonly seccomp: string };
  /** The namespaces at the paths that the config joins. A path that does not exist any more is absent. */
  readonly joined: Readonly<Record<string, string>>;
  readonly cgroups: CgroupView;
}
