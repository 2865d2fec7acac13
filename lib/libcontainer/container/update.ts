/**
 * What `update` makes of a container's limits: the stored ones, with those that were given in their place. Pure.
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
 * `stored` with `given` in its place.
 *
 * What is absent in `given` keeps its stored value, except for these, which are then left to the kernel as they are and forgotten: burst,
 * idle, cpus, mems, the limit of pids, and `unified`.
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
  // An old limit for the sum would be one without a limit for memory, which cgroup v2 cannot have.
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
  // An idle cgroup takes no shares: the old ones must not be set again.
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

/** Both or neither replace what is stored; of one alone the other stays. */
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

/** Of two entries for a device the kernel keeps the last, so that one is replaced; without any, `next` is added. */
function replaceLast<Device extends { readonly major: number; readonly minor: number }>(
  devices: readonly Device[],
  { major, minor }: Device,
  next: Device,
): readonly Device[] {
  const index = devices.findLastIndex((other) => other.major === major && other.minor === minor);
  return index < 0 ? [...devices, next] : devices.with(index, next);
}
