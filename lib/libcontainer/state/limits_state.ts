/**
 * linux.resources in state.json, without device rules. What has the format of config.json is stored under the names
 * that the files in cgroups/limits/ give it; the rest is in {@link toRuncLimits} and {@link limitsOf}. Pure.
 *
 * @module
 */

import { blockIoStateNames } from "../../cgroups/limits/block_io.ts";
import { cpuStateNames } from "../../cgroups/limits/cpu.ts";
import { cpuWeight } from "../../cgroups/limits/cpu_weight.ts";
import { isGiven, type StateNames } from "../../cgroups/limits/limit.ts";
import { memoryStateNames } from "../../cgroups/limits/memory.ts";
import { pidsStateNames } from "../../cgroups/limits/pids.ts";
import type {
  BlockIoResources,
  CpuResources,
  Integer64,
  MemoryResources,
  PidsResources,
  Resources,
  WeightDevice,
} from "../../specs/config.ts";

/** Fields of `T` by their names in state.json. Null stands for an absent pointer or list. */
type Stored<T, Names> = {
  readonly [Field in keyof T & keyof Names as Names[Field] & string]?: T[Field] | null;
};

type StoredValues<T, Names extends StateNames<T>> =
  & Stored<T, Names["values"]>
  & Stored<T, Names["pointers"]>;

type Scalars =
  & StoredValues<MemoryResources, typeof memoryStateNames>
  & StoredValues<CpuResources, typeof cpuStateNames>
  & StoredValues<PidsResources, typeof pidsStateNames>
  & StoredValues<BlockIoResources, typeof blockIoStateNames>;

/** The limits among the other fields of the container's cgroup. */
export type RuncLimits = Scalars & StructuredLimits;

/** The limits whose format differs from config.json's. */
interface StructuredLimits {
  readonly hugetlb_limit?: readonly { readonly page_size: string; readonly limit: Integer64 }[] | null;
  readonly net_prio_ifpriomap?: readonly { readonly interface: string; readonly priority: number }[] | null;
  readonly net_cls_classid_u?: number;
  readonly rdma?: Readonly<Record<string, { readonly hca_handles?: number; readonly hca_objects?: number }>> | null;
  readonly cpu_weight?: Integer64;
  readonly unified?: Readonly<Record<string, string>> | null;
}

/** Weights of a block device; 0 if not set. */
export interface RuncWeightDevice extends WeightDevice {
  readonly weight: number;
  readonly leafWeight: number;
}

/** Pointers in Go are written even if 0, because 0 is a valid limit. */
export const limitPointers = [
  ...namesIn(memoryStateNames.pointers),
  ...namesIn(cpuStateNames.pointers),
  ...namesIn(pidsStateNames.pointers),
  ...namesIn(blockIoStateNames.pointers),
];

/** The limits as state.json has them. */
export function toRuncLimits(resources: Resources): RuncLimits {
  const { memory = {}, cpu = {}, pids = {}, blockIO = {}, network = {}, rdma = {} } = resources;
  return {
    ...stored(memory, memoryStateNames),
    ...stored(cpu, cpuStateNames),
    ...stored(pids, pidsStateNames),
    ...stored({ ...blockIO, weightDevice: blockIO.weightDevice?.map(toRuncWeight) }, blockIoStateNames),
    hugetlb_limit: resources.hugepageLimits?.map(({ pageSize, limit }) => ({ page_size: pageSize, limit })),
    net_prio_ifpriomap: network.priorities?.map(({ name, priority }) => ({ interface: name, priority })),
    net_cls_classid_u: network.classID,
    rdma: Object.fromEntries(
      Object.entries(rdma).map(([device, { hcaHandles, hcaObjects }]) =>
        [device, { hca_handles: hcaHandles, hca_objects: hcaObjects }] as const
      ),
    ),
    cpu_weight: isGiven(cpu.shares) ? cpuWeight(cpu.shares) : undefined,
    unified: resources.unified,
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
    memory: given<MemoryResources>(cgroup, memoryStateNames),
    cpu: given<CpuResources>(cgroup, cpuStateNames),
    pids: given<PidsResources>(cgroup, pidsStateNames),
    blockIO: given<BlockIoResources>(cgroup, blockIoStateNames),
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

/** `limits` by their names in state.json. */
function stored<T extends object, const Names extends StateNames<T>>(limits: T, names: Names): StoredValues<T, Names> {
  const rows = pairs(names).map(([field, name]) => [name, limits[field as keyof T]]);
  return Object.fromEntries(rows) as StoredValues<T, Names>;
}

/** The inverse of {@link stored}. */
function given<T>(cgroup: RuncLimits, names: StateNames<T>): T {
  const values = cgroup as Readonly<Record<string, unknown>>;
  return Object.fromEntries(pairs(names).map(([field, name]) => [field, values[name] ?? undefined])) as T;
}

function pairs<T>({ values, pointers }: StateNames<T>): readonly (readonly [field: string, name: string])[] {
  return Object.entries<string>({ ...values, ...pointers });
}

function namesIn<T extends object>(pointers: T): readonly T[keyof T][] {
  return Object.values(pointers);
}
