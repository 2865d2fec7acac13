/**
 * The fields of `process` that state.json keeps, because `exec` takes them from the container: each is in
 * {@link RuncProcess}, {@link toRuncProcess} and {@link processOf}. Pure.
 *
 * @module
 */

import type { Capabilities, CpuAffinity, Integer64, IoPriority, Process, Scheduler } from "../../specs/config.ts";
import { parseCpuList } from "../config/validate/cpu_list.ts";
import { maskMembers, maskWords } from "../steps/cpu_affinity.ts";
import { omitEmpty } from "./omit_empty.ts";

/** The fields as libcontainer's config has them. */
export interface RuncProcess {
  readonly capabilities?: RuncCapabilities | null;
  readonly apparmor_profile?: string;
  readonly process_label?: string;
  readonly oom_score_adj?: number | null;
  readonly no_new_privileges?: boolean;
  readonly scheduler?: Scheduler | null;
  readonly io_priority?: IoPriority | null;
  readonly exec_cpu_affinity?: RuncAffinity | null;
}

/** The five capability sets. */
export interface RuncCapabilities {
  readonly Bounding?: readonly string[] | null;
  readonly Effective?: readonly string[] | null;
  readonly Inheritable?: readonly string[] | null;
  readonly Permitted?: readonly string[] | null;
  readonly Ambient?: readonly string[] | null;
}

/** Sets of processors as 16 words of 64 bits. */
export interface RuncAffinity {
  readonly Initial: readonly Integer64[] | null;
  readonly Final: readonly Integer64[] | null;
}

/** The fields that state.json keeps of `process`. */
export function toRuncProcess(process: Process): RuncProcess {
  return {
    capabilities: process.capabilities && toRuncCapabilities(process.capabilities),
    apparmor_profile: process.apparmorProfile,
    process_label: process.selinuxLabel,
    oom_score_adj: process.oomScoreAdj,
    no_new_privileges: process.noNewPrivileges,
    scheduler: process.scheduler,
    io_priority: process.ioPriority,
    exec_cpu_affinity: process.execCPUAffinity && toRuncAffinity(process.execCPUAffinity),
  };
}

/** The same fields of the container's first process, as config.json had them. */
export function processOf({ config }: { readonly config: RuncProcess }): Partial<Process> {
  return {
    capabilities: config.capabilities ? fromRuncCapabilities(config.capabilities) : undefined,
    apparmorProfile: config.apparmor_profile,
    selinuxLabel: config.process_label,
    oomScoreAdj: config.oom_score_adj ?? undefined,
    noNewPrivileges: config.no_new_privileges,
    scheduler: config.scheduler ?? undefined,
    ioPriority: config.io_priority ?? undefined,
    execCPUAffinity: config.exec_cpu_affinity ? fromRuncAffinity(config.exec_cpu_affinity) : undefined,
  };
}

/** `process` with the container's values where it has none of its own. Its OOM score is always the container's. */
export function completeProcess(process: Process, state: { readonly config: RuncProcess }): Process {
  const container = processOf(state);
  const own = Object.entries(process).filter(([, value]) => value !== undefined && value !== "");
  return { ...process, ...container, ...Object.fromEntries(own), oomScoreAdj: container.oomScoreAdj };
}

function toRuncCapabilities(sets: Capabilities): RuncCapabilities {
  return omitEmpty({
    Bounding: sets.bounding,
    Effective: sets.effective,
    Inheritable: sets.inheritable,
    Permitted: sets.permitted,
    Ambient: sets.ambient,
  });
}

function fromRuncCapabilities(
  { Bounding, Effective, Inheritable, Permitted, Ambient }: RuncCapabilities,
): Capabilities {
  return {
    bounding: Bounding ?? [],
    effective: Effective ?? [],
    inheritable: Inheritable ?? [],
    permitted: Permitted ?? [],
    ambient: Ambient ?? [],
  };
}

function toRuncAffinity({ initial = "", final = "" }: CpuAffinity): RuncAffinity | undefined {
  if (initial === "" && final === "") return undefined;
  const words = (list: string) => list === "" ? null : maskWords(parseCpuList(list));
  return { Initial: words(initial), Final: words(final) };
}

function fromRuncAffinity({ Initial, Final }: RuncAffinity): CpuAffinity {
  const list = (words: readonly Integer64[] | null) => maskMembers(words ?? []).join(",");
  return { initial: list(Initial), final: list(Final) };
}
