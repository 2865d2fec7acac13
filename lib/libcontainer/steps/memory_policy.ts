/**
 * linux.memoryPolicy: the NUMA nodes that provide the container's memory. Runs in: init; the policy survives execve.
 *
 * @see set_mempolicy(2)
 * @module
 */

import { bytes, call, step } from "../../plan/build.ts";
import type { Step } from "../../plan/op.ts";
import { memoryPolicyModes, type MemoryPolicyNumbers } from "../config/memory_policy.ts";
import { maskBytes } from "./cpu_affinity.ts";

/** set_mempolicy(2). */
export function memoryPolicySteps(policy: MemoryPolicyNumbers | undefined): readonly Step[] {
  if (policy === undefined) return [];
  const { mode, flags, nodes } = policy;
  const set = maskBytes(nodes ?? []);
  const mask = nodes === undefined ? 0 : bytes(set, `[${nodes.join(",")}]`);
  // The kernel uses one bit less than this number. mm/mempolicy.c, get_nodes()
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
