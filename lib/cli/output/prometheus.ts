/**
 * Statistics in Prometheus's text exposition format. Pure.
 *
 * Names follow https://prometheus.io/docs/practices/naming/: base units (seconds, bytes), `_total` for counters. A
 * limit that is not set has no sample.
 *
 * @see https://prometheus.io/docs/instrumenting/exposition_formats/
 * @module
 */

import { isLimit } from "../../cgroups/stats/files.ts";
import type { BlockIoEntry, CgroupStats, Pressure } from "../../cgroups/stats/types.ts";

/** A container and its statistics. */
export interface ContainerStats {
  readonly id: string;
  readonly stats: CgroupStats;
}

/** One number, with the labels that distinguish it within its metric. */
interface Sample {
  readonly labels?: Readonly<Record<string, string>>;
  readonly value: string;
}

interface Metric {
  readonly name: string;
  readonly type: "counter" | "gauge";
  readonly help: string;
  readonly samples: (stats: CgroupStats) => readonly Sample[];
}

const metrics: readonly Metric[] = [
  counter("cpu_usage_seconds_total", "CPU time.", ({ cpu }) => [seconds(cpu.total)]),
  counter("cpu_mode_seconds_total", "CPU time by mode.", ({ cpu }) => [
    { ...seconds(cpu.user), labels: { mode: "user" } },
    { ...seconds(cpu.kernel), labels: { mode: "system" } },
  ]),
  counter("cpu_periods_total", "Periods of the CPU quota.", ({ cpu }) => [count(cpu.periods)]),
  counter("cpu_throttled_periods_total", "Periods in which tasks had to wait.", ({ cpu }) => [
    count(cpu.throttledPeriods),
  ]),
  counter("cpu_throttled_seconds_total", "Time that tasks had to wait.", ({ cpu }) => [seconds(cpu.throttledTime)]),
  gauge("memory_usage_bytes", "Memory in use.", ({ memory }) => [count(memory.memory.usage)]),
  gauge("memory_peak_bytes", "The most memory that was in use.", ({ memory }) => some(memory.memory.peak)),
  gauge("memory_limit_bytes", "Limit of memory.", ({ memory }) => limit(memory.memory.limit)),
  gauge("memory_cache_bytes", "Memory that holds files.", ({ memory }) => [count(memory.cache)]),
  gauge("memory_swap_usage_bytes", "Memory and swap in use.", ({ memory }) => some(memory.withSwap.usage)),
  gauge("memory_swap_limit_bytes", "Limit of memory and swap.", ({ memory }) => limit(memory.withSwap.limit)),
  counter("memory_failures_total", "How often the limit of memory was hit.", ({ memory }) => [
    count(memory.memory.failures),
  ]),
  counter("memory_oom_kills_total", "Processes killed for lack of memory.", ({ memory }) => [count(memory.oomKills)]),
  gauge("pids", "Processes and threads.", ({ pids }) => [count(pids.current)]),
  gauge("pids_limit", "Limit of processes and threads.", ({ pids }) => some(pids.limit)),
  counter("block_io_bytes_total", "Bytes moved, by device.", ({ blockIo }) => devices(blockIo.serviceBytes)),
  counter("block_io_operations_total", "Operations done, by device.", ({ blockIo }) => devices(blockIo.serviced)),
  gauge(
    "hugetlb_usage_bytes",
    "Huge pages in use, by size.",
    ({ hugetlb }) =>
      Object.entries(hugetlb).map(([page_size, { usage }]) => ({ ...count(usage), labels: { page_size } })),
  ),
  counter(
    "hugetlb_failures_total",
    "How often the limit of huge pages was hit.",
    ({ hugetlb }) =>
      Object.entries(hugetlb).map(([page_size, { failures }]) => ({ ...count(failures), labels: { page_size } })),
  ),
  gauge(
    "misc_usage",
    "Use of what the misc controller counts.",
    ({ misc }) => Object.entries(misc).map(([resource, { usage }]) => ({ ...count(usage), labels: { resource } })),
  ),
  counter(
    "pressure_waiting_seconds_total",
    "Time that some tasks waited for a resource.",
    ({ pressure }) => waits(pressure, ({ some }) => some.total),
  ),
  counter(
    "pressure_stalled_seconds_total",
    "Time that all tasks waited for a resource.",
    ({ pressure }) => waits(pressure, ({ full }) => full.total),
  ),
];

/** The statistics of `containers`, grouped by metric. Each sample has its container's id. */
export function exposition(containers: readonly ContainerStats[]): string {
  return metrics.map((metric) => {
    const lines = containers.flatMap(({ id, stats }) =>
      metric.samples(stats).map(({ labels, value }) => `${metric.name}${labelText({ id, ...labels })} ${value}\n`)
    );
    if (lines.length === 0) return "";
    return `# HELP ${metric.name} ${metric.help}\n# TYPE ${metric.name} ${metric.type}\n${lines.join("")}`;
  }).join("");
}

function counter(name: string, help: string, samples: Metric["samples"]): Metric {
  return { name: `runc_container_${name}`, type: "counter", help, samples };
}

function gauge(name: string, help: string, samples: Metric["samples"]): Metric {
  return { name: `runc_container_${name}`, type: "gauge", help, samples };
}

function count(value: bigint): Sample {
  return { value: String(value) };
}

/** Converts nanoseconds without losing digits. */
function seconds(nanoseconds: bigint): Sample {
  const fraction = String(nanoseconds % 1_000_000_000n).padStart(9, "0").replace(/0+$/, "");
  const whole = String(nanoseconds / 1_000_000_000n);
  return { value: fraction === "" ? whole : `${whole}.${fraction}` };
}

/** 0 means not measured: no sample. */
function some(value: bigint): readonly Sample[] {
  return value === 0n ? [] : [count(value)];
}

function limit(value: bigint): readonly Sample[] {
  return isLimit(value) ? [count(value)] : [];
}

function devices(entries: readonly BlockIoEntry[]): readonly Sample[] {
  return entries.filter(({ op }) => op === "Read" || op === "Write").map(({ major, minor, op, value }) => ({
    ...count(value),
    labels: { device: `${major}:${minor}`, operation: op.toLowerCase() },
  }));
}

function waits(pressure: CgroupStats["pressure"], total: (pressure: Pressure) => bigint): readonly Sample[] {
  return (["cpu", "memory", "io"] as const).flatMap((resource) => {
    const known = pressure[resource];
    return known === undefined ? [] : [{ ...seconds(total(known) * 1000n), labels: { resource } }];
  });
}

function labelText(labels: Readonly<Record<string, string>>): string {
  return `{${Object.entries(labels).map(([name, value]) => `${name}="${escapeLabel(value)}"`).join(",")}}`;
}

function escapeLabel(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}
