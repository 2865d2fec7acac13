/**
 * Starts another process in a container: carries out the acts of plans/parent/exec.ts. Runs in: parent.
 *
 * @module
 */

import type { CgroupManager } from "../../../cgroups/manager.ts";
import { addToRdtGroup } from "../../../cgroups/rdt/resctrl.ts";
import { requireCgroups } from "../../../cgroups/sub_cgroup.ts";
import { RuncError } from "../../../errors.ts";
import type { Waits } from "../../../ffi/waits.ts";
import { LaunchWorld } from "../../launch/launch_world.ts";
import { type Explained, type Performers, runActs } from "../../launch/run_acts.ts";
import type { VerbOf } from "../../plans/parent/act.ts";
import type { Runtime } from "../../runtime.ts";
import { EXEC_IN_STOPPED, isAlive } from "../../state/process_status.ts";
import { idOf } from "../../state/runc_state.ts";
import { affinityText } from "../../steps/cpu_affinity.ts";
import { ProcessHandle } from "../container_process.ts";
import type { Kernel } from "../../../ffi/kernel.ts";
import { type DebugOptions, type ExecContainer, type PlannedExec, planningExec } from "./planning.ts";
import { keepExec, type LaunchedImage } from "./keep.ts";
import { StageDescriptors } from "../stage_descriptors.ts";
import { refuseTracers } from "./tracers.ts";

/** Starts another process in a container. @see Container.exec */
export function* execProcess(runtime: Runtime, container: ExecContainer, options: DebugOptions): Waits<ProcessHandle> {
  const planned = yield* planningExec(runtime, container, options);
  const { initial = "" } = planned.process.execCPUAffinity ?? {};
  // The words of runc's stage log, which its tests match.
  if (initial !== "") {
    runtime.log("debug", `nsexec of ${idOf(container.state)}: affinity: ${affinityText(initial)}`);
  }
  using descriptors = new StageDescriptors(runtime.kernel, options);
  const killsBefore = planned.cgroup.oomKills();
  let launched: Pick<LaunchedImage, "image" | "numbers"> | undefined;
  // Always native: the container's mount namespace has no Deno, nor the libraries that it needs.
  const world: LaunchWorld = new LaunchWorld({ ...runtime, executor: "native" }, {
    acts: planned.parent,
    stage: () => ({
      plan: () => planned.plan,
      kept: planned.kept,
      stdio: options.stdio,
      fds: descriptors.fds,
      inheritedFds: options.inheritedFds ?? 0,
      waits: false,
      refused: planned.facts.refused,
      onImage: options.kept === undefined ? undefined : (image, numbers) => launched = { image, numbers },
    }),
    hookOutput: () => descriptors.handOver(),
    seccomp: options.seccomp,
    hookState: () => container.hookState,
    onProcess: (pid) => {
      options.onProcess?.(pid);
      if (options.kept === undefined || launched === undefined) return;
      const { passwdBytes: passwd } = world.conversation;
      keepExec(runtime, container, planned, { ...launched, passwd }, options.kept);
    },
    explain: (error) => explained(error, { world, cgroup: planned.cgroup, killsBefore }),
  });
  world.add(verbs(world, { kernel: runtime.kernel, container, planned, descriptors }));
  try {
    yield* runActs(planned.parent, world, world.conversation);
  } catch (error) {
    world.close();
    throw error;
  }
  return new ProcessHandle(world.launch);
}

function verbs(
  world: LaunchWorld,
  { kernel, container, planned: { cgroup }, descriptors }: {
    readonly kernel: Kernel;
    readonly container: ExecContainer;
    readonly planned: PlannedExec;
    readonly descriptors: StageDescriptors;
  },
): Performers {
  const stage = () => world.launch.stagePid;
  return {
    openNamespace: (does) => descriptors.openNamespace(does),
    requireInit,
    refuseTracers: () => refuseTracers(kernel, container.state, container.cgroup.processes()),
    requireCgroups: ({ paths }) => requireCgroups(paths, stage()),
    joinCgroups: ({ initPid }) => cgroup.join(stage(), initPid),
    joinRdtGroup: ({ path }) => joinRdtGroup(path!, stage()),
  };
}

function requireInit({ pid, startTime }: VerbOf<"requireInit">): void {
  if (!isAlive(pid, startTime)) throw new RuncError("container-state", EXEC_IN_STOPPED);
}

function joinRdtGroup(path: string, pid: number): void {
  try {
    addToRdtGroup(path, pid);
  } catch (error) {
    throw error instanceof RuncError ? error.within(`error adding pid ${pid} to Intel RDT: intelrdt`) : error;
  }
}

function explained(
  error: unknown,
  { world, cgroup, killsBefore }: { world: LaunchWorld; cgroup: CgroupManager; killsBefore: number },
): Explained | undefined {
  if (!(error instanceof RuncError)) return undefined;
  const told = isBornNowhere(error) ? error.within(`error adding pid ${world.launch.stagePid} to cgroups`) : error;
  if (cgroup.oomKills() === killsBefore) return { error: told };
  // A process in the cgroup was killed; it may have been this one.
  return { error: new RuncError(told.code, `${told.message} (possibly OOM-killed)`, { ...told, cause: told }) };
}

/**
 * A cgroup that delegates controllers accepts no processes. clone3(2), EBUSY with CLONE_INTO_CGROUP, or of the
 * equivalent write
 */
function isBornNowhere(error: RuncError): boolean {
  return error.errnoName === "EBUSY" && /^(clone3|write)\(/.test(error.call ?? "");
}
