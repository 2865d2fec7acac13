/**
 * Statistics that v1 and v2 have in the same form, and those of a missing controller.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { isErrno } from "../file.ts";
import { linesOf, parseCount, readAs } from "./files.ts";
import type { BlockIoStats, CpuStats, MemoryUsage, Pressure, PressureTimes, RdmaEntry, RdmaStats } from "./types.ts";

export const noCpu: CpuStats = {
  total: 0n,
  kernel: 0n,
  user: 0n,
  perCpu: [],
  perCpuKernel: [],
  perCpuUser: [],
  periods: 0n,
  throttledPeriods: 0n,
  throttledTime: 0n,
};

export const noMemory: MemoryUsage = { usage: 0n, peak: 0n, limit: 0n, failures: 0n };

export const noBlockIo: BlockIoStats = {
  serviceBytes: [],
  serviced: [],
  queued: [],
  serviceTime: [],
  waitTime: [],
  merged: [],
  time: [],
  sectors: [],
};

const noPressure: PressureTimes = { avg10: 0, avg60: 0, avg300: 0, total: 0n };

/**
 * Parses `some avg10=0.12 avg60=0.00 avg300=0.00 total=123` and the same for `full`, which old kernels do not have for
 * the CPU.
 */
export function parsePressure(text: string): Pressure {
  const rows = linesOf(text).map((line) => line.split(" "));
  const timesOf = (name: string) => parseTimes(rows.find(([kind]) => kind === name)?.slice(1) ?? []);
  return { some: timesOf("some"), full: timesOf("full") };
}

function parseTimes(fields: readonly string[]): PressureTimes {
  const values = Object.fromEntries(fields.map((field) => field.split("="))) as Partial<Record<string, string>>;
  const { avg10, avg60, avg300, total } = values;
  return {
    avg10: Number(avg10 ?? 0),
    avg60: Number(avg60 ?? 0),
    avg300: Number(avg300 ?? 0),
    total: total === undefined ? noPressure.total : parseCount(total),
  };
}

/** The pressure of a resource, or undefined if the kernel does not measure it. */
export function readPressure(directory: string, resource: "cpu" | "memory" | "io"): Pressure | undefined {
  try {
    return readAs(directory, `${resource}.pressure`, parsePressure);
  } catch (error) {
    // Some kernels have the file but need psi=1 on the kernel command line.
    if (isErrno(error, "EOPNOTSUPP")) return undefined;
    throw error;
  }
}

/** Parses lines of the form `mlx5_0 hca_handle=2 hca_object=max`, one device per line. Other lines are ignored. */
export function parseRdma(text: string): readonly RdmaEntry[] {
  return linesOf(text).flatMap((line) => {
    const [, device, handles, objects] = /^(\S+) hca_handle=(\w+) hca_object=(\w+)$/.exec(line) ?? [];
    if (device === undefined || handles === undefined || objects === undefined) return [];
    return [{ device, handles: parseRdmaCount(handles), objects: parseRdmaCount(objects) }];
  });
}

function parseRdmaCount(text: string): bigint {
  return text === "max" ? 2n ** 32n - 1n : parseCount(text);
}

/** If a device is removed between the two reads, only one file has it. Such a device is left out. */
export function readRdma(directory: string): RdmaStats {
  const current = readAs(directory, "rdma.current", parseRdma) ?? [];
  const limit = readAs(directory, "rdma.max", parseRdma) ?? [];
  return current.length === limit.length ? { current, limit } : { current: [], limit: [] };
}

/** Converts a size name such as `hugepages-2048kB` in /sys/kernel/mm/hugepages to the controller's spelling, `2MB`. */
export function pageSizeName(file: string): string | undefined {
  const kilobytes = Number(/^hugepages-(\d+)kB$/.exec(file)?.[1] ?? 0);
  if (kilobytes === 0) return undefined;
  if (kilobytes >= 1 << 20) return `${kilobytes >> 20}GB`;
  return kilobytes >= 1 << 10 ? `${kilobytes >> 10}MB` : `${kilobytes}KB`;
}

/** The huge page sizes of this host. */
export function pageSizes(): readonly string[] {
  try {
    return [...Deno.readDirSync("/sys/kernel/mm/hugepages")].flatMap(({ name }) => pageSizeName(name) ?? []).sort();
  } catch {
    // The kernel has no huge pages.
    return [];
  }
}

/** Returns `value`, which was read from `path`. @throws {RuncError} if the file does not exist. */
export function must<Value>(value: Value | undefined, path: string): Value {
  if (value !== undefined) return value;
  throw new RuncError("cgroup-failed", `open ${path}: no such file or directory`, { errnoName: "ENOENT", errno: 2 });
}
