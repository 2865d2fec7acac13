/**
 * The facts about the host for `doctor`. They are read beforehand (./read.ts), so that the questions are pure.
 *
 * @module
 */

import type { CgroupMode } from "../../../cgroups/layout.ts";
import type { SyscallName } from "../../../ffi/syscalls.ts";
import type { NamespaceType } from "../../../specs/config.ts";
import type { CheckFacts } from "../facts.ts";

/** How this program was started. */
export interface ProgramStart {
  /** `snapshot`, `launcher`, `compiled` or `source`. */
  readonly kind: string;
  /** Absolute path of the program; with a launcher, of the file that callers execute. */
  readonly path: string;
  /** For `launcher`: the file that callers execute is a snapshot, which could not be resumed. */
  readonly hasSnapshot: boolean;
}

/** The families of distributions whose package manager is known. */
export type Distribution = "debian" | "fedora" | "alpine" | "arch" | "suse" | "other";

/** A hidden or restricted /proc. */
export interface ProcFacts {
  /** Mount points on /proc that hide something. */
  readonly covers: readonly string[];
  /** The value of the mount option hidepid; empty if it is off. */
  readonly hidepid: string;
  /** The errno of mounting a new proc in new user and pid namespaces; undefined if it could not be tried. */
  readonly mountErrno?: number;
}

/** What the host has. An errno is 0 for a call that works, and undefined for one that could not be tried. */
export interface DoctorFacts extends Pick<CheckFacts, "caller" | "appArmor" | "seccomp" | "selinux" | "fileAt"> {
  readonly program: ProgramStart;
  readonly distribution: Distribution;
  readonly user: { readonly name: string; readonly subordinate: CheckFacts["subordinate"] };
  readonly kernelRelease: string;
  readonly unavailableCalls: readonly SyscallName[];
  /** A seccomp filter is in force for this process. */
  readonly isFiltered: boolean;
  readonly inUserNamespace: boolean;
  readonly namespaceErrnos: Readonly<Record<NamespaceType, number | undefined>>;
  /** /proc/sys/user/max_user_namespaces. */
  readonly userNamespaceLimit: number;
  /** Settings that keep users without root from making user namespaces, as `name=value`. */
  readonly userNamespaceRestrictions: readonly string[];
  /** Errnos of id-mapped mounts, by path. */
  readonly idmapErrnos: Readonly<Record<string, number | undefined>>;
  /** vm.memfd_noexec. */
  readonly memfdNoexec: number;
  /** Keys of this user, and how many it may have. */
  readonly keys: { readonly used: number; readonly most: number };
  readonly cgroups: {
    /** Undefined if no hierarchy is mounted. */
    readonly mode?: CgroupMode;
    readonly controllers: readonly string[];
    /** The kernel's controllers. On v1 some may not be mounted, on v2 some may not be passed on to the caller. */
    readonly hostControllers: readonly string[];
    /** Directories in which this caller cannot make a cgroup. */
    readonly closed: readonly string[];
    readonly swap: boolean;
    /** The errno of loading a device filter; only for v2. */
    readonly deviceFilterErrno?: number;
  };
  readonly systemd: {
    readonly isRunning: boolean;
    readonly hasLibrary: boolean;
    /** The address of the bus that the caller would use is a socket. */
    readonly hasBus: boolean;
  };
  readonly proc: ProcFacts;
  /** The active security modules; empty if unknown. */
  readonly modules: readonly string[];
  readonly landlockVersion: number;
  readonly libseccompVersion?: string;
  /** The path of each program; undefined if it is not in PATH. */
  readonly tools: Readonly<Record<"criu" | "newuidmap" | "newgidmap" | "ps", string | undefined>>;
  /** Programs of {@link tools} that have neither the setuid bit nor file capabilities. */
  readonly powerless: readonly string[];
  /** The state directory or its nearest existing ancestor, and whether it can be written to. */
  readonly state: { readonly directory: string; readonly isWritable: boolean };
  readonly resctrl: boolean;
}
