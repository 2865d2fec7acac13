/**
 * Computes a container's new limits for `update`: the stored ones, overridden by the given ones. Pure.
 *
 * @see runc 1.5.1, update.go
 * @module
 */

import { isGiven } from "../../cgroups/limits/limit.ts";
import type {
  BlockIoResources,
  CpuResources,
  MemoryResources,
  Resources,
  ThrottleDevice,
  WeightDevice,
} from "../../specs/config.ts";
import type { RuncWeightDevice } from "../state/limits_state.ts";

/**
 * `stored`, overridden by `given`.
 *
 * Values absent in `given` keep their stored value. Exceptions are burst, idle, cpus, mems, the limit of pids, and
 * `unified`: absent ones are removed from the state, and the kernel keeps its current value.
 */
export function updatedLimits(stored: Resources, given: Resources): Resources {
  return {
    ...stored,
    memory: updatedMemory(stored.memory ?? {}, given.memory ?? {}),
    cpu: updatedCpu(stored.cpu ?? {}, given.cpu ?? {}),
    pids: { limit: given.pids?.limit },
    blockIO: updatedBlockIo(stored.blockIO ?? {}, given.blockIO ?? {}),
    unified: given.unified,
  };
}

function updatedMemory(stored: MemoryResources, given: MemoryResources): MemoryResources {
  // A memory+swap limit without a memory limit is impossible on cgroup v2, so the old one is dropped.
  const swap = given.swap ?? (given.limit !== undefined && BigInt(given.limit) === -1n ? 0 : stored.swap);
  return {
    ...stored,
    limit: given.limit ?? stored.limit,
    reservation: given.reservation ?? stored.reservation,
    swap,
    checkBeforeUpdate: given.checkBeforeUpdate ?? false,
  };
}

function updatedCpu(stored: CpuResources, given: CpuResources): CpuResources {
  // An idle cgroup accepts no shares, so the old ones must not be set again.
  const shares = given.shares ?? (given.idle === undefined ? stored.shares : 0);
  return {
    ...stored,
    ...updatedQuota(stored, given),
    shares,
    burst: given.burst,
    idle: given.idle,
    realtimePeriod: given.realtimePeriod ?? stored.realtimePeriod,
    realtimeRuntime: given.realtimeRuntime ?? stored.realtimeRuntime,
    cpus: given.cpus,
    mems: given.mems,
  };
}

/** If both are given, they replace the stored ones; if one is given, the other stays. */
function updatedQuota(stored: CpuResources, given: CpuResources): Pick<CpuResources, "quota" | "period"> {
  if (isGiven(given.quota) === isGiven(given.period)) return { quota: given.quota, period: given.period };
  return isGiven(given.quota)
    ? { quota: given.quota, period: stored.period }
    : { quota: stored.quota, period: given.period };
}

function updatedBlockIo(stored: BlockIoResources, given: BlockIoResources): BlockIoResources {
  const throttles = (field: ThrottleField) =>
    (given[field] ?? []).reduce<readonly ThrottleDevice[]>(withThrottle, stored[field] ?? []);
  return {
    weight: given.weight ?? stored.weight,
    leafWeight: given.leafWeight ?? stored.leafWeight,
    weightDevice: (given.weightDevice ?? []).reduce<readonly WeightDevice[]>(withWeight, stored.weightDevice ?? []),
    throttleReadBpsDevice: throttles("throttleReadBpsDevice"),
    throttleWriteBpsDevice: throttles("throttleWriteBpsDevice"),
    throttleReadIOPSDevice: throttles("throttleReadIOPSDevice"),
    throttleWriteIOPSDevice: throttles("throttleWriteIOPSDevice"),
  };
}

type ThrottleField =
  | "throttleReadBpsDevice"
  | "throttleWriteBpsDevice"
  | "throttleReadIOPSDevice"
  | "throttleWriteIOPSDevice";

function withThrottle(devices: readonly ThrottleDevice[], device: ThrottleDevice): readonly ThrottleDevice[] {
  return replaceLast(devices, device, device);
}

function withWeight(devices: readonly WeightDevice[], device: WeightDevice): readonly WeightDevice[] {
  const { major, minor } = device;
  const before = devices.findLast((other) => other.major === major && other.minor === minor);
  const { weight = before?.weight ?? 0, leafWeight = before?.leafWeight ?? 0 } = device;
  const merged: RuncWeightDevice = { major, minor, weight, leafWeight };
  return replaceLast(devices, device, merged);
}

/**
 * The kernel uses the last of several entries for a device, so that one is replaced; without an entry, `next` is added.
 */
function replaceLast<Device extends { readonly major: number; readonly minor: number }>(
  devices: readonly Device[],
  { major, minor }: Device,
  next: Device,
): readonly Device[] {
  const index = devices.findLastIndex((other) => other.major === major && other.minor === minor);
  return index < 0 ? [...devices, next] : devices.with(index, next);
}
