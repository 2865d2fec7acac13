/**
 * Converts linux.memoryPolicy to the kernel's numbers. Pure.
 *
 * @see set_mempolicy(2)
 * @module
 */

import type { MemoryPolicy } from "../../specs/config.ts";
import { parseCpuList } from "./validate/cpu_list.ts";

/** include/uapi/linux/mempolicy.h */
export const memoryPolicyModes: Readonly<Record<string, number>> = {
  MPOL_DEFAULT: 0,
  MPOL_PREFERRED: 1,
  MPOL_BIND: 2,
  MPOL_INTERLEAVE: 3,
  MPOL_LOCAL: 4,
  MPOL_PREFERRED_MANY: 5,
  MPOL_WEIGHTED_INTERLEAVE: 6,
};

/** include/uapi/linux/mempolicy.h */
export const memoryPolicyFlags: Readonly<Record<string, number>> = {
  MPOL_F_STATIC_NODES: 1 << 15,
  MPOL_F_RELATIVE_NODES: 1 << 14,
  MPOL_F_NUMA_BALANCING: 1 << 13,
};

/** A policy as the kernel's numbers, in the format of state.json. */
export interface MemoryPolicyNumbers {
  /** The mode without flags. */
  readonly mode: number;
  /** MPOL_F_*. */
  readonly flags: number;
  /** Undefined if the config has none. */
  readonly nodes?: readonly number[];
}

/** The numbers of a validated policy. */
export function memoryPolicyNumbers({ mode, nodes = "", flags = [] }: MemoryPolicy): MemoryPolicyNumbers {
  return {
    mode: memoryPolicyModes[mode]!,
    flags: flags.reduce((bits, flag) => bits | memoryPolicyFlags[flag]!, 0),
    nodes: nodes === "" ? undefined : parseCpuList(nodes),
  };
}
