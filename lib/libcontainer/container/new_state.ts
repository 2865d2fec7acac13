/**
 * The state of a container that is being created, for hooks and for state.json. Runs in: parent.
 *
 * @module
 */

import type { CgroupManager } from "../../cgroups/manager.ts";
import type { RdtGroup } from "../../cgroups/rdt/group.ts";
import { formatUtc, realTime } from "../../ffi/clock.ts";
import type { Config } from "../../specs/config.ts";
import { OCI_VERSION, type State } from "../../specs/state.ts";
import { startFlags } from "../config/launch_request.ts";
import { makesNamespace } from "../config/namespaces.ts";
import { recentFact } from "../recent_facts.ts";
import type { Runtime } from "../runtime.ts";
import { processStat } from "../state/process_status.ts";
import { keptProfile } from "../seccomp/filter.ts";
import type { RuncState } from "../state/runc_state.ts";
import { toRuncState } from "../state/to_runc_state.ts";
import { kernelNamespaces } from "../config/facts.ts";
import type { PlanOptions } from "./planning.ts";
import type { HookStateFiles } from "./stage_descriptors.ts";

/** The state that hooks on the host read on stdin. Pure. */
export function creatingState({ id, spec }: Pick<PlanOptions, "id" | "spec">, pid: number): State {
  const { annotations = {} } = spec.config;
  return {
    ociVersion: OCI_VERSION,
    id,
    status: "creating",
    pid,
    bundle: spec.bundle,
    ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
  };
}

/** The state that poststop hooks read after a failed creation: `stopped`, although it was never started. Pure. */
export function neverStartedState(options: Pick<PlanOptions, "id" | "spec">): State {
  const { pid: _, ...state } = creatingState(options, 0);
  return { ...state, status: "stopped" };
}

/** Writes the state that hooks in the container read. Its pid is init's pid as seen in the container. */
export function writeHookStates(files: HookStateFiles, state: State, config: Config): void {
  const inside = makesNamespace(config, "pid") ? { ...state, pid: 1 } : state;
  files.createContainer?.write({ ...inside, status: "creating" });
  files.startContainer?.write({ ...inside, status: "created" });
}

/** The content of state.json for a container whose init is process `pid`. */
export function describeContainer(
  runtime: Runtime,
  options: PlanOptions,
  { pid, cgroup, rdtGroup }: { pid: number; cgroup: CgroupManager; rdtGroup?: RdtGroup },
): RuncState {
  const { spec, id } = options;
  const startTime = processStat(pid)?.startTime ?? 0;
  return toRuncState({
    config: spec.config,
    mounts: spec.mounts,
    id,
    bundle: spec.bundle,
    rootfs: spec.rootfs,
    pid,
    startTime,
    // Now, RFC 3339 with nanoseconds.
    created: formatUtc(realTime(runtime.kernel)),
    cgroupPaths: cgroup.paths,
    kernelNamespaces: recentFact(runtime, "namespaces of the kernel", kernelNamespaces),
    externalDescriptors: [0, 1, 2].map((fd) => linkOf(`/proc/${pid}/fd/${fd}`)),
    rootlessEuid: Deno.uid() !== 0,
    rootlessCgroups: runtime.rootlessCgroups,
    systemdCgroup: runtime.systemdCgroup,
    ...startFlags(options),
    intelRdt: rdtGroup,
    seccomp: options.seccomp && keptProfile(options.seccomp),
  });
}

function linkOf(path: string): string {
  try {
    return Deno.readLinkSync(path);
  } catch {
    // The descriptor is closed, or we may not read it. Only CRIU uses it, and then has nothing to restore.
    return "";
  }
}
