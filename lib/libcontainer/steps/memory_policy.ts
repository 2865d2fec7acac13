/**
 * linux.memoryPolicy: which NUMA nodes the container's memory comes from. Runs in: init; execve keeps it.
 *
 * @see set_mempolicy(2)
 * @module
 */

import { bytes, call, step } from "../../plan/build.ts";
import type { Step } from "../../plan/op.ts";
import type { MemoryPolicy } from "../../specs/config.ts";
import { maskBytes } from "./cpu_affinity.ts";
import { parseCpuList } from "../config/validate/cpu_list.ts";

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

/** A policy in the kernel's numbers, as state.json keeps it. */
export interface MemoryPolicyNumbers {
  /** Without flags. */
  readonly mode: number;
  /** MPOL_F_*. */
  readonly flags: number;
  /** Undefined where the config names none. */
  readonly nodes?: readonly number[];
}

/** The numbers of a policy that has been validated. */
export function memoryPolicyNumbers({ mode, nodes = "", flags = [] }: MemoryPolicy): MemoryPolicyNumbers {
  return {
    mode: memoryPolicyModes[mode]!,
    flags: flags.reduce((bits, flag) => bits | memoryPolicyFlags[flag]!, 0),
    nodes: nodes === "" ? undefined : parseCpuList(nodes),
  };
}

/** set_mempolicy(2). */
export function memoryPolicySteps(policy: MemoryPolicyNumbers | undefined): readonly Step[] {
  if (policy === undefined) return [];
  const { mode, flags, nodes } = policy;
  const set = maskBytes(nodes ?? []);
  const mask = nodes === undefined ? 0 : bytes(set, `[${nodes.join(",")}]`);
  // The kernel takes one less than it is told. mm/mempolicy.c, get_nodes()
  const maxNode = 8 * set.length + 1;
  const name = Object.keys(memoryPolicyModes).find((word) => memoryPolicyModes[word] === mode) ?? String(mode);
  return [step(`take memory by ${name}`, "/linux/memoryPolicy", [
    call("set_mempolicy", [mode | flags, mask, maxNode], {
      meaning: { "*": "set_mempolicy" },
      hint: {
        EINVAL: "this host has none of these memory nodes, or its kernel does not know this mode with these flags",
        ENOSYS: "the kernel is built without CONFIG_NUMA",
      },
    }),
  ])];
}
