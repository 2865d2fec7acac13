/**
 * Statistics of cgroup v1.
 *
 * @see Documentation/admin-guide/cgroup-v1/
 * @module
 */

import { RuncError } from "../../errors.ts";
import { linesOf, parseCount, parseIdList, readAs, readCount, readKeyed, UNLIMITED } from "./files.ts";
import type {
  BlockIoEntry,
  BlockIoStats,
  CgroupStats,
  CpusetFlag,
  CpusetStats,
  CpuStats,
  HugetlbStats,
  MemoryStats,
  MemoryUsage,
  PidsStats,
} from "./types.ts";
import { must, noBlockIo, noCpu, noMemory, pageSizes, readPressure, readRdma } from "./parts.ts";

/** USER_HZ, 100 on every architecture that Deno runs on. */
const NANOSECONDS_PER_TICK = 10_000_000n;

/**
 * Reads the counters of all controllers. `paths`: by controller. A missing cgroup counts nothing. @throws {RuncError}
 */
export function readStatsV1(paths: Readonly<Record<string, string>>): CgroupStats {
  const { cpu, cpuacct, cpuset, memory, pids, blkio, hugetlb, rdma, "": unified } = paths;
  return {
    version: 1,
    cpu: { ...noCpu, ...readUsage(cpuacct), ...readThrottling(cpu) },
    cpuset: cpuset === undefined ? undefined : readCpuset(cpuset),
    memory: readMemory(memory),
    pids: readPids(pids),
    blockIo: blkio === undefined ? noBlockIo : readBlockIo(blkio),
    hugetlb: hugetlb === undefined ? {} : readHugetlb(hugetlb),
    rdma: rdma === undefined ? { current: [], limit: [] } : readRdma(rdma),
    misc: {},
    pressure: unified === undefined ? {} : {
      cpu: readPressure(unified, "cpu"),
      memory: readPressure(unified, "memory"),
      io: readPressure(unified, "io"),
    },
  };
}

function readThrottling(directory: string | undefined): Partial<CpuStats> {
  const stat = directory === undefined ? undefined : readKeyed(directory, "cpu.stat");
  if (stat === undefined) return {};
  const { nr_periods = 0n, nr_throttled = 0n, throttled_time = 0n } = stat;
  return { periods: nr_periods, throttledPeriods: nr_throttled, throttledTime: throttled_time };
}

function readUsage(directory: string | undefined): Partial<CpuStats> {
  const stat = directory === undefined ? undefined : readKeyed(directory, "cpuacct.stat");
  if (directory === undefined || stat === undefined) return {};
  const { user = 0n, system = 0n } = stat;
  const all = readAs(directory, "cpuacct.usage_all", parseUsageAll) ?? [];
  return {
    total: must(readCount(directory, "cpuacct.usage"), `${directory}/cpuacct.usage`),
    user: user * NANOSECONDS_PER_TICK,
    kernel: system * NANOSECONDS_PER_TICK,
    perCpu: readAs(directory, "cpuacct.usage_percpu", parseCounts) ?? [],
    perCpuUser: all.map(([user]) => user),
    perCpuKernel: all.map(([, kernel]) => kernel),
  };
}

function parseCounts(text: string): readonly bigint[] {
  return text.split(/\s+/).filter((word) => word !== "").map(parseCount);
}

/** Parses the header `cpu user system` and one line per CPU. */
export function parseUsageAll(text: string): readonly (readonly [user: bigint, kernel: bigint])[] {
  return linesOf(text).slice(1).flatMap((line) => {
    const [, user, kernel] = line.split(" ");
    return user === undefined || kernel === undefined ? [] : [[parseCount(user), parseCount(kernel)] as const];
  });
}

const cpusetFlags: readonly CpusetFlag[] = [
  "cpu_exclusive",
  "mem_hardwall",
  "mem_exclusive",
  "memory_migrate",
  "memory_spread_page",
  "memory_spread_slab",
  "memory_pressure",
  "sched_load_balance",
];

function readCpuset(directory: string): CpusetStats {
  // A hierarchy mounted with noprefix has names without `cpuset.`. cpuset(7)
  const prefix = readAs(directory, "cpuset.cpus", parseIdList) === undefined ? "" : "cpuset.";
  const flags = cpusetFlags.map((name) => [name, readCount(directory, prefix + name) ?? 0n] as const);
  return {
    cpus: readAs(directory, `${prefix}cpus`, parseIdList) ?? [],
    mems: readAs(directory, `${prefix}mems`, parseIdList) ?? [],
    flags: Object.fromEntries(flags) as Record<CpusetFlag, bigint>,
    // Not a count: -1 is the usual value.
    relaxDomainLevel: readAs(directory, `${prefix}sched_relax_domain_level`, (text) => BigInt(text.trim())) ?? 0n,
  };
}

function readMemory(directory: string | undefined): MemoryStats {
  const raw = directory === undefined ? undefined : readKeyed(directory, "memory.stat");
  const none = { memory: noMemory, withSwap: noMemory, kernel: noMemory, kernelTcp: noMemory };
  if (directory === undefined || raw === undefined) return { ...none, raw: {}, cache: 0n, oomKills: 0n };
  return {
    raw,
    cache: raw["cache"] ?? 0n,
    memory: must(readMemoryUsage(directory, "memory"), `${directory}/memory.usage_in_bytes`),
    withSwap: readMemoryUsage(directory, "memory.memsw") ?? noMemory,
    kernel: readMemoryUsage(directory, "memory.kmem") ?? noMemory,
    kernelTcp: readMemoryUsage(directory, "memory.kmem.tcp") ?? noMemory,
    oomKills: readKeyed(directory, "memory.oom_control")?.["oom_kill"] ?? 0n,
  };
}

function readMemoryUsage(directory: string, prefix: string): MemoryUsage | undefined {
  const usage = readCount(directory, `${prefix}.usage_in_bytes`);
  if (usage === undefined) return undefined;
  return {
    usage,
    peak: readCount(directory, `${prefix}.max_usage_in_bytes`) ?? 0n,
    failures: readCount(directory, `${prefix}.failcnt`) ?? 0n,
    // Newer kernels have no separate limit for kernel memory.
    limit: readCount(directory, `${prefix}.limit_in_bytes`) ?? 0n,
  };
}

function readPids(directory: string | undefined): PidsStats {
  const current = directory === undefined ? undefined : readCount(directory, "pids.current");
  if (directory === undefined || current === undefined) return { current: 0n, limit: 0n };
  const limit = readCount(directory, "pids.max") ?? UNLIMITED;
  return { current, limit: limit === UNLIMITED ? 0n : limit };
}

type BlockIoFile = readonly [file: string, field: keyof BlockIoStats];

function schedulerFiles(prefix: string): readonly BlockIoFile[] {
  return [
    [`${prefix}sectors_recursive`, "sectors"],
    [`${prefix}io_service_time_recursive`, "serviceTime"],
    [`${prefix}io_wait_time_recursive`, "waitTime"],
    [`${prefix}io_merged_recursive`, "merged"],
    [`${prefix}io_queued_recursive`, "queued"],
    [`${prefix}time_recursive`, "time"],
    [`${prefix}io_serviced_recursive`, "serviced"],
    [`${prefix}io_service_bytes_recursive`, "serviceBytes"],
  ];
}

function countFiles(prefix: string, suffix: string): readonly BlockIoFile[] {
  return [[`${prefix}io_serviced${suffix}`, "serviced"], [`${prefix}io_service_bytes${suffix}`, "serviceBytes"]];
}

/**
 * The sources, best first: BFQ's debug counters, BFQ, CFQ, throttling with and without the cgroups below. The first
 * source whose first file has content is used.
 */
const blockIoSources: readonly (readonly BlockIoFile[])[] = [
  schedulerFiles("blkio.bfq."),
  countFiles("blkio.bfq.", "_recursive"),
  schedulerFiles("blkio."),
  countFiles("blkio.throttle.", "_recursive"),
  countFiles("blkio.throttle.", ""),
];

function readBlockIo(directory: string): BlockIoStats {
  for (const files of blockIoSources) {
    const read = files.map(([file, field]) => [field, readAs(directory, file, parseBlockIo) ?? []] as const);
    if (read[0]![1].length > 0) return { ...noBlockIo, ...Object.fromEntries(read) };
  }
  return noBlockIo;
}

/** Parses `8:0 Read 1282048` or `8:0 6792`. The totals at the end are skipped. */
export function parseBlockIo(text: string): readonly BlockIoEntry[] {
  return linesOf(text).filter((line) => !line.startsWith("Total ")).map((line) => {
    const [, major, minor, op = "", value] = /^(\d+):(\d+) (?:(\w+) )?(\d+)$/.exec(line) ?? [];
    if (major === undefined || minor === undefined || value === undefined) {
      throw new RuncError("cgroup-failed", `malformed line ${JSON.stringify(line)}`);
    }
    return { major: BigInt(major), minor: BigInt(minor), op, value: BigInt(value) };
  });
}

function readHugetlb(directory: string): Readonly<Record<string, HugetlbStats>> {
  return Object.fromEntries(
    pageSizes().flatMap((size) => {
      const reserved = readCount(directory, `hugetlb.${size}.rsvd.usage_in_bytes`);
      const prefix = `hugetlb.${size}${reserved === undefined ? "" : ".rsvd"}`;
      const usage = reserved ?? readCount(directory, `${prefix}.usage_in_bytes`);
      if (usage === undefined) return [];
      const peak = readCount(directory, `${prefix}.max_usage_in_bytes`) ?? 0n;
      return [[size, { usage, peak, failures: readCount(directory, `${prefix}.failcnt`) ?? 0n }]];
    }),
  );
}
