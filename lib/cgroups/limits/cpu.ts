/**
 * Converts `linux.resources.cpu` to files of the cpu and cpuset controllers.
 *
 * @see Documentation/scheduler/sched-bwc.rst, Documentation/admin-guide/cgroup-v2.rst, cpuset(7)
 * @module
 */

import type { CpuResources, Integer64 } from "../../specs/config.ts";
import { cpuWeight } from "./cpu_weight.ts";
import { isGiven, type LimitWrite, type StateNames } from "./limit.ts";

/** The fields in state.json. */
export const cpuStateNames = {
  values: {
    shares: "cpu_shares",
    quota: "cpu_quota",
    period: "cpu_period",
    realtimeRuntime: "cpu_rt_quota",
    realtimePeriod: "cpu_rt_period",
    cpus: "cpuset_cpus",
    mems: "cpuset_mems",
  },
  pointers: { burst: "cpu_burst", idle: "cpu_idle" },
} as const satisfies StateNames<CpuResources>;

/** The kernel's default period, for a quota without one. Documentation/admin-guide/cgroup-v2.rst, cpu.max */
const DEFAULT_PERIOD_US = 100_000;

/**
 * The writes for v1's cpu controller. The kernel may accept a period or burst only with the new quota, so it is written
 * again after the quota.
 */
export function cpuLimitsV1(cpu: CpuResources): readonly LimitWrite[] {
  const { shares, quota, burst, period, idle } = cpu;
  const withQuota = isGiven(quota) ? { againAfter: true } : {};
  return [
    ...(isGiven(shares) ? [{ ...write("cpu.shares", shares), readBack: true }] : []),
    ...(isGiven(period) ? [{ ...write("cpu.cfs_period_us", period), ...withQuota }] : []),
    // Older kernels do not have this file.
    ...(burst === undefined
      ? []
      : [{ ...write("cpu.cfs_burst_us", burst), tolerate: ["ENOENT"] as const, ...withQuota }]),
    ...(isGiven(quota) ? [write("cpu.cfs_quota_us", quota)] : []),
    ...(idle === undefined ? [] : [write("cpu.idle", idle)]),
    ...realtimeLimits(cpu),
  ];
}

/** The part of {@link cpuLimitsV1} that must be set before a process with real-time priority can enter the cgroup. */
export function realtimeLimits({ realtimeRuntime, realtimePeriod }: CpuResources): readonly LimitWrite[] {
  const withRuntime = isGiven(realtimeRuntime) ? { againAfter: true } : {};
  return [
    ...(isGiven(realtimePeriod) ? [{ ...write("cpu.rt_period_us", realtimePeriod), ...withRuntime }] : []),
    ...(isGiven(realtimeRuntime) ? [write("cpu.rt_runtime_us", realtimeRuntime)] : []),
  ];
}

/** The writes for v2's cpu controller. It has no real-time files; like runc, this ignores those fields. */
export function cpuLimitsV2({ shares, quota, burst, period, idle }: CpuResources): readonly LimitWrite[] {
  const max = isGiven(quota) && quota > 0 ? quota : "max";
  return [
    ...(idle === undefined ? [] : [write("cpu.idle", idle)]),
    ...(isGiven(shares) ? [write("cpu.weight", cpuWeight(shares))] : []),
    ...(burst === undefined
      ? []
      : [{ ...write("cpu.max.burst", burst), ...(isGiven(quota) ? { againAfter: true } : {}) }]),
    ...(isGiven(quota) || isGiven(period)
      ? [write("cpu.max", `${max} ${isGiven(period) ? period : DEFAULT_PERIOD_US}`)]
      : []),
  ];
}

/** The writes for cpuset, the same on v1 and v2. */
export function cpusetLimits({ cpus = "", mems = "" }: CpuResources): readonly LimitWrite[] {
  const files = [["cpuset.cpus", cpus], ["cpuset.mems", mems]] as const;
  return files.filter(([, value]) => value !== "").map(([file, value]) => ({ controller: "cpuset", file, value }));
}

function write(file: string, value: Integer64 | string): LimitWrite {
  return { controller: "cpu", file, value: String(value) };
}
