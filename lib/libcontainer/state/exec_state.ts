/**
 * What `exec` takes from a container's state beside the fields of `process`, which are in ./process_state.ts.
 *
 * @module
 */

import { maskMembers } from "../steps/cpu_affinity.ts";
import type { MemoryPolicyNumbers } from "../config/memory_policy.ts";
import type { RuncState } from "./runc_state.ts";

/** The umask from the config; undefined if it had none. */
export function umaskOf({ config }: RuncState): number | undefined {
  return config.umask ?? undefined;
}

/** linux.personality as the kernel's numbers; undefined if the config had none. */
export function personalityOf({ config }: RuncState): number | undefined {
  return config.personality?.domain;
}

/** linux.memoryPolicy; undefined if the config had none. */
export function memoryPolicyOf({ config }: RuncState): MemoryPolicyNumbers | undefined {
  if (config.memory_policy === undefined || config.memory_policy === null) return undefined;
  const { mode = 0, flags = 0, nodes } = config.memory_policy;
  return { mode, flags, nodes: nodes ? maskMembers(nodes) : undefined };
}

/** Whether its processes keep the session keyring of their caller. */
export function noNewKeyringOf({ config }: RuncState): boolean {
  return config.no_new_keyring ?? false;
}

/** Whether the container is restricted to certain CPUs. */
export function hasCpusetOf({ config }: RuncState): boolean {
  return (config.cgroups?.cpuset_cpus ?? "") !== "";
}
