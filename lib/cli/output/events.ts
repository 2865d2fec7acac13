/**
 * Events in exactly runc's format, which callers parse. Pure.
 *
 * @see https://github.com/opencontainers/runc/blob/v1.5.1/types/events.go
 * @module
 */

import type { RdtStats } from "../../cgroups/rdt/stats.ts";
import type {
  BlockIoEntry,
  CgroupStats,
  CpusetStats,
  CpuStats,
  MemoryStats,
  MemoryUsage,
  Pressure,
} from "../../cgroups/stats/types.ts";
import { goJson } from "../../specs/go_json.ts";

/** The line of an `oom` event. */
export function oomLine(id: string): string {
  return `${goJson({ type: "oom", id })}\n`;
}

/** The line of a `stats` event. */
export function statsLine(id: string, stats: CgroupStats): string {
  return `${goJson({ type: "stats", id, data: statsData(stats) })}\n`;
}

type Json = Readonly<Record<string, unknown>>;

function statsData(stats: CgroupStats): Json {
  // runc reads pressure only on cgroup v2.
  const { cpu, memory, io }: CgroupStats["pressure"] = stats.version === 2 ? stats.pressure : {};
  return {
    cpu: cpuData(stats.cpu, cpu),
    cpuset: cpusetData(stats.cpuset),
    memory: memoryData(stats.memory, memory),
    pids: withoutEmpty({ current: stats.pids.current, limit: stats.pids.limit }),
    blkio: blockIoData(stats.blockIo, io),
    hugetlb: sorted(stats.hugetlb, ({ usage, peak, failures }) => ({
      ...withoutEmpty({ usage, max: peak }),
      failcnt: failures,
    })),
    intel_rdt: stats.intelRdt === undefined ? {} : rdtData(stats.intelRdt),
    // A Go slice that is never filled, so always null.
    network_interfaces: null,
  };
}

function cpuData(stats: CpuStats, pressure: Pressure | undefined): Json {
  const { total, kernel, user, perCpu, perCpuKernel, perCpuUser, periods, throttledPeriods, throttledTime } = stats;
  const usage = {
    ...withoutEmpty({ total, percpu: perCpu, percpu_kernel: perCpuKernel, percpu_user: perCpuUser }),
    kernel,
    user,
  };
  const isUsed = Object.keys(usage).length > 2 || kernel > 0n || user > 0n;
  return withoutEmpty({
    usage: isUsed ? usage : undefined,
    throttling: withoutEmpty({ periods, throttledPeriods, throttledTime }),
    psi: pressure,
  });
}

function cpusetData(stats: CpusetStats | undefined): Json {
  return {
    ...withoutEmpty({ cpus: stats?.cpus }),
    cpu_exclusive: stats?.flags.cpu_exclusive ?? 0,
    ...withoutEmpty({ mems: stats?.mems }),
    mem_hardwall: stats?.flags.mem_hardwall ?? 0,
    mem_exclusive: stats?.flags.mem_exclusive ?? 0,
    memory_migrate: stats?.flags.memory_migrate ?? 0,
    memory_spread_page: stats?.flags.memory_spread_page ?? 0,
    memory_spread_slab: stats?.flags.memory_spread_slab ?? 0,
    memory_pressure: stats?.flags.memory_pressure ?? 0,
    sched_load_balance: stats?.flags.sched_load_balance ?? 0,
    sched_relax_domain_level: stats?.relaxDomainLevel ?? 0,
  };
}

function memoryData(stats: MemoryStats, pressure: Pressure | undefined): Json {
  return withoutEmpty({
    cache: stats.cache,
    usage: memoryEntry(stats.memory),
    swap: memoryEntry(stats.withSwap),
    kernel: memoryEntry(stats.kernel),
    kernelTCP: memoryEntry(stats.kernelTcp),
    raw: sorted(stats.raw, (value) => value),
    psi: pressure,
  });
}

function memoryEntry({ limit, usage, peak, failures }: MemoryUsage): Json {
  if (limit === 0n && usage === 0n && peak === 0n && failures === 0n) return {};
  return { limit, ...withoutEmpty({ usage, max: peak }), failcnt: failures };
}

function blockIoData(stats: CgroupStats["blockIo"], pressure: Pressure | undefined): Json {
  return withoutEmpty({
    ioServiceBytesRecursive: stats.serviceBytes.map(blockIoEntry),
    ioServicedRecursive: stats.serviced.map(blockIoEntry),
    ioQueueRecursive: stats.queued.map(blockIoEntry),
    ioServiceTimeRecursive: stats.serviceTime.map(blockIoEntry),
    ioWaitTimeRecursive: stats.waitTime.map(blockIoEntry),
    ioMergedRecursive: stats.merged.map(blockIoEntry),
    ioTimeRecursive: stats.time.map(blockIoEntry),
    sectorsRecursive: stats.sectors.map(blockIoEntry),
    psi: pressure,
  });
}

function blockIoEntry({ major, minor, op, value }: BlockIoEntry): Json {
  return withoutEmpty({ major, minor, op, value });
}

function rdtData({ l3Cache: l3, memoryBandwidth: mb, schemata, transfers, cacheUsage }: RdtStats): Json {
  const known = withoutEmpty({
    l3_cache_info: l3 && withoutEmpty({ cbm_mask: l3.mask, min_cbm_bits: l3.minBits, num_closids: l3.classes }),
    l3_cache_schema_root: l3?.rootSchema,
    l3_cache_schema: l3?.schema,
    mem_bw_info: mb && withoutEmpty({
      bandwidth_gran: mb.granularity,
      delay_linear: mb.isLinear,
      min_bandwidth: mb.minimum,
      num_closids: mb.classes,
    }),
    mem_bw_schema_root: mb?.rootSchema,
    mem_bw_schema: mb?.schema,
    schemata,
  });
  return {
    ...known,
    ...(transfers === undefined
      ? {}
      : { mbm_stats: list(transfers, ({ total, local }) => ({ mbm_total_bytes: total, mbm_local_bytes: local })) }),
    ...(cacheUsage === undefined ? {} : { cmt_stats: list(cacheUsage, (bytes) => ({ llc_occupancy: bytes })) }),
  };
}

/** A Go slice behind a pointer: an empty one is present, as null. */
function list<Item>(items: readonly Item[], convert: (item: Item) => Json): readonly Json[] | null {
  return items.length === 0 ? null : items.map(convert);
}

/** Removes what Go's omitempty and omitzero leave out. */
function withoutEmpty(object: Json): Json {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => !isEmpty(value)));
}

function isEmpty(value: unknown): boolean {
  return typeof value === "object" && value !== null ? Object.keys(value).length === 0 : !value;
}

/** Converts a map. Go sorts its keys. */
function sorted<Value>(map: Readonly<Record<string, Value>>, convert: (value: Value) => unknown): Json {
  const keys = Object.keys(map).sort();
  return Object.fromEntries(keys.map((key) => [key, convert(map[key]!)]));
}
