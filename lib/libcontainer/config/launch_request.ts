/**
 * What a plan depends on beside config.json: the host's facts, read once beforehand, and what the command line asked for.
 *
 * @module
 */

import type { Process } from "../../specs/config.ts";
import type { Arch, SyscallName } from "../../ffi/syscalls.ts";
import type { SeccompFilter } from "../seccomp/filter.ts";

/** One hierarchy as a container's `cgroup` mount shows it. */
export interface CgroupMountFact {
  /** Directory below the mount: `cpu,cpuacct`, `systemd`. */
  readonly name: string;
  /** The container's own cgroup, absolute on the host. */
  readonly source: string;
  /** Mount data that selects the hierarchy in a cgroup namespace: `cpu,cpuacct`, `name=systemd`. */
  readonly controllers: string;
}

/** The host, as far as a plan depends on it. */
export interface HostFacts {
  /** The machine's. */
  readonly arch: Arch;
  /** /proc/sys/kernel/cap_last_cap. */
  readonly lastCapability: number;
  /** /proc/kcore exists. */
  readonly kcore: boolean;
  /** This runtime itself is under a profile of AppArmor. Looked up where it matters. @see ../steps/security_labels.ts, mayHaveToStack */
  readonly isConfined: boolean;
  /** This runtime itself runs in a user namespace. */
  readonly inUserNamespace: boolean;
  /** System calls that a sandbox around this runtime refuses. @see ../plans/outer_sandbox.ts */
  readonly refused?: ReadonlySet<SyscallName>;
  /** The size of a set of processors that has room for all that the kernel can have: 128 bytes up to 1,024 of them, else 1,024. */
  readonly processorSetBytes: number;
  /** Whom this runtime runs as. */
  readonly euid: number;
  /** This runtime may look into a process that is not dumpable: it is root, with CAP_SYS_PTRACE. */
  readonly mayTrace: boolean;
  /** Failing to manage cgroups is to be expected: this runtime is not root, or `--rootless` says so. */
  readonly rootlessCgroups: boolean;
  /** The process sets its additional groups: this runtime is root, or there are some, and /proc/PID/setgroups does not say `deny`. */
  readonly setgroupsAllowed: boolean;
  /** Which versions of cgroups are mounted. */
  readonly cgroupMode: "v1" | "hybrid" | "v2";
  /** v1 and hybrid: the hierarchies of a `cgroup` mount. */
  readonly cgroupMounts: readonly CgroupMountFact[];
  /** v2: the container's cgroup, absolute on the host. */
  readonly cgroup2Path?: string;
  /** Mount points of whole procfs and sysfs mounts outside the rootfs: what --no-pivot has to cover. Empty otherwise. */
  readonly fullProcMounts: readonly string[];
  /** Host uid and gid of the container's root, where it has a user namespace. */
  readonly rootUid: number;
  /** See `rootUid`. */
  readonly rootGid: number;
}

/** How the stage and its child get into the container's cgroups by themselves. @see ../../cgroups/manager.ts, SelfJoin */
export interface CgroupEntry {
  /** The v1 files to write `0` to, in order, and which errors do not matter. */
  readonly taskFiles: readonly { readonly path: string; readonly tolerate?: "all" | "permission" }[];
  /** The cgroup2 directory that the child is born in. */
  readonly cloneInto?: string;
}

/** Flags of `create` and `run` that reach init as they are. */
export interface StartFlags {
  /** Enter the rootfs without pivot_root, for one that lies in a ramdisk. */
  readonly noPivot?: boolean;
  /** Keep the caller's session keyring. */
  readonly noNewKeyring?: boolean;
}

/** The flags among other options. */
export function startFlags({ noPivot = false, noNewKeyring = false }: StartFlags): Required<StartFlags> {
  return { noPivot, noNewKeyring };
}

/** What the caller of `create` and `run` asked for. */
export interface LaunchRequest extends Required<StartFlags> {
  /** Of the container. */
  readonly id: string;
  /** Absolute. */
  readonly bundle: string;
  /** Absolute, no symlink. */
  readonly rootfs: string;
  /** How its processes get into its cgroups. */
  readonly cgroup: CgroupEntry;
  /** Whether the parent moves the stage by its pid before it lets it go on: into a unit of systemd's, or a resctrl group. */
  readonly stageIsMoved: boolean;
  /** Descriptors from 3 up that the container's process inherits: LISTEN_FDS first, then --preserve-fds. */
  readonly inheritedFds: number;
  /** How many of them are LISTEN_FDS. */
  readonly listenFds: number;
  /** Whether a pidfd goes to the fixed descriptor `pidfd-socket`. */
  readonly pidfdSocket: boolean;
  /** What ends the wait before execve: the exec fifo (create), or a message from the parent, who stays (run). */
  readonly startBy: "fifo" | "parent";
  /** Directory with the notify socket on the host; bound to /run/notify. */
  readonly notifyDirectory?: string;
  /** linux.seccomp, compiled. */
  readonly seccomp?: SeccompFilter;
  /** Who carries the plan out; `native` where absent. */
  readonly executor?: "native" | "deno";
}

/** Whether the profile cannot take the place of one that this runtime itself may be under: then it has to be added to that. */
export function mayHaveToStack(
  { apparmorProfile, noNewPrivileges }: Pick<Process, "apparmorProfile" | "noNewPrivileges">,
): boolean {
  return !!apparmorProfile && noNewPrivileges === true;
}
