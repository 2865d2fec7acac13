/**
 * The facts of the host that a config is checked against. They are read beforehand (./read/), so that the rules are
 * pure. Most are read at their first use: a rule runs only if the config has its field.
 *
 * @module
 */

import type { Arch } from "../../ffi/syscalls.ts";
import type { NamespaceType } from "../../specs/config.ts";
import type { ValidationFacts } from "../config/validate.ts";

/** The type of a file. `unknown`: this caller may not see it. */
export type FileKind = "file" | "directory" | "socket" | "block" | "char" | "fifo" | "unknown";

/** A file of the host. */
export interface FileFacts {
  readonly kind: FileKind;
  /** Permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** The result of looking for a program in the container's root file system. */
export type ProgramFacts =
  /** It is in a place that only exists in the container, such as a tmpfs. */
  | { readonly state: "unknown" }
  | { readonly state: "missing" }
  /** A file without permission to execute it, or a directory. */
  | { readonly state: "refused"; readonly path: string }
  | { readonly state: "found"; readonly path: string; readonly format: ProgramFormat };

/** The first bytes of a program. */
export interface ProgramFormat {
  /** `e_machine` of an ELF file. */
  readonly machine?: number;
  /** The ELF interpreter, or the one of a `#!` line. */
  readonly interpreter?: string;
  /** Whether that interpreter is in the root file system; absent if there is none, or it is unknown. */
  readonly hasInterpreter?: boolean;
  /** Neither an ELF file nor a script. */
  readonly isUnknown?: boolean;
}

/** A range of ids in /etc/subuid or /etc/subgid. */
export interface IdRange {
  readonly first: number;
  readonly size: number;
}

/** What the host has and the config may need. */
export interface CheckFacts extends ValidationFacts {
  readonly arch: Arch;
  /** binfmt_misc has handlers: programs of other architectures may run. */
  readonly hasEmulators: boolean;
  readonly caller: {
    readonly uid: number;
    readonly gid: number;
    /** The permitted set, by name. */
    readonly capabilities: readonly string[];
    /** The hard limits, by name. */
    readonly hardLimits: Readonly<Record<string, bigint>>;
  };
  /** The number of the kernel's last capability. */
  readonly lastCapability: number;
  /** Files of the host by the path that config.json names; undefined if there is none. Symlinks are followed. */
  readonly fileAt: (path: string) => FileFacts | undefined;
  /** The program of `process.args`; absent without args. */
  readonly program?: ProgramFacts;
  /** The programs of the startContainer hooks, which run in the container. */
  readonly startHooks: readonly ProgramFacts[];
  /** What the root file system has at the destination of the mount with this number; undefined if nothing or unknown. */
  readonly targetOf: (mount: number) => FileKind | undefined;
  /** The type of a namespace file, or why it cannot be read. */
  readonly namespaceAt: (path: string) => NamespaceType | "other" | { readonly error: string };
  /** The root file system is on a mount with `noexec`. */
  readonly isNoexec: boolean;
  /** A directory above the root file system that the container's root cannot search. */
  readonly closedDirectory?: string;
  /** The bundle or its config.json can be written by other users. */
  readonly openToOthers: readonly string[];
  /** The controllers that cgroups of this caller can have. */
  readonly controllers: readonly string[];
  readonly cgroup: {
    /** Processes in the cgroup that the config names. */
    readonly processes: number;
    /** Directories in which this caller may not make the container's cgroup. */
    readonly closed: readonly string[];
    /** The host accounts swap. */
    readonly swap: boolean;
  };
  /** The types of file systems that the kernel knows now; modules may add more. */
  readonly fileSystems: readonly string[];
  /** Numbers of processors and memory nodes. */
  readonly cpus: readonly number[];
  readonly memoryNodes: readonly number[];
  /** `2MB`, as in the names of the hugetlb controller's files. */
  readonly hugepageSizes: readonly string[];
  /** Whether there is a block device `major:minor`. */
  readonly hasBlockDevice: (number: string) => boolean;
  readonly networkInterfaces: readonly string[];
  readonly rdmaDevices: readonly string[];
  /** Whether /proc/sys has a parameter, by its name with dots. */
  readonly hasSysctl: (name: string) => boolean;
  readonly appArmor: {
    readonly isEnabled: boolean;
    /** The loaded profiles; absent if this caller may not read them. */
    readonly profiles?: readonly string[];
  };
  readonly seccomp: {
    /** libseccomp can be opened. */
    readonly hasLibrary: boolean;
    /** Whether libseccomp knows a system call. */
    readonly knowsCall: (name: string) => boolean;
    /** The kernel's actions, as in /proc/sys/kernel/seccomp/actions_avail; absent if unknown. */
    readonly actions?: readonly string[];
    /** SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV. */
    readonly waitsKillable: boolean;
  };
  /**
   * Ids that the caller may map with newuidmap and newgidmap, and the tools that are not installed. The ids are absent
   * if the caller may not read /etc/subuid or /etc/subgid.
   */
  readonly subordinate: {
    readonly uid?: readonly IdRange[];
    readonly gid?: readonly IdRange[];
    readonly missingTools: readonly string[];
  };
  /** The errno of an attempt to make a user namespace; 0 if that works. */
  readonly userNamespaceErrno: number;
  /** The largest number of open files that a process may have. */
  readonly largestOpenFiles: bigint;
  /** A procfs of this mount namespace shows everything, so a user namespace may mount another one. */
  readonly showsAllOfProc: boolean;
  /** Whether the file system of a path on the host refuses id-mapped mounts. */
  readonly refusesIdmap: (path: string) => boolean;
  /** The kernel has Landlock, and it is on. */
  readonly hasLandlock: boolean;
}
