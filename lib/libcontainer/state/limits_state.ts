/**
 * linux.resources in state.json, without device rules: each field is in {@link RuncLimits}, {@link toRuncLimits} and
 * {@link limitsOf}. Pure.
 *
 * @module
 */

import { cpuWeight } from "../../cgroups/limits/cpu_weight.ts";
import { isGiven } from "../../cgroups/limits/limit.ts";
import type {
  BlockIoResources,
  CpuResources,
  Integer64,
  MemoryResources,
  Resources,
  ThrottleDevice,
  WeightDevice,
} from "../../specs/config.ts";

/** The limits among the other fields of the container's cgroup. */
export interface RuncLimits {
  readonly memory?: Integer64;
  readonly memory_reservation?: Integer64;
  readonly memory_swap?: Integer64;
  readonly cpu_shares?: Integer64;
  readonly cpu_quota?: Integer64;
  readonly cpu_burst?: Integer64 | null;
  readonly cpu_period?: Integer64;
  readonly cpu_rt_quota?: Integer64;
  readonly cpu_rt_period?: Integer64;
  readonly cpuset_cpus?: string;
  readonly cpuset_mems?: string;
  readonly cpu_idle?: Integer64 | null;
  readonly pids_limit?: Integer64 | null;
  readonly blkio_weight?: number;
  readonly blkio_leaf_weight?: number;
  readonly blkio_weight_device?: readonly RuncWeightDevice[] | null;
  readonly blkio_throttle_read_bps_device?: readonly ThrottleDevice[] | null;
  readonly blkio_throttle_write_bps_device?: readonly ThrottleDevice[] | null;
  readonly blkio_throttle_read_iops_device?: readonly ThrottleDevice[] | null;
  readonly blkio_throttle_write_iops_device?: readonly ThrottleDevice[] | null;
  readonly hugetlb_limit?: readonly { readonly page_size: string; readonly limit: Integer64 }[] | null;
  readonly oom_kill_disable?: boolean;
  readonly memory_swappiness?: Integer64 | null;
  readonly net_prio_ifpriomap?: readonly { readonly interface: string; readonly priority: number }[] | null;
  readonly net_cls_classid_u?: number;
  readonly rdma?: Readonly<Record<string, { readonly hca_handles?: number; readonly hca_objects?: number }>> | null;
  readonly cpu_weight?: Integer64;
  readonly unified?: Readonly<Record<string, string>> | null;
  readonly memory_check_before_update?: boolean;
}

/** Weights of a block device; 0 if not set. */
export interface RuncWeightDevice extends WeightDevice {
  readonly weight: number;
  readonly leafWeight: number;
}

/** Pointers in Go (burst, idle, pids, swappiness) are written even if 0, because 0 is a valid limit. */
export const limitPointers = ["cpu_burst", "cpu_idle", "pids_limit", "memory_swappiness"] as const;

/** The limits as state.json has them. */
export function toRuncLimits(resources: Resources): RuncLimits {
  const { memory = {}, cpu = {}, pids = {}, blockIO = {}, network = {}, rdma = {} } = resources;
  return {
    memory: memory.limit,
    memory_reservation: memory.reservation,
    memory_swap: memory.swap,
    cpu_shares: cpu.shares,
    cpu_quota: cpu.quota,
    cpu_burst: cpu.burst,
    cpu_period: cpu.period,
    cpu_rt_quota: cpu.realtimeRuntime,
    cpu_rt_period: cpu.realtimePeriod,
    cpuset_cpus: cpu.cpus,
    cpuset_mems: cpu.mems,
    cpu_idle: cpu.idle,
    pids_limit: pids.limit,
    blkio_weight: blockIO.weight,
    blkio_leaf_weight: blockIO.leafWeight,
    blkio_weight_device: blockIO.weightDevice?.map(toRuncWeight),
    blkio_throttle_read_bps_device: blockIO.throttleReadBpsDevice,
    blkio_throttle_write_bps_device: blockIO.throttleWriteBpsDevice,
    blkio_throttle_read_iops_device: blockIO.throttleReadIOPSDevice,
    blkio_throttle_write_iops_device: blockIO.throttleWriteIOPSDevice,
    hugetlb_limit: resources.hugepageLimits?.map(({ pageSize, limit }) => ({ page_size: pageSize, limit })),
    oom_kill_disable: memory.disableOOMKiller,
    memory_swappiness: memory.swappiness,
    net_prio_ifpriomap: network.priorities?.map(({ name, priority }) => ({ interface: name, priority })),
    net_cls_classid_u: network.classID,
    rdma: Object.fromEntries(
      Object.entries(rdma).map(([device, { hcaHandles, hcaObjects }]) =>
        [device, { hca_handles: hcaHandles, hca_objects: hcaObjects }] as const
      ),
    ),
    cpu_weight: isGiven(cpu.shares) ? cpuWeight(cpu.shares) : undefined,
    unified: resources.unified,
    memory_check_before_update: memory.checkBeforeUpdate,
  };
}

function toRuncWeight({ major, minor, weight = 0, leafWeight = 0 }: WeightDevice): RuncWeightDevice {
  return { major, minor, weight, leafWeight };
}

/**
 * The limits in a container's state, without device rules. Those are never set again, because other programs may have
 * added some.
 */
export function limitsOf({ config }: { readonly config: { readonly cgroups: RuncLimits | null } }): Resources {
  const cgroup = config.cgroups ?? {};
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

function memoryOf(cgroup: RuncLimits): MemoryResources {
  return {
    limit: cgroup.memory,
    reservation: cgroup.memory_reservation,
    swap: cgroup.memory_swap,
    swappiness: cgroup.memory_swappiness ?? undefined,
    disableOOMKiller: cgroup.oom_kill_disable,
    checkBeforeUpdate: cgroup.memory_check_before_update,
  };
}

function cpuOf(cgroup: RuncLimits): CpuResources {
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

function blockIoOf(cgroup: RuncLimits): BlockIoResources {
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
