/**
 * Properties that a process started with `exec` takes from the container's state if it does not set them itself.
 *
 * @module
 */

import type { Capabilities, CpuAffinity, Integer64, IoPriority, Scheduler } from "../../specs/config.ts";
import { maskMembers } from "../steps/cpu_affinity.ts";
import type { MemoryPolicyNumbers } from "../config/memory_policy.ts";
import type { RuncState } from "./runc_state.ts";

/** The capability sets; undefined if the config had none. */
export function capabilitiesOf({ config }: RuncState): Capabilities | undefined {
  const sets = config.capabilities;
  if (sets === undefined || sets === null) return undefined;
  const { Bounding, Effective, Inheritable, Permitted, Ambient } = sets;
  return {
    bounding: Bounding ?? [],
    effective: Effective ?? [],
    inheritable: Inheritable ?? [],
    permitted: Permitted ?? [],
    ambient: Ambient ?? [],
  };
}

/** The umask from the config; undefined if it had none. */
export function umaskOf({ config }: RuncState): number | undefined {
  return config.umask ?? undefined;
}

/**
 * Scheduling defaults for the container's processes: process.scheduler, process.ioPriority and process.execCPUAffinity.
 */
export function schedulingOf(
  { config }: RuncState,
): { readonly scheduler?: Scheduler; readonly ioPriority?: IoPriority; readonly execCPUAffinity?: CpuAffinity } {
  const affinity = config.exec_cpu_affinity ?? undefined;
  const list = (words: readonly Integer64[] | null) => maskMembers(words ?? []).join(",");
  return {
    scheduler: config.scheduler ?? undefined,
    ioPriority: config.io_priority ?? undefined,
    execCPUAffinity: affinity && { initial: list(affinity.Initial), final: list(affinity.Final) },
  };
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

/** The AppArmor profile and the SELinux label of the container's first process. */
export function securityOf({ config }: RuncState): {
  readonly apparmorProfile?: string;
  readonly selinuxLabel?: string;
} {
  return { apparmorProfile: config.apparmor_profile, selinuxLabel: config.process_label };
}

/** Whether the container is restricted to certain CPUs. */
export function hasCpusetOf({ config }: RuncState): boolean {
  return (config.cgroups?.cpuset_cpus ?? "") !== "";
}
