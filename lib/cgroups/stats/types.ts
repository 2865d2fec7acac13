/**
 * The statistics of a container's cgroups, the same for both versions.
 *
 * @module
 */

import type { RdtStats } from "../rdt/stats.ts";

/** Everything that the controllers count. What a controller that is not there would count is 0 or empty. */
export interface CgroupStats {
  /** Of the cgroup hierarchy. */
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
  /** By size of page: `2MB`. */
  readonly hugetlb: Readonly<Record<string, HugetlbStats>>;
  /** RDMA devices. */
  readonly rdma: RdmaStats;
  /** By resource; cgroup v2 only. */
  readonly misc: Readonly<Record<string, MiscStats>>;
  /** How long tasks waited for a resource; on a v1 host those of the cgroup2 mount beside it. */
  readonly pressure: {
    /** For CPU time. */
    readonly cpu?: Pressure;
    /** For memory. */
    readonly memory?: Pressure;
    /** For block devices. */
    readonly io?: Pressure;
  };
  /** Cache and memory bandwidth; none without `linux.intelRdt`, or on a host without resctrl. */
  readonly intelRdt?: RdtStats;
}

/** Times in nanoseconds. */
export interface CpuStats {
  /** All of it. */
  readonly total: bigint;
  /** Spent in the kernel. */
  readonly kernel: bigint;
  /** Spent in programs. */
  readonly user: bigint;
  /** By CPU; cgroup v1 only. */
  readonly perCpu: readonly bigint[];
  /** The same, spent in the kernel. */
  readonly perCpuKernel: readonly bigint[];
  /** The same, spent in programs. */
  readonly perCpuUser: readonly bigint[];
  /** Periods of the quota that have passed. */
  readonly periods: bigint;
  /** In how many of them tasks had to wait. */
  readonly throttledPeriods: bigint;
  /** How long they had to wait. */
  readonly throttledTime: bigint;
}

/** CPUs, memory nodes and flags. */
export interface CpusetStats {
  /** CPUs that may be used. */
  readonly cpus: readonly number[];
  /** Memory nodes that may be used. */
  readonly mems: readonly number[];
  /** By file: `cpu_exclusive`, `mem_hardwall`, ... */
  readonly flags: Readonly<Record<CpusetFlag, bigint>>;
  /** How far the scheduler looks for an idle CPU; -1 is the default of the system. */
  readonly relaxDomainLevel: bigint;
}

/** The files of the v1 cpuset controller that hold a number. */
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
  /** The most that it ever was. */
  readonly peak: bigint;
  /** 2^64 - 1, or nearly 2^63 on cgroup v1: none. */
  readonly limit: bigint;
  /** How often the limit was hit. */
  readonly failures: bigint;
}

/** Memory by kind. */
export interface MemoryStats {
  /** What holds the content of files. */
  readonly cache: bigint;
  /** Memory without swap. */
  readonly memory: MemoryUsage;
  /** Memory and swap together, on cgroup v2 too. */
  readonly withSwap: MemoryUsage;
  /** The kernel's, for the container; cgroup v1 only. */
  readonly kernel: MemoryUsage;
  /** Buffers of TCP; cgroup v1 only. */
  readonly kernelTcp: MemoryUsage;
  /** memory.stat, as the kernel has it. */
  readonly raw: Readonly<Record<string, bigint>>;
  /** Processes that were killed because there was no more. */
  readonly oomKills: bigint;
}

/** Tasks. */
export interface PidsStats {
  /** There are now. */
  readonly current: bigint;
  /** 0: none. */
  readonly limit: bigint;
}

/** A count of one block device. */
export interface BlockIoEntry {
  /** Major number. */
  readonly major: bigint;
  /** Minor number. */
  readonly minor: bigint;
  /** `Read`, `Write`, `Sync`, ...; empty where the file does not tell them apart. */
  readonly op: string;
  /** Bytes, operations, nanoseconds or sectors, as the list says. */
  readonly value: bigint;
}

/** Counts of block devices, of the cgroup and those below it. */
export interface BlockIoStats {
  /** Bytes moved. */
  readonly serviceBytes: readonly BlockIoEntry[];
  /** Operations done. */
  readonly serviced: readonly BlockIoEntry[];
  /** Operations waiting. */
  readonly queued: readonly BlockIoEntry[];
  /** Nanoseconds from being given to the device to its answer. */
  readonly serviceTime: readonly BlockIoEntry[];
  /** Nanoseconds of waiting for the device. */
  readonly waitTime: readonly BlockIoEntry[];
  /** Operations that became one with another. */
  readonly merged: readonly BlockIoEntry[];
  /** Milliseconds that the device was given. */
  readonly time: readonly BlockIoEntry[];
  /** Sectors moved. */
  readonly sectors: readonly BlockIoEntry[];
}

/** Huge pages, in bytes. */
export interface HugetlbStats {
  /** In use, or reserved where the kernel counts that. */
  readonly usage: bigint;
  /** The most that it ever was; cgroup v1 only. */
  readonly peak: bigint;
  /** How often the limit was hit. */
  readonly failures: bigint;
}

/** Handles and objects of RDMA devices. */
export interface RdmaStats {
  /** In use. */
  readonly current: readonly RdmaEntry[];
  /** What may be. */
  readonly limit: readonly RdmaEntry[];
}

/** One device; 2^32 - 1 is no limit. */
export interface RdmaEntry {
  /** Its name. */
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
  /** Over a minute. */
  readonly avg60: number;
  /** Over five minutes. */
  readonly avg300: number;
  /** Since the start. */
  readonly total: bigint;
}
