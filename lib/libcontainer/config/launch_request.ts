/**
 * The inputs of a plan besides config.json: the host's facts, read once beforehand, and the command line's options.
 *
 * @module
 */

import type { Process } from "../../specs/config.ts";
import type { Arch, SyscallName } from "../../ffi/syscalls.ts";
import type { SeccompFilter } from "../seccomp/filter.ts";

/** One hierarchy in a container's `cgroup` mount. */
export interface CgroupMountFact {
  /** Directory below the mount: `cpu,cpuacct`, `systemd`. */
  readonly name: string;
  /** The container's own cgroup, absolute on the host. */
  readonly source: string;
  /** Mount data that selects the hierarchy in a cgroup namespace: `cpu,cpuacct`, `name=systemd`. */
  readonly controllers: string;
}

/** The host's facts that a plan depends on. */
export interface HostFacts {
  /** The processor architecture. */
  readonly arch: Arch;
  /** /proc/sys/kernel/cap_last_cap. */
  readonly lastCapability: number;
  /** /proc/kcore exists. */
  readonly kcore: boolean;
  /**
   * An AppArmor profile confines this runtime. Read only if it matters. @see ../steps/security_labels.ts,
   * mayHaveToStack
   */
  readonly isConfined: boolean;
  /** This runtime itself runs in a user namespace. */
  readonly inUserNamespace: boolean;
  /** System calls that a sandbox around this runtime refuses. @see ../plans/outer_sandbox.ts */
  readonly refused?: ReadonlySet<SyscallName>;
  /** The size in bytes of a CPU set for all CPUs that the kernel can have: 128 for up to 1,024 CPUs, else 1,024. */
  readonly processorSetBytes: number;
  /** The effective user and group of this runtime. */
  readonly euid: number;
  /** This runtime may inspect a process that is not dumpable: it is root, with CAP_SYS_PTRACE. */
  readonly mayTrace: boolean;
  /** Failures to manage cgroups are ignored: this runtime is not root, or `--rootless` was given. */
  readonly rootlessCgroups: boolean;
  /**
   * The process sets its additional groups: this runtime is root, or the config lists some, and /proc/PID/setgroups is
   * not `deny`.
   */
  readonly setgroupsAllowed: boolean;
  /** The mounted versions of cgroups. */
  readonly cgroupMode: "v1" | "hybrid" | "v2";
  /** v1 and hybrid: the hierarchies of a `cgroup` mount. */
  readonly cgroupMounts: readonly CgroupMountFact[];
  /** v2: the container's cgroup, absolute on the host. */
  readonly cgroup2Path?: string;
  /** Mount points of whole procfs and sysfs mounts outside the rootfs, which --no-pivot must cover. Empty otherwise. */
  readonly fullProcMounts: readonly string[];
  /** Host uid and gid of the container's root, if it has a user namespace. */
  readonly rootUid: number;
  /** See `rootUid`. */
  readonly rootGid: number;
}

/** How the stage and its child join the container's cgroups themselves. @see ../../cgroups/manager.ts, SelfJoin */
export interface CgroupEntry {
  /** The v1 files to write `0` to, in order, and the errors to ignore. */
  readonly taskFiles: readonly { readonly path: string; readonly tolerate?: "all" | "permission" }[];
  /** The cgroup2 directory that the child is born in. */
  readonly cloneInto?: string;
}

/** Flags of `create` and `run` that reach init unchanged. */
export interface StartFlags {
  /** Enter the rootfs without pivot_root, for a rootfs in a ramdisk. */
  readonly noPivot?: boolean;
  /** Keep the caller's session keyring. */
  readonly noNewKeyring?: boolean;
}

/** The flags among other options. */
export function startFlags({ noPivot = false, noNewKeyring = false }: StartFlags): Required<StartFlags> {
  return { noPivot, noNewKeyring };
}

/** Layers that become the root of a container. */
export interface RootLayers {
  /** Where the layers are: absolute. Only the runtime's user may be able to change what is in it. */
  readonly directory: string;
  /** Names of directories in it, the lowest layer first; at least one. */
  readonly names: readonly string[];
  /** How much the container may change: bytes of a tmpfs. */
  readonly maximumBytes: number;
  /** The layers have overlayfs's marks as `user.overlay.*`: what a user without root can write. */
  readonly userXattrs: boolean;
}

/** The options of `create` and `run`. */
export interface LaunchRequest extends Required<StartFlags> {
  /** The container's id. */
  readonly id: string;
  /** Absolute. */
  readonly bundle: string;
  /** Absolute, without symlinks. */
  readonly rootfs: string;
  /** What to mount on `rootfs`, which is an empty directory then. */
  readonly rootLayers?: RootLayers;
  /** How the container's processes join its cgroups. */
  readonly cgroup: CgroupEntry;
  /**
   * Whether the parent moves the stage by its pid before it lets it continue: into a unit of systemd, or a resctrl
   * group.
   */
  readonly stageIsMoved: boolean;
  /** Descriptors from 3 up that the container's process inherits: LISTEN_FDS first, then --preserve-fds. */
  readonly inheritedFds: number;
  /** How many of the inherited descriptors are LISTEN_FDS. */
  readonly listenFds: number;
  /** Whether to send a pidfd to the fixed descriptor `pidfd-socket`. */
  readonly pidfdSocket: boolean;
  /** What ends the wait before execve: the exec fifo (create), or a message from the parent, which stays (run). */
  readonly startBy: "fifo" | "parent" | "creation";
  /** Directory with the notify socket on the host; bound to /run/notify. */
  readonly notifyDirectory?: string;
  /** linux.seccomp, compiled. */
  readonly seccomp?: SeccompFilter;
  /** What runs the plan; absent: `native`. */
  readonly executor?: "native" | "deno";
}

/** Whether the profile must be stacked on the runtime's own one, if there is one, because it may not replace it. */
export function mayHaveToStack(
  { apparmorProfile, noNewPrivileges }: Pick<Process, "apparmorProfile" | "noNewPrivileges">,
): boolean {
  return !!apparmorProfile && noNewPrivileges === true;
}
