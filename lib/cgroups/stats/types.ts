/**
 * The statistics of a container's cgroups, the same for both versions.
 *
 * @module
 */

import type { RdtStats } from "../rdt/stats.ts";

/** The counters of all controllers. For a missing controller they are 0 or empty. */
export interface CgroupStats {
  /** The cgroup version. */
  readonly version: 1 | 2;
  /** CPU time. */
  readonly cpu: CpuStats;
  /** cgroup v1 only. */
  readonly cpuset?: CpusetStats;
  /** Memory and swap. */
  readonly memory: MemoryStats;
  /** Processes and threads. */
  readonly pids: PidsStats;
  /** Block devices. */
  readonly blockIo: BlockIoStats;
  /** By page size: `2MB`. */
  readonly hugetlb: Readonly<Record<string, HugetlbStats>>;
  /** RDMA devices. */
  readonly rdma: RdmaStats;
  /** By resource; cgroup v2 only. */
  readonly misc: Readonly<Record<string, MiscStats>>;
  /** Pressure: how long tasks waited for a resource. On a v1 host it comes from the cgroup2 mount next to v1. */
  readonly pressure: {
    /** For CPU time. */
    readonly cpu?: Pressure;
    /** For memory. */
    readonly memory?: Pressure;
    /** For block devices. */
    readonly io?: Pressure;
  };
  /** Cache and memory bandwidth. Absent without `linux.intelRdt`, or on a host without resctrl. */
  readonly intelRdt?: RdtStats;
}

/** Times in nanoseconds. */
export interface CpuStats {
  /** Total CPU time. */
  readonly total: bigint;
  /** Time in the kernel. */
  readonly kernel: bigint;
  /** Time in user space. */
  readonly user: bigint;
  /** By CPU; cgroup v1 only. */
  readonly perCpu: readonly bigint[];
  /** Per CPU, time in the kernel. */
  readonly perCpuKernel: readonly bigint[];
  /** Per CPU, time in user space. */
  readonly perCpuUser: readonly bigint[];
  /** Elapsed quota periods. */
  readonly periods: bigint;
  /** Periods in which tasks were throttled. */
  readonly throttledPeriods: bigint;
  /** Total throttled time. */
  readonly throttledTime: bigint;
}

/** CPUs, memory nodes and flags. */
export interface CpusetStats {
  /** Allowed CPUs. */
  readonly cpus: readonly number[];
  /** Allowed memory nodes. */
  readonly mems: readonly number[];
  /** By file: `cpu_exclusive`, `mem_hardwall`, ... */
  readonly flags: Readonly<Record<CpusetFlag, bigint>>;
  /** How far the scheduler searches for an idle CPU. -1 is the system default. */
  readonly relaxDomainLevel: bigint;
}

/** The files of the v1 cpuset controller that contain a number. */
export type CpusetFlag =
  | "cpu_exclusive"
  | "mem_hardwall"
  | "mem_exclusive"
  | "memory_migrate"
  | "memory_spread_page"
  | "memory_spread_slab"
  | "memory_pressure"
  | "sched_load_balance";

/** In bytes. */
export interface MemoryUsage {
  /** In use now. */
  readonly usage: bigint;
  /** Peak usage. */
  readonly peak: bigint;
  /** 2^64 - 1, or nearly 2^63 on cgroup v1, means no limit. */
  readonly limit: bigint;
  /** How often the limit was hit. */
  readonly failures: bigint;
}

/** Memory counters. */
export interface MemoryStats {
  /** Page cache. */
  readonly cache: bigint;
  /** Memory without swap. */
  readonly memory: MemoryUsage;
  /** Memory and swap together, on cgroup v2 too. */
  readonly withSwap: MemoryUsage;
  /** Kernel memory of the container; cgroup v1 only. */
  readonly kernel: MemoryUsage;
  /** TCP buffers; cgroup v1 only. */
  readonly kernelTcp: MemoryUsage;
  /** The content of memory.stat. */
  readonly raw: Readonly<Record<string, bigint>>;
  /** Processes that the OOM killer killed. */
  readonly oomKills: bigint;
}

/** Tasks. */
export interface PidsStats {
  /** The current number. */
  readonly current: bigint;
  /** 0 means no limit. */
  readonly limit: bigint;
}

/** A counter of one block device. */
export interface BlockIoEntry {
  /** Major number. */
  readonly major: bigint;
  /** Minor number. */
  readonly minor: bigint;
  /** `Read`, `Write`, `Sync`, ...; empty if the file does not distinguish operations. */
  readonly op: string;
  /** The unit depends on the list: bytes, operations, nanoseconds, milliseconds or sectors. */
  readonly value: bigint;
}

/** Counters of block devices, for the cgroup and those below it. */
export interface BlockIoStats {
  /** Bytes transferred. */
  readonly serviceBytes: readonly BlockIoEntry[];
  /** Completed operations. */
  readonly serviced: readonly BlockIoEntry[];
  /** Queued operations. */
  readonly queued: readonly BlockIoEntry[];
  /** Nanoseconds from dispatch to the device until completion. */
  readonly serviceTime: readonly BlockIoEntry[];
  /** Nanoseconds in the queue before dispatch. */
  readonly waitTime: readonly BlockIoEntry[];
  /** Merged operations. */
  readonly merged: readonly BlockIoEntry[];
  /** Milliseconds of device time. */
  readonly time: readonly BlockIoEntry[];
  /** Sectors transferred. */
  readonly sectors: readonly BlockIoEntry[];
}

/** Huge pages, in bytes. */
export interface HugetlbStats {
  /** In use, or reserved if the kernel counts reservations. */
  readonly usage: bigint;
  /** Peak usage; cgroup v1 only. */
  readonly peak: bigint;
  /** How often the limit was hit. */
  readonly failures: bigint;
}

/** Handles and objects of RDMA devices. */
export interface RdmaStats {
  /** In use. */
  readonly current: readonly RdmaEntry[];
  /** The limits. */
  readonly limit: readonly RdmaEntry[];
}

/** One device. 2^32 - 1 means no limit. */
export interface RdmaEntry {
  /** The device's name. */
  readonly device: string;
  /** HCA handles. */
  readonly handles: bigint;
  /** HCA objects. */
  readonly objects: bigint;
}

/** One resource of the misc controller. */
export interface MiscStats {
  /** In use now. */
  readonly usage: bigint;
  /** How often the limit was hit. */
  readonly events: bigint;
}

/** How long tasks waited for a resource. @see Documentation/accounting/psi.rst */
export interface Pressure {
  /** Some tasks waited. */
  readonly some: PressureTimes;
  /** All tasks waited. */
  readonly full: PressureTimes;
}

/** Averages in percent over 10, 60 and 300 seconds; the total in microseconds. */
export interface PressureTimes {
  /** Over 10 seconds. */
  readonly avg10: number;
  /** Over 60 seconds. */
  readonly avg60: number;
  /** Over 300 seconds. */
  readonly avg300: number;
  /** Since the cgroup was created. */
  readonly total: bigint;
}
