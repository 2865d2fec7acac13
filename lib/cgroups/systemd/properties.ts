/**
 * Converts a config's limits and devices to properties of the container's unit. Pure.
 *
 * @see systemd.resource-control(5), org.freedesktop.systemd1(5)
 * @module
 */

import { RuncError } from "../../errors.ts";
import type { BusValue } from "../../ffi/libraries/dbus_value.ts";
import type { CpuResources, Integer64, MemoryResources, Resources } from "../../specs/config.ts";
import { cpuWeight } from "../limits/cpu_weight.ts";
import { allowsAll, ANY, type DeviceException, type DeviceFilter, formatRule } from "../devices/rules.ts";
import { isGiven } from "../limits/limit.ts";
import { memoryLimitsV2 } from "../limits/memory.ts";
import type { UnitProperty } from "./annotations.ts";
import { isSlice, type SystemdUnit } from "./unit.ts";

/** "infinity" of systemd's 64-bit limits. */
const UNLIMITED = 0xffff_ffff_ffff_ffffn;
/** The kernel's default period, for a quota without one. Documentation/admin-guide/cgroup-v2.rst, cpu.max */
const DEFAULT_PERIOD_USEC = 100_000n;
/** systemd counts CPU time in whole percents. */
const PERCENT_USEC = 10_000n;

const property = (name: string, signature: string, value: BusValue): UnitProperty => [name, { signature, value }];

/** The properties for starting the unit. `pid`: its first process, which systemd requires. */
export function startProperties(unit: SystemdUnit, pid: number, cgroupVersion: 1 | 2): readonly UnitProperty[] {
  const io = cgroupVersion === 1 ? "BlockIOAccounting" : "IOAccounting";
  return [
    property("Description", "s", `libcontainer container ${unit.container}`),
    ...(isSlice(unit)
      ? [property("Wants", "as", [unit.slice])]
      // systemd does not touch cgroups below a delegated one. The container may create some.
      : [property("Slice", "s", unit.slice), property("Delegate", "b", true)]),
    property("PIDs", "au", [pid]),
    ...["MemoryAccounting", "CPUAccounting", io, "TasksAccounting"].map((name) => property(name, "b", true)),
    // Without default dependencies, systemd does not stop the container at shutdown before the host's basic units.
    property("DefaultDependencies", "b", false),
  ];
}

/** What this systemd supports. */
export interface SystemdHost {
  readonly cgroupVersion: 1 | 2;
  readonly systemdVersion: number;
}

/**
 * Removes the CPU weight if `idle` is also set: systemd has one property for both, and an idle cgroup accepts no
 * weight, so idle wins. `warnings` report this in runc's words.
 */
export function withoutIdleWeight(
  resources: Resources,
  { cgroupVersion, systemdVersion }: SystemdHost,
): { readonly resources: Resources; readonly warnings: readonly string[] } {
  if (cgroupVersion === 1 || systemdVersion < CPU_IDLE_VERSION) return { resources, warnings: [] };
  const { cpu = {}, unified = {} } = resources;
  const isIdle = Number(cpu.idle ?? 0) === 1;
  const isUnifiedIdle = unified["cpu.idle"]?.trim() === "1";
  if (!isIdle && !isUnifiedIdle) return { resources, warnings: [] };
  const { "cpu.weight": weight, ...others } = unified;
  const warnings = [
    // If idle is set in unified, the shares come from an earlier update.
    ...(isIdle && isGiven(cpu.shares) ? ["CPUWeight and CpuIdle to systemd, ignoring CPUWeight"] : []),
    ...(weight === undefined ? [] : ["cpu.weight and cpu.idle to systemd, ignoring cpu.weight"]),
  ].map((what) => `unable to apply both ${what}`);
  return { resources: { ...resources, cpu: { ...cpu, shares: undefined }, unified: others }, warnings };
}

/**
 * Converts the limits to properties. `systemdVersion` decides which properties exist. @throws {RuncError}
 * `config-invalid`.
 */
export function limitProperties(
  { memory = {}, cpu = {}, pids = {}, blockIO = {}, unified = {} }: Resources,
  host: SystemdHost,
): readonly UnitProperty[] {
  const { systemdVersion } = host;
  const common = [
    ...quotaProperties(cpu.quota, cpu.period, systemdVersion),
    ...(pids.limit === undefined ? [] : [property("TasksMax", "t", tasks(BigInt(pids.limit)))]),
    ...cpusetProperties({ AllowedCPUs: cpu.cpus, AllowedMemoryNodes: cpu.mems }, systemdVersion),
  ];
  if (host.cgroupVersion === 1) {
    return [
      ...number("MemoryLimit", memory.limit),
      ...number("CPUShares", cpu.shares),
      ...number("BlockIOWeight", blockIO.weight),
      ...common,
    ];
  }
  const isIdle = Number(cpu.idle ?? 0) === 1 && systemdVersion >= CPU_IDLE_VERSION;
  return [
    ...number("MemoryMax", memory.limit),
    ...number("MemoryLow", memory.reservation),
    ...swapProperties(memory),
    ...(isIdle
      // In systemd, weight 0 means cpu.idle.
      ? [property("CPUWeight", "t", 0n)]
      : number("CPUWeight", isGiven(cpu.shares) ? cpuWeight(cpu.shares) : undefined)),
    ...common,
    ...unifiedProperties(unified, systemdVersion),
  ];
}

/** The versions that introduced CPUWeight=0, AllowedCPUs= and CPUQuotaPeriodSec=. systemd's NEWS */
const CPU_IDLE_VERSION = 252, CPUSET_VERSION = 244, PERIOD_VERSION = 242;

/** 0 means not set, as in runc's Go types. -1 means no limit. */
function number(name: string, value: Integer64 | undefined): readonly UnitProperty[] {
  return isGiven(value) ? [property(name, "t", BigInt.asUintN(64, BigInt(value)))] : [];
}

/** The value of the v2 file: the config's memory+swap minus the memory limit. */
function swapProperties(memory: MemoryResources): readonly UnitProperty[] {
  return memoryLimitsV2(memory).filter(({ file }) => file === "memory.swap.max").map(({ value }) =>
    property("MemorySwapMax", "t", value === "max" ? UNLIMITED : BigInt(value))
  );
}

function tasks(limit: bigint): bigint {
  // systemd refuses 0.
  return limit < 0n ? UNLIMITED : limit === 0n ? 1n : limit;
}

function quotaProperties(
  quota: Integer64 | undefined,
  period: Integer64 | undefined,
  systemdVersion: number,
): readonly UnitProperty[] {
  const [quotaUsec, periodUsec] = [BigInt(quota ?? 0), BigInt(period ?? 0)];
  if (quotaUsec === 0n && periodUsec === 0n) return [];
  return [
    ...(periodUsec === 0n || systemdVersion < PERIOD_VERSION ? [] : [property("CPUQuotaPeriodUSec", "t", periodUsec)]),
    property("CPUQuotaPerSecUSec", "t", quotaUsec > 0n ? perSecond(quotaUsec, periodUsec) : UNLIMITED),
  ];
}

/** Converts a quota to systemd's unit: microseconds per second, rounded up to a whole percent. */
function perSecond(quotaUsec: bigint, periodUsec: bigint): bigint {
  const exact = quotaUsec * 1_000_000n / (periodUsec || DEFAULT_PERIOD_USEC);
  return (exact + PERCENT_USEC - 1n) / PERCENT_USEC * PERCENT_USEC;
}

/**
 * The quota after systemd's rounding. The file must have the same value; otherwise systemd's next write would change
 * it.
 */
export function roundedQuota({ quota, period }: CpuResources): Integer64 | undefined {
  if (!isGiven(quota) || quota < 0) return quota;
  const periodUsec = BigInt(period ?? 0);
  return perSecond(BigInt(quota), periodUsec) * (periodUsec || DEFAULT_PERIOD_USEC) / 1_000_000n;
}

function cpusetProperties(
  lists: Readonly<Record<"AllowedCPUs" | "AllowedMemoryNodes", string | undefined>>,
  systemdVersion: number,
): readonly UnitProperty[] {
  if (systemdVersion < CPUSET_VERSION) return [];
  return Object.entries(lists).filter(([, list]) => (list ?? "") !== "").map(([name, list]) =>
    property(name, "ay", cpuBits(list!))
  );
}

/**
 * Converts a list such as `0-3,7` to a bit mask in bytes, lowest bit first.
 *
 * @throws {RuncError} `config-invalid`.
 */
export function cpuBits(list: string): readonly number[] {
  const bytes: number[] = [];
  for (const part of list.split(",").map((text) => text.trim()).filter((text) => text !== "")) {
    const [, first, last = first] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(part) ?? [];
    if (first === undefined || Number(first) > Number(last)) throw invalidList(list);
    for (let bit = Number(first); bit <= Number(last); bit++) {
      while (bytes.length <= bit >> 3) bytes.push(0);
      bytes[bit >> 3]! |= 1 << (bit & 7);
    }
  }
  if (bytes.length === 0) throw invalidList(list);
  return bytes;
}

function invalidList(list: string): RuncError {
  return new RuncError("config-invalid", `invalid list of numbers: ${JSON.stringify(list)}`, {
    field: "/linux/resources/cpu",
  });
}

/** Files of cgroup v2 for which systemd has a 64-bit limit property. */
const unifiedNumbers: Readonly<Record<string, string>> = {
  "cpu.weight": "CPUWeight",
  "memory.high": "MemoryHigh",
  "memory.low": "MemoryLow",
  "memory.max": "MemoryMax",
  "memory.min": "MemoryMin",
  "memory.swap.max": "MemorySwapMax",
  "pids.max": "TasksMax",
};

/** Properties for `unified`. Files without a property are only written directly. */
function unifiedProperties(
  unified: Readonly<Record<string, string>>,
  systemdVersion: number,
): readonly UnitProperty[] {
  const isIdle = unified["cpu.idle"]?.trim() === "1" && systemdVersion >= CPU_IDLE_VERSION;
  return Object.entries(unified).flatMap(([file, text]) => {
    const value = text.trim();
    if (file === "cpu.idle") return isIdle ? [property("CPUWeight", "t", 0n)] : [];
    if (file === "cpu.weight" && isIdle) return [];
    if (file === "cpu.max") {
      const [quota = "max", period = String(DEFAULT_PERIOD_USEC)] = value.split(/\s+/);
      return quotaProperties(quota === "max" ? 0n : whole(file, quota), whole(file, period), systemdVersion);
    }
    if (file === "cpuset.cpus") return cpusetProperties({ AllowedCPUs: value, AllowedMemoryNodes: "" }, systemdVersion);
    if (file === "cpuset.mems") return cpusetProperties({ AllowedCPUs: "", AllowedMemoryNodes: value }, systemdVersion);
    const name = Object.hasOwn(unifiedNumbers, file) ? unifiedNumbers[file] : undefined;
    if (name === undefined) return [];
    const limit = value === "max" ? UNLIMITED : whole(file, value);
    return [property(name, "t", name === "TasksMax" ? tasks(limit) : limit)];
  });
}

function whole(file: string, value: string): bigint {
  if (/^\d+$/.test(value)) return BigInt(value);
  throw new RuncError("config-invalid", `unified resource ${JSON.stringify(file)} value conversion error: ${value}`, {
    field: `/linux/resources/unified/${file}`,
  });
}

/**
 * Converts the device filter to properties. Also returns the rules that systemd cannot express; the container's own
 * filter, set afterwards, has them.
 */
export function deviceProperties(
  filter: DeviceFilter,
): { readonly properties: readonly UnitProperty[]; readonly left: readonly string[] } {
  const policy = (name: string, allowed: readonly DeviceException[]) => [
    // An empty list clears the previous entries.
    property("DeviceAllow", "a(ss)", []),
    property("DevicePolicy", "s", name),
    ...(allowed.length === 0 ? [] : [property("DeviceAllow", "a(ss)", allowed.map(deviceEntry))]),
  ];
  if (allowsAll(filter)) return { properties: policy("auto", []), left: [] };
  if (filter.allowsByDefault) {
    // systemd has no deny list. It denies everything until the container's own filter is set.
    return {
      properties: policy("strict", []),
      left: filter.exceptions.map((one) => formatRule({ ...one, allow: false })),
    };
  }
  const isSayable = ({ major, minor }: DeviceException) => major !== ANY || minor === ANY;
  return {
    properties: policy("strict", filter.exceptions.filter(isSayable)),
    left: filter.exceptions.filter((one) => !isSayable(one)).map((one) => formatRule({ ...one, allow: true })),
  };
}

/** A DeviceAllow= entry: a node's path or a group of devices, and an access. systemd.resource-control(5) */
function deviceEntry(exception: DeviceException): BusValue {
  const { type, major, minor } = exception;
  const kind = type === "b" ? "block" : "char";
  const name = minor !== ANY ? `/dev/${kind}/${major}:${minor}` : `${kind}-${major === ANY ? "*" : major}`;
  return [name, formatRule({ ...exception, allow: true }).split(" ").at(-1)!];
}
