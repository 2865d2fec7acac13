/**
 * A container's cgroups: one interface with a driver for each layout.
 *
 * The order of calls for a container: {@link createCgroupManager}, `create`, `join` (or the container's first process
 * joins by itself, see {@link SelfJoin}), `setDevices`, … `kill`, `destroy`. Later commands load the same object from
 * the paths in state.json with {@link loadCgroupManager}.
 *
 * Runs in: parent, in the host's mount namespace.
 *
 * @module
 */

import type { Kernel } from "../ffi/kernel.ts";
import type { Waits } from "../ffi/waits.ts";
import type { Resources } from "../specs/config.ts";
import type { Tracer } from "../trace/tracer.ts";
import type { SpecDeviceRule } from "./devices/rules.ts";
import type { FreezerState } from "./freezer.ts";
import type { CgroupLayout } from "./layout.ts";
import type { SendSignal } from "./processes.ts";

/**
 * How a single-threaded process moves itself into the container's cgroups. This is far cheaper than moving another
 * process.
 *
 * Writing another process's id to cgroup.procs takes a lock that waits for an RCU grace period: 4 to 14 ms for the
 * first hierarchy, measured on Linux 6.18. A thread that moves only itself does not need the lock (kernel commit
 * 9a3284fad42f, Linux 5.5), and neither does CLONE_INTO_CGROUP: 0.15 ms for nine hierarchies and the clone.
 */
export interface SelfJoin {
  /**
   * The v1 files to write `0` to, in this order. Only for a process with one thread: each write moves only the calling
   * thread.
   */
  readonly taskFiles: readonly {
    readonly path: string;
    /**
     * `all`: all errors are ignored. `permission`: EPERM, EACCES and EROFS are ignored. Absent: no error is ignored.
     */
    readonly tolerate?: "all" | "permission";
  }[];
  /** The cgroup2 directory for clone3's CLONE_INTO_CGROUP. On cgroup2, a process cannot move itself cheaply. */
  readonly cloneInto?: string;
}

/**
 * A container's cgroups. Every method may throw `cgroup-failed` with the path and the errno. Methods that return
 * {@link Waits} do nothing until they are run.
 */
export interface CgroupManager {
  /**
   * The cgroup directories, in the form of state.json's `cgroup_paths`: by controller on v1; "" is cgroup2. After
   * `create` or `join`, cgroups that a rootless container could not get are missing.
   */
  readonly paths: Readonly<Record<string, string>>;
  /** Whether a cgroup was refused and that was tolerated. The container may then have processes outside its cgroup. */
  readonly refused: boolean;
  /** How the container's first process moves itself in. Valid after `create`. */
  readonly selfJoin: SelfJoin;
  /**
   * Creates the directories and sets what they need before a process can enter, including some of `limits`. On failure
   * it removes the directories that it created.
   *
   * `firstPid`: the container's first process, which is blocked meanwhile. A systemd unit needs a process from the
   * start.
   *
   * @throws {RuncError} `cgroup-failed` if the cgroup exists and has processes or is frozen, or if its type does not
   * support `limits`.
   */
  create(limits?: Resources, firstPid?: number): Waits<void>;
  /**
   * How another process moves itself in. Like {@link selfJoin}, except on v2: if the container's cgroup accepts no
   * processes, it is the cgroup of `initPid`.
   */
  selfJoinOfExec(initPid: number): SelfJoin;
  /**
   * Moves a process in. `initPid`: on v2, use that process's cgroup if the container's own accepts none: init may have
   * moved.
   */
  join(pid: number, initPid?: number): Waits<void>;
  /** Allows these devices and the default ones. `rules`: `linux.resources.devices`. */
  setDevices(rules: readonly SpecDeviceRule[]): Waits<void>;
  /**
   * Sets the limits. Device rules are ignored: {@link setDevices} sets those.
   *
   * @throws {RuncError} `cgroup-failed` for a limit whose cgroup the container could not get; `config-invalid` for
   * impossible values.
   */
  set(limits: Resources): Waits<void>;
  /**
   * Saves the current values of what {@link set} is going to change, and returns a function that restores them.
   * `stored`: the limits set before, for drivers that also keep limits outside the files.
   */
  remember(limits: Resources, stored: Resources): () => Waits<void>;
  /** How many of its processes were killed for lack of memory. */
  oomKills(): number;
  /** All processes of the cgroup and those below it. */
  processes(): number[];
  /** Whether the directory exists in the hierarchy that represents all of them. */
  exists(): boolean;
  /** Kills all {@link processes}, including frozen ones. Returns false if the cgroup does not exist. */
  kill(send: SendSignal): Waits<boolean>;
  /**
   * `frozen` only if the container's own cgroup was frozen, not if only an ancestor is. A missing cgroup is `running`.
   */
  freezerState(): Waits<FreezerState>;
  /** Freezes all processes. Returns when all are frozen. */
  freeze(): Waits<void>;
  /** Thaws all processes. A missing cgroup is not an error. */
  thaw(): void;
  /**
   * Thaws killed processes that this cgroup's freezer, or that of one below, keeps from exiting. A missing cgroup is
   * not an error.
   */
  thawToKill(): void;
  /** Removes the cgroup and those below it. Missing cgroups are not an error. */
  destroy(): Waits<void>;
}

/** What a driver needs besides the paths. */
export interface CgroupOptions {
  /** For bpf(2), on v2 only. */
  readonly kernel: Kernel;
  /** Rootless cgroups: a denied permission is tolerated unless the config names a cgroup. */
  readonly rootless: boolean;
  /** Whether this process is in a user namespace other than the initial one. Device rules cannot be set there. */
  readonly inUserNamespace: boolean;
  /** Gets a span for the limits of each controller. */
  readonly tracer?: Tracer;
}

/** The options of the drivers. */
export interface DriverOptions extends CgroupOptions {
  /** Whether config.json names the cgroup. */
  readonly explicitPath: boolean;
  /** Whether the container existed before: its cgroups were already created or refused. */
  readonly loaded: boolean;
  /** Whether a cgroup was already refused and is missing in the paths. */
  readonly refused: boolean;
  /** Where cgroup2 is mounted. */
  readonly unifiedMount: string;
}

/** The mount point of cgroup2 on hosts that have only cgroup2. */
export const UNIFIED_MOUNT = "/sys/fs/cgroup";

/** The mount point of cgroup2 on a host with this layout. */
export function unifiedMountOf(layout: CgroupLayout): string {
  return layout.hierarchies.find(({ controllers }) => controllers.length === 0)?.mountPoint ?? UNIFIED_MOUNT;
}
