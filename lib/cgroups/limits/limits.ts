/**
 * `linux.resources` as writes in runc's order, all controllers together.
 *
 * @module
 */

import type { Resources } from "../../specs/config.ts";
import { blockIoLimitsV1, blockIoLimitsV2 } from "./block_io.ts";
import { cpuLimitsV1, cpuLimitsV2, cpusetLimits } from "./cpu.ts";
import { hugetlbLimits } from "./hugetlb.ts";
import type { LimitWrite } from "./limit.ts";
import { type MemoryFactsV1, memoryLimitsV1, memoryLimitsV2 } from "./memory.ts";
import { networkLimits } from "./network.ts";
import { pidsLimits } from "./pids.ts";
import { rdmaLimits } from "./rdma.ts";

/** Whether `resources` has anything besides device rules. */
export function hasLimits(resources: Resources = {}): boolean {
  return Object.entries(resources).some(([name, value]) =>
    name !== "devices" && value !== undefined && Object.keys(value).length > 0
  );
}

/** The writes for v1. @throws {RuncError} `config-invalid` for invalid values. */
export function limitsV1(resources: Resources, facts: MemoryFactsV1): readonly LimitWrite[] {
  const { cpu = {}, memory = {}, pids = {}, blockIO = {}, hugepageLimits = [], network = {}, rdma = {} } = resources;
  return [
    ...cpusetLimits(cpu),
    ...memoryLimitsV1(memory, facts),
    ...cpuLimitsV1(cpu),
    ...pidsLimits(pids),
    ...blockIoLimitsV1(blockIO),
    ...hugetlbLimits(hugepageLimits, "limit_in_bytes"),
    ...networkLimits(network),
    ...rdmaLimits(rdma),
  ];
}

/**
 * The writes for v2 without `unified`, which is written after them. @throws {RuncError} `config-invalid` for impossible
 * values.
 */
export function limitsV2(resources: Resources): readonly LimitWrite[] {
  const { cpu = {}, memory = {}, pids = {}, blockIO = {}, hugepageLimits = [], rdma = {} } = resources;
  return [
    ...pidsLimits(pids),
    ...memoryLimitsV2(memory),
    ...blockIoLimitsV2(blockIO),
    ...cpuLimitsV2(cpu),
    ...cpusetLimits(cpu),
    ...hugetlbLimits(hugepageLimits, "max"),
    ...rdmaLimits(rdma),
  ];
}
