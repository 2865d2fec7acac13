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
import type { RuncCgroup, RuncWeightDevice } from "../state/runc_state.ts";

/**
 * The limits in a container's state, without device rules. Those are never set again, because other programs may have
 * added some.
 */
export function limitsOf(cgroup: RuncCgroup): Resources {
  return {
    memory: memoryOf(cgroup),
    cpu: cpuOf(cgroup),
    pids: { limit: cgroup.pids_limit ?? undefined },
    blockIO: blockIoOf(cgroup),
    hugepageLimits: (cgroup.hugetlb_limit ?? []).map(({ page_size, limit }) => ({ pageSize: page_size, limit })),
    network: {
      classID: cgroup.net_cls_classid_u,
      priorities: (cgroup.net_prio_ifpriomap ?? []).map(({ interface: name, priority }) => ({ name, priority })),
    },
    rdma: Object.fromEntries(
      Object.entries(cgroup.rdma ?? {}).map(([device, { hca_handles, hca_objects }]) =>
        [device, { hcaHandles: hca_handles, hcaObjects: hca_objects }] as const
      ),
    ),
    unified: cgroup.unified ?? undefined,
  };
}

function memoryOf(cgroup: RuncCgroup): MemoryResources {
  return {
    limit: cgroup.memory,
    reservation: cgroup.memory_reservation,
    swap: cgroup.memory_swap,
    swappiness: cgroup.memory_swappiness ?? undefined,
    disableOOMKiller: cgroup.oom_kill_disable,
    checkBeforeUpdate: cgroup.memory_check_before_update,
  };
}

function cpuOf(cgroup: RuncCgroup): CpuResources {
  return {
    shares: cgroup.cpu_shares,
    quota: cgroup.cpu_quota,
    burst: cgroup.cpu_burst ?? undefined,
    period: cgroup.cpu_period,
    realtimeRuntime: cgroup.cpu_rt_quota,
    realtimePeriod: cgroup.cpu_rt_period,
    cpus: cgroup.cpuset_cpus,
    mems: cgroup.cpuset_mems,
    idle: cgroup.cpu_idle ?? undefined,
  };
}

function blockIoOf(cgroup: RuncCgroup): BlockIoResources {
  return {
    weight: cgroup.blkio_weight,
    leafWeight: cgroup.blkio_leaf_weight,
    weightDevice: cgroup.blkio_weight_device ?? [],
    throttleReadBpsDevice: cgroup.blkio_throttle_read_bps_device ?? [],
    throttleWriteBpsDevice: cgroup.blkio_throttle_write_bps_device ?? [],
    throttleReadIOPSDevice: cgroup.blkio_throttle_read_iops_device ?? [],
    throttleWriteIOPSDevice: cgroup.blkio_throttle_write_iops_device ?? [],
  };
}

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
