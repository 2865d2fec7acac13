/**
 * The table of `runc top`. Pure.
 *
 * @module
 */

import { isLimit } from "../../cgroups/stats/files.ts";
import type { BlockIoEntry, CgroupStats, Pressure } from "../../cgroups/stats/types.ts";
import type { Status } from "../../specs/state.ts";

/** A container at one moment. `atMs`: on a monotonic clock. */
export interface TopSample {
  readonly id: string;
  readonly status: Status;
  readonly stats: CgroupStats;
  readonly atMs: number;
}

interface Column {
  readonly title: string;
  readonly cell: (now: TopSample, before: TopSample | undefined) => string;
  /** Left-aligned text. Numbers are right-aligned. */
  readonly left?: boolean;
}

const columns: readonly Column[] = [
  { title: "ID", cell: ({ id }) => id, left: true },
  { title: "STATUS", cell: ({ status }) => status, left: true },
  { title: "CPU%", cell: (now, before) => before === undefined ? "-" : cpuPercent(now, before).toFixed(1) },
  { title: "THROTTLED%", cell: (now, before) => before === undefined ? "-" : throttledPercent(now, before) },
  { title: "MEM", cell: ({ stats }) => size(stats.memory.memory.usage) },
  { title: "LIMIT", cell: ({ stats }) => limitText(stats.memory.memory.limit) },
  { title: "OOM", cell: ({ stats }) => String(stats.memory.oomKills) },
  {
    title: "PIDS",
    cell: ({ stats: { pids } }) => pids.limit === 0n ? `${pids.current}` : `${pids.current}/${pids.limit}`,
  },
  { title: "READ", cell: ({ stats }) => size(sum(stats.blockIo.serviceBytes, "Read")) },
  { title: "WRITE", cell: ({ stats }) => size(sum(stats.blockIo.serviceBytes, "Write")) },
  { title: "PSI-CPU", cell: ({ stats }) => pressureText(stats.pressure.cpu) },
  { title: "PSI-MEM", cell: ({ stats }) => pressureText(stats.pressure.memory) },
  { title: "PSI-IO", cell: ({ stats }) => pressureText(stats.pressure.io) },
];

/**
 * A header and a line per container, highest CPU use first. Percentages are of one CPU, measured since `before`, an
 * earlier sample of the containers. A container that is not in it has no percentage. Pressure is the share of the last
 * 10 s in which some task waited.
 */
export function topTable(now: readonly TopSample[], before: readonly TopSample[]): string {
  const pairs = now.map((sample) => [sample, before.find(({ id }) => id === sample.id)] as const);
  const busy = ([sample, earlier]: (typeof pairs)[number]) => earlier === undefined ? 0 : cpuPercent(sample, earlier);
  const ordered = pairs.toSorted((one, other) => busy(other) - busy(one) || (one[0].id < other[0].id ? -1 : 1));
  return layOut([
    columns.map(({ title }) => title),
    ...ordered.map(([sample, earlier]) => columns.map(({ cell }) => cell(sample, earlier))),
  ]);
}

/** Cuts `table` to the terminal's size: a line that wraps or scrolls would remain when the next table is drawn. */
export function fit(
  table: string,
  { columns: width, rows }: { readonly columns: number; readonly rows: number },
): string {
  const lines = table.split("\n").slice(0, -1);
  return lines.slice(0, Math.max(0, rows - 1)).map((line) => `${line.slice(0, width)}\n`).join("");
}

function layOut(rows: readonly (readonly string[])[]): string {
  const widths = columns.map((_, index) => Math.max(...rows.map((row) => row[index]!.length)));
  const pad = (cell: string, index: number) =>
    columns[index]!.left ? cell.padEnd(widths[index]!) : cell.padStart(widths[index]!);
  return rows.map((row) => `${row.map(pad).join("  ").trimEnd()}\n`).join("");
}

/** Percent of one CPU. */
export function cpuPercent(now: TopSample, before: TopSample): number {
  const elapsedMs = now.atMs - before.atMs;
  const usedMs = Number(now.stats.cpu.total - before.stats.cpu.total) / 1e6;
  return elapsedMs <= 0 || usedMs <= 0 ? 0 : 100 * usedMs / elapsedMs;
}

/** The percentage of the quota's periods in which tasks were throttled. */
function throttledPercent({ stats: now }: TopSample, { stats: before }: TopSample): string {
  const periods = now.cpu.periods - before.cpu.periods;
  if (periods <= 0n) return "-";
  return (Number(100n * (now.cpu.throttledPeriods - before.cpu.throttledPeriods)) / Number(periods)).toFixed(0);
}

/** Formats bytes in the largest unit of 1024 with a value of at least one: `17.5M`. */
export function size(bytes: bigint): string {
  const units = ["", "K", "M", "G", "T", "P", "E"];
  let value = Number(bytes);
  let unit = 0;
  for (; value >= 1024 && unit < units.length - 1; unit++) value /= 1024;
  return unit === 0 ? `${value}B` : `${value < 10 ? value.toFixed(1) : value.toFixed(0)}${units[unit]}`;
}

function limitText(limit: bigint): string {
  return isLimit(limit) ? size(limit) : "-";
}

function pressureText(pressure: Pressure | undefined): string {
  return pressure === undefined ? "-" : pressure.some.avg10.toFixed(1);
}

function sum(entries: readonly BlockIoEntry[], wanted: string): bigint {
  return entries.filter(({ op }) => op === wanted).reduce((total, { value }) => total + value, 0n);
}
