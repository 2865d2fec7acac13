/**
 * Statistics of cgroup v2.
 *
 * @see Documentation/admin-guide/cgroup-v2.rst
 * @module
 */

import { RuncError } from "../../errors.ts";
import { processesOf } from "../processes.ts";
import { linesOf, parseCount, parseKeyed, readAs, readCount, readKeyed, UNLIMITED } from "./files.ts";
import type {
  BlockIoEntry,
  BlockIoStats,
  CgroupStats,
  CpuStats,
  HugetlbStats,
  MemoryStats,
  MemoryUsage,
  MiscStats,
  PidsStats,
} from "./types.ts";
import { noBlockIo, noCpu, noMemory, pageSizes, readPressure, readRdma } from "./parts.ts";

/**
 * Reads the counters of all controllers. A controller that is not enabled counts nothing. `tolerant`: neither does one
 * that cannot be read.
 *
 * @throws {RuncError} `cgroup-failed` with all failures.
 */
export function readStatsV2(directory: string, { tolerant }: { readonly tolerant: boolean }): CgroupStats {
  const failures: string[] = [];
  const attempt = <Result>(read: (directory: string) => Result, otherwise: Result): Result => {
    try {
      return read(directory);
    } catch (error) {
      failures.push((error as Error).message);
      return otherwise;
    }
  };
  const pids = attempt(readPids, { current: 0n, limit: 0n });
  const memory = attempt(readMemory, noMemoryStats);
  const blockIo = attempt(readBlockIo, noBlockIo);
  const cpu = attempt(readCpu, noCpu);
  const pressure = {
    cpu: attempt((path) => readPressure(path, "cpu"), undefined),
    memory: attempt((path) => readPressure(path, "memory"), undefined),
    io: attempt((path) => readPressure(path, "io"), undefined),
  };
  const hugetlb = attempt(readHugetlb, {});
  const rdma = attempt(readRdma, { current: [], limit: [] });
  const misc = attempt(readMisc, {});
  if (failures.length > 0 && !tolerant) {
    throw new RuncError("cgroup-failed", `error while statting cgroup v2: [${failures.join(" ")}]`);
  }
  return { version: 2, cpu, memory, pids, blockIo, hugetlb, rdma, misc, pressure };
}

const noMemoryStats: MemoryStats = {
  raw: {},
  cache: 0n,
  memory: noMemory,
  withSwap: noMemory,
  kernel: noMemory,
  kernelTcp: noMemory,
  oomKills: 0n,
};

/** Without the controller, counts the processes itself, or the threads in a threaded cgroup. */
function readPids(directory: string): PidsStats {
  const current = readCount(directory, "pids.current");
  if (current === undefined) return { current: BigInt(processesOf(directory).length), limit: 0n };
  const limit = readCount(directory, "pids.max") ?? UNLIMITED;
  return { current, limit: limit === UNLIMITED ? 0n : limit };
}

/** cpu.stat exists even without the controller. */
function readCpu(directory: string): CpuStats {
  const stat = readKeyed(directory, "cpu.stat") ?? {};
  const nanoseconds = (key: string) => (stat[key] ?? 0n) * 1000n;
  return {
    ...noCpu,
    total: nanoseconds("usage_usec"),
    user: nanoseconds("user_usec"),
    kernel: nanoseconds("system_usec"),
    periods: stat["nr_periods"] ?? 0n,
    throttledPeriods: stat["nr_throttled"] ?? 0n,
    throttledTime: nanoseconds("throttled_usec"),
  };
}

function readMemory(directory: string): MemoryStats {
  const raw = readKeyed(directory, "memory.stat");
  if (raw === undefined) return noMemoryStats;
  const memory = readMemoryUsage(directory, "memory");
  return {
    ...noMemoryStats,
    raw,
    cache: raw["file"] ?? 0n,
    ...(memory === undefined ? rootMemory(raw) : { memory, withSwap: withSwap(directory, memory) }),
    oomKills: readKeyed(directory, "memory.events")?.["oom_kill"] ?? 0n,
  };
}

function readMemoryUsage(directory: string, prefix: string): MemoryUsage | undefined {
  const usage = readCount(directory, `${prefix}.current`);
  if (usage === undefined) return undefined;
  // The peak files exist since Linux 5.19 and 6.5.
  const peak = readCount(directory, `${prefix}.peak`) ?? 0n;
  return { usage, peak, limit: readCount(directory, `${prefix}.max`) ?? 0n, failures: 0n };
}

/** Memory plus swap, as v1 counts them. The two peaks happened at different times, so the sum has no peak. */
function withSwap(directory: string, memory: MemoryUsage): MemoryUsage {
  const swap = readMemoryUsage(directory, "memory.swap") ?? noMemory;
  const limit = swap.limit === UNLIMITED ? UNLIMITED : (swap.limit + memory.limit) % 2n ** 64n;
  return { usage: swap.usage + memory.usage, peak: 0n, limit, failures: 0n };
}

/** The root cgroup has no memory.current. */
function rootMemory(stat: Readonly<Record<string, bigint>>): Pick<MemoryStats, "memory" | "withSwap"> {
  const usage = (stat["anon"] ?? 0n) + (stat["file"] ?? 0n);
  const swap = readAs("/proc", "meminfo", usedSwap) ?? 0n;
  const unlimited = { ...noMemory, limit: UNLIMITED };
  return { memory: { ...unlimited, usage }, withSwap: { ...unlimited, usage: usage + swap } };
}

function usedSwap(meminfo: string): bigint {
  const kilobytes = (key: string) => BigInt(new RegExp(`^${key}: *(\\d+) kB$`, "m").exec(meminfo)?.[1] ?? 0);
  return (kilobytes("SwapTotal") - kilobytes("SwapFree")) * 1024n;
}

/** The v1 table and operation for each key in io.stat. */
const ioKeys: ReadonlyMap<string, readonly [field: "serviceBytes" | "serviced", op: string]> = new Map([
  ["rbytes", ["serviceBytes", "Read"]],
  ["wbytes", ["serviceBytes", "Write"]],
  ["rios", ["serviced", "Read"]],
  ["wios", ["serviced", "Write"]],
]);

function readBlockIo(directory: string): BlockIoStats {
  return readAs(directory, "io.stat", parseIoStat) ?? noBlockIo;
}

/**
 * Parses lines of the form `8:16 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0`, one device per
 * line.
 */
export function parseIoStat(text: string): BlockIoStats {
  const tables = { serviceBytes: [] as BlockIoEntry[], serviced: [] as BlockIoEntry[] };
  for (const line of linesOf(text)) {
    const [device = "", ...items] = line.trim().split(/\s+/);
    const [, major, minor] = /^(\d+):(\d+)$/.exec(device) ?? [];
    if (major === undefined || minor === undefined) continue;
    for (const item of items) {
      const [key = "", value = ""] = item.split("=");
      const [field, op] = ioKeys.get(key) ?? [];
      if (field === undefined || op === undefined) continue;
      tables[field].push({ major: BigInt(major), minor: BigInt(minor), op, value: parseCount(value) });
    }
  }
  return { ...noBlockIo, ...tables };
}

function readHugetlb(directory: string): Readonly<Record<string, HugetlbStats>> {
  return Object.fromEntries(
    pageSizes().flatMap((size) => {
      const prefix = `hugetlb.${size}`;
      const usage = readCount(directory, `${prefix}.rsvd.current`) ?? readCount(directory, `${prefix}.current`);
      if (usage === undefined) return [];
      return [[size, { usage, peak: 0n, failures: readKeyed(directory, `${prefix}.events`)?.["max"] ?? 0n }]];
    }),
  );
}

function readMisc(directory: string): Readonly<Record<string, MiscStats>> {
  const current = readAs(directory, "misc.current", parseKeyed) ?? {};
  const events = readKeyed(directory, "misc.events") ?? {};
  return Object.fromEntries(
    Object.entries(current).map(([key, usage]) => [key, { usage, events: events[`${key}.max`] ?? 0n }]),
  );
}
