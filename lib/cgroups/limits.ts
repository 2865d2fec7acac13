/**
 * Converts `linux.resources` to writes in runc's order, for all controllers, and performs them.
 *
 * The drivers get this module from their caller (limited.ts): most containers have no limits, and start faster without
 * it.
 *
 * @module
 */

import type { Resources } from "../specs/config.ts";
import { blockIoLimitsV1, blockIoLimitsV2 } from "./block_io.ts";
import { cpuLimitsV1, cpuLimitsV2, cpusetLimits } from "./cpu.ts";
import { hugetlbLimits } from "./hugetlb.ts";
import type { LimitWrite } from "./limit.ts";
import { type MemoryFactsV1, memoryLimitsV1, memoryLimitsV2 } from "./memory.ts";
import { networkLimits } from "./network.ts";
import { pidsLimits } from "./pids.ts";
import { rdmaLimits } from "./rdma.ts";

export { cpusetLimits, realtimeLimits } from "./cpu.ts";
export { rememberFiles } from "./remember_files.ts";
export { limitFiles, setLimits } from "./set_limits.ts";
export { setUnified } from "./unified.ts";

/** The writes for v1. @throws {RuncError} `config-invalid` for impossible values. */
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
