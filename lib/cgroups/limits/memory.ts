/**
 * Converts `linux.resources.memory` to files of the memory controller.
 *
 * @see Documentation/admin-guide/cgroup-v1/memory.rst, Documentation/admin-guide/cgroup-v2.rst
 * @module
 */

import { RuncError } from "../../errors.ts";
import type { Integer64, MemoryResources } from "../../specs/config.ts";
import { isGiven, type LimitWrite, type StateNames } from "./limit.ts";

/** The fields in state.json. Kernel memory is no limit of current kernels. */
export const memoryStateNames = {
  values: {
    limit: "memory",
    reservation: "memory_reservation",
    swap: "memory_swap",
    disableOOMKiller: "oom_kill_disable",
    checkBeforeUpdate: "memory_check_before_update",
  },
  pointers: { swappiness: "memory_swappiness" },
} as const satisfies StateNames<MemoryResources>;

/** The current state, which decides the order of writes on v1. */
export interface MemoryFactsV1 {
  /** Bytes in memory.limit_in_bytes. */
  readonly currentLimit: bigint;
  /** Whether the file memory.memsw.limit_in_bytes exists. */
  readonly swapAccounting: boolean;
}

/**
 * The writes for v1. The kernel always requires memory ≤ memory+swap, so when both grow, the second is written first.
 *
 * @throws {RuncError} `config-invalid` for a swappiness above 100.
 */
export function memoryLimitsV1(memory: MemoryResources, facts: MemoryFactsV1): readonly LimitWrite[] {
  const { limit, reservation, swap, swappiness, disableOOMKiller } = memory;
  return [
    ...limitAndSwapV1(BigInt(limit ?? 0), BigInt(swap ?? 0), facts),
    ...(isGiven(reservation) ? [write("memory.soft_limit_in_bytes", reservation)] : []),
    ...(disableOOMKiller ? [write("memory.oom_control", 1)] : []),
    ...swappinessV1(swappiness),
  ];
}

function limitAndSwapV1(limit: bigint, givenSwap: bigint, facts: MemoryFactsV1): readonly LimitWrite[] {
  const swap = facts.swapAccounting ? wholeSwap(limit, givenSwap) : givenSwap;
  const writes = [
    ...(limit === 0n ? [] : [write("memory.limit_in_bytes", limit)]),
    ...(swap === 0n ? [] : [write("memory.memsw.limit_in_bytes", swap)]),
  ];
  return swap === -1n || facts.currentLimit < swap ? writes.toReversed() : writes;
}

function swappinessV1(swappiness: Integer64 | undefined): readonly LimitWrite[] {
  if (swappiness === undefined || BigInt(swappiness) === -1n) return [];
  if (swappiness < 0 || swappiness > 100) {
    throw new RuncError("config-invalid", `invalid memory swappiness value: ${swappiness} (valid range is 0-100)`, {
      field: "/linux/resources/memory/swappiness",
    });
  }
  return [write("memory.swappiness", swappiness)];
}

/**
 * The writes for v2. There, swap is counted alone: the config's memory+swap minus the memory limit. `swappiness` and
 * `disableOOMKiller` have no file on v2; like runc, this ignores them.
 *
 * @throws {RuncError} `config-invalid` for a memory+swap limit below the memory limit, or without one.
 */
export function memoryLimitsV2({ limit = 0, reservation, swap = 0 }: MemoryResources): readonly LimitWrite[] {
  const swapMax = swapMaxV2(BigInt(limit), BigInt(swap));
  return [
    // A kernel without swap does not have this file. Then there is no swap to limit; writing "max" or 0 makes no
    // difference.
    ...(swapMax === undefined ? [] : [
      {
        controller: "memory",
        file: "memory.swap.max",
        value: swapMax,
        ...(swapMax === "max" || swapMax === "0" ? { tolerate: ["ENOENT"] as const } : {}),
      } as const,
    ]),
    ...(isGiven(limit) ? [write("memory.max", maxOr(limit))] : []),
    ...(isGiven(reservation) ? [write("memory.low", maxOr(reservation))] : []),
  ];
}

/** The limit of memory+swap: -1 is none, 0 is unset. An unlimited memory limit also means unlimited memory+swap. */
function wholeSwap(limit: bigint, swap: bigint): bigint {
  return limit === -1n && swap === 0n ? -1n : swap;
}

/** Why v2 cannot limit swap, which there is the difference of both limits. Undefined: it can, or there is no such limit. */
export function swapProblem(limit: bigint, swap: bigint): string | undefined {
  if (swap === 0n || swap === -1n) return undefined;
  if (limit === 0n) return "unable to set swap limit without memory limit";
  if (limit < 0n) return `invalid memory value: ${limit}`;
  return swap < limit ? "memory+swap limit should be >= memory limit" : undefined;
}

function swapMaxV2(limit: bigint, givenSwap: bigint): string | undefined {
  const swap = wholeSwap(limit, givenSwap);
  if (swap === -1n) return "max";
  if (swap === 0n) return undefined;
  const problem = swapProblem(limit, swap);
  if (problem !== undefined) throw new RuncError("config-invalid", problem, { field: "/linux/resources/memory/swap" });
  return String(swap - limit);
}

function maxOr(value: Integer64): string {
  return BigInt(value) === -1n ? "max" : String(value);
}

function write(file: string, value: Integer64 | string): LimitWrite {
  return { controller: "memory", file, value: String(value) };
}
