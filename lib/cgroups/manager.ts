/**
 * A container's cgroups: one interface, one driver for each layout.
 *
 * The order of a container's life: {@link createCgroupManager}, `create`, `join` (or the container's first process joins by itself, see
 * {@link SelfJoin}), `setDevices`, … `kill`, `destroy`. Later commands get the same object from the paths in state.json by
 * {@link loadCgroupManager}.
 *
 * Runs in: parent, in the host's mount namespace.
 *
 * @module
 */

import type { Kernel } from "../ffi/kernel.ts";
import type { Resources } from "../specs/config.ts";
import type { Tracer } from "../trace/tracer.ts";
import type { SpecDeviceRule } from "./devices/rules.ts";
import type { FreezerState } from "./freezer.ts";
import type { CgroupLayout } from "./layout.ts";
import type { SendSignal } from "./processes.ts";

/**
 * How a single-threaded process puts itself into the container's cgroups, which is far cheaper than being put there.
 *
 * Writing another process's id to cgroup.procs takes a lock that waits for an RCU grace period: 4 to 14 ms for the first hierarchy,
 * measured on Linux 6.18. A thread that moves only itself does not need it (kernel commit 9a3284fad42f, Linux 5.5), nor does
 * CLONE_INTO_CGROUP: 0.15 ms for nine hierarchies and the clone.
 */
export interface SelfJoin {
  /** The v1 files to write `0` to, in this order. A process with more than one thread would be torn apart. */
  readonly taskFiles: readonly {
    readonly path: string;
    /** Errors do not matter, or EPERM, EACCES and EROFS do not; without it all do. */
    readonly tolerate?: "all" | "permission";
  }[];
  /** The cgroup2 directory for clone3's CLONE_INTO_CGROUP; a process cannot enter it cheaply by itself. */
  readonly cloneInto?: string;
}

/** A container's cgroups. Every method may throw `cgroup-failed` with the path and the errno. */
export interface CgroupManager {
  /**
   * The cgroup directories as state.json's `cgroup_paths` has them: by controller on v1, "" is cgroup2. Those that a rootless container could
   * not get are left out once `create` or `join` has found out.
   */
  readonly paths: Readonly<Record<string, string>>;
  /** Whether a cgroup was refused and that was tolerated: the container may have processes outside its cgroup. */
  readonly refused: boolean;
  /** How the container's first process joins by itself. Valid after `create`. */
  readonly selfJoin: SelfJoin;
  /**
   * Makes the directories and whatever they need before a process can enter, of `limits` too. On failure those that it made are
   * removed again.
   *
   * `firstPid`: the container's first process, which waits meanwhile. systemd's units cannot be without one, and have it from the start.
   *
   * @throws {RuncError} `cgroup-failed` where the cgroup exists and has processes or is frozen, or is of a kind that cannot limit
   * what `limits` limits.
   */
  create(limits?: Resources, firstPid?: number): void;
  /**
   * How a further process joins by itself: as {@link selfJoin}, but on v2, where the container's cgroup takes no process, the one that
   * `initPid` is in.
   */
  selfJoinOfExec(initPid: number): SelfJoin;
  /** Moves a process in. `initPid`: on v2, join that process's cgroup where the container's own takes none: init may have moved. */
  join(pid: number, initPid?: number): void;
  /** Allows these devices and the usual ones. `rules`: `linux.resources.devices`. */
  setDevices(rules: readonly SpecDeviceRule[]): void;
  /**
   * Sets the limits. Device rules are {@link setDevices}' own.
   *
   * @throws {RuncError} `cgroup-failed` for a limit whose cgroup the container could not get; `config-invalid` for values that cannot be.
   */
  set(limits: Resources): void;
  /**
   * Looks at what {@link set} is going to change; the function that is returned puts it back. `stored`: what was set before, for whoever
   * keeps limits beside the files.
   */
  remember(limits: Resources, stored: Resources): () => void;
  /** How many of its processes were killed for lack of memory. */
  oomKills(): number;
  /** All processes of the cgroup and those below it. */
  processes(): number[];
  /** Whether the directory is there, in the hierarchy that stands for all. */
  exists(): boolean;
  /** Kills all of {@link processes}, frozen ones too. False where there is no cgroup. */
  kill(send: SendSignal): boolean;
  /** Frozen only if the container itself was: not where a cgroup above it is. A missing cgroup runs. */
  freezerState(): FreezerState;
  /** Stops all processes, and returns when they have stopped. */
  freeze(): void;
  /** Lets them go on. A missing cgroup is fine. */
  thaw(): void;
  /** Lets those go on that were killed, and that a freezer, also of a cgroup below, keeps from ending. A missing cgroup is fine. */
  thawToKill(): void;
  /** Removes the cgroup and those below it. Missing ones are fine. */
  destroy(): void;
}

/** What a driver must know beside the paths. */
export interface CgroupOptions {
  /** For bpf(2), on v2 only. */
  readonly kernel: Kernel;
  /** Rootless cgroups: being refused permission is tolerated where the config does not ask for a certain cgroup. */
  readonly rootless: boolean;
  /** Whether this process is in a user namespace other than the first: device rules cannot be set there. */
  readonly inUserNamespace: boolean;
  /** Gets a span for the limits of each controller. */
  readonly tracer?: Tracer;
}

/** What the drivers take. */
export interface DriverOptions extends CgroupOptions {
  /** Whether config.json names the cgroup. */
  readonly explicitPath: boolean;
  /** Whether the container existed before: its cgroups are made, or were refused then. */
  readonly loaded: boolean;
  /** Whether a cgroup was refused already, and is not among the paths. */
  readonly refused: boolean;
  /** Where cgroup2 is mounted. */
  readonly unifiedMount: string;
}

/** Where cgroup2 is mounted on every host that has only cgroup2. */
export const UNIFIED_MOUNT = "/sys/fs/cgroup";

/** Where cgroup2 is mounted on a host of this layout. */
export function unifiedMountOf(layout: CgroupLayout): string {
  return layout.hierarchies.find(({ controllers }) => controllers.length === 0)?.mountPoint ?? UNIFIED_MOUNT;
}
