/**
 * A container: creates, starts, inspects, signals, enters and removes it. Runs in: parent.
 *
 * What waits is work for a driver, see lib/ffi/waits.ts: the command line blocks, {@link Container} does not.
 *
 * @module
 */

import type { CgroupManager } from "../../cgroups/manager.ts";
import { oomFileOf } from "../../cgroups/stats/oom.ts";
import type { RdtPlace } from "../../cgroups/rdt/stats.ts";
import { resctrlRoot } from "../../cgroups/rdt/resctrl.ts";
import { RuncError } from "../../errors.ts";
import { fileError } from "../../ffi/file_error.ts";
import { Errno } from "../../ffi/errno.ts";
import { pause, type Waits } from "../../ffi/waits.ts";
import type { Resources } from "../../specs/config.ts";
import type { State, Status } from "../../specs/state.ts";
import { inSpan } from "../../trace/tracer.ts";
import type { CheckpointOptions } from "../config/criu_options.ts";
import { hostRoot } from "../config/id_mappings.ts";
import type { MonitorOptions } from "../launch/hand_over.ts";
import type { Removal } from "../plans/monitor/plan.ts";
import type { Act } from "../plans/parent/act.ts";
import {
  type Controlled,
  deleteActs,
  destroyActs,
  killActs,
  pauseActs,
  poststartActs,
  resumeActs,
  startCreatedActs,
  updateActs,
} from "../plans/parent/control.ts";
import type { Runtime } from "../runtime.ts";
import type { SeccompFilter } from "../seccomp/filter.ts";
import { compileStored } from "../seccomp/seccomp.ts";
import { type Exit, UNKNOWN_EXIT } from "../state/exit_record.ts";
import { EXEC_IN_STOPPED, livesOn } from "../state/process_status.ts";
import {
  bundleOf,
  hooksOf,
  idOf,
  initOf,
  isUnfinished,
  mappingsOfState,
  ownsPids,
  rdtGroupOf,
  rootlessCgroupsOf,
  type RuncState,
  seccompOf,
  systemdOf,
} from "../state/runc_state.ts";
import { type ContainerState, describeState } from "../state/state_text.ts";
import { containerIds, isMissing, StateDirectory } from "../state/store.ts";
import { loadCgroup } from "./container_cgroups.ts";
import type { ProcessHandle, ProcessOptions } from "./container_process.ts";
import { type ContainerParts, ContainerWorld, hookStateOf, readStatus } from "./container_world.ts";
import { createContainer } from "./creation.ts";
import { saveProcesses } from "./criu/checkpointing.ts";
import { restoreContainer, type RestoreOptions } from "./criu/restoration.ts";
import { awaitingExit, knownExit } from "./exit.ts";
import { type DebugOptions, type ExecContainer, type PlannedExec, planningExec } from "./exec/planning.ts";
import { execProcess } from "./exec/process.ts";
import type { PlanOptions } from "./planning.ts";
import { removalOf } from "./removal.ts";
import type { RdtSchemas } from "./update_rdt.ts";

/** Time for a process without namespaces to end, and how often it is looked at. */
const END_MS = 100, LOOK_MS = 10;

/** The options of {@link ContainerHandle.create}. */
export interface CreateHandleOptions extends PlanOptions, ProcessOptions {
  /** @see CreateOptions.onProcess */
  readonly onProcess?: (container: ContainerHandle) => void;
}

/** A container that exists, created by this runtime or by runc. {@link Container} documents the methods. */
export class ContainerHandle {
  readonly #runtime: Runtime;
  readonly #directory: StateDirectory;
  readonly #cgroup: CgroupManager;
  #state: RuncState;
  /** @see ExecContainer.hasNewNamespaces */
  readonly #hasNewNamespaces: boolean;

  private constructor(
    runtime: Runtime,
    { directory, state, cgroup }: ContainerParts,
    { hasNewNamespaces = false }: Pick<ExecContainer, "hasNewNamespaces"> = {},
  ) {
    this.#runtime = runtime;
    this.#directory = directory;
    this.#state = state;
    this.#cgroup = cgroup;
    this.#hasNewNamespaces = hasNewNamespaces;
  }

  /** @see Container.load */
  static load(runtime: Runtime, id: string): ContainerHandle {
    const directory = new StateDirectory(runtime.root, id);
    const state = inSpan(runtime.trace, "read the state", () => directory.load(runtime.kernel));
    return new ContainerHandle(runtime, { directory, state, cgroup: loadCgroup(runtime, state) });
  }

  /** @see Container.ids */
  static ids(runtime: Runtime): readonly string[] {
    return containerIds(runtime.root);
  }

  /** @see Container.create */
  static *create(
    runtime: Runtime,
    options: CreateHandleOptions,
  ): Waits<{ container: ContainerHandle; process: ProcessHandle }> {
    const created = yield* createContainer(
      runtime,
      options,
      (container) => options.onProcess?.(new ContainerHandle(runtime, container)),
    );
    const { namespaces = [] } = options.spec.config.linux ?? {};
    const hasNewNamespaces = namespaces.every(({ path = "" }) => path === "");
    return { container: new ContainerHandle(runtime, created, { hasNewNamespaces }), process: created.process };
  }

  /** @see Container.restore */
  static *restore(
    runtime: Runtime,
    options: RestoreOptions,
  ): Waits<{ container: ContainerHandle; process: ProcessHandle }> {
    const restored = yield* restoreContainer(runtime, options);
    return { container: new ContainerHandle(runtime, restored), process: restored.process };
  }

  get id(): string {
    return idOf(this.#state);
  }

  get pid(): number {
    return initOf(this.#state).pid;
  }

  get bundle(): string {
    return bundleOf(this.#state);
  }

  get usesSystemd(): boolean {
    return systemdOf(this.#state);
  }

  get #parts(): ContainerParts {
    return { state: this.#state, cgroup: this.#cgroup, directory: this.#directory };
  }

  /** What commands depend on. Pure. */
  get controlled(): Controlled {
    return {
      id: this.id,
      bundle: this.bundle,
      directory: this.#directory.path,
      ownsPids: ownsPids(this.#state),
      isUnfinished: isUnfinished(this.#state) || this.#directory.isRestoring(this.#runtime.kernel),
      hooks: hooksOf(this.#state),
      cgroups: [...new Set(Object.values(this.#cgroup.paths))],
      rdtGroup: rdtGroupOf(this.#state)?.path,
    };
  }

  *status(): Waits<Status> {
    return yield* readStatus(this.#runtime.kernel, this.#parts);
  }

  *state(): Waits<ContainerState> {
    const status = yield* this.status();
    const exit = status === "stopped" ? knownExit(this.#runtime, this.#parts) : UNKNOWN_EXIT;
    return { ...describeState(this.#state, status), ...(exit.source === "unknown" ? {} : { exit }) };
  }

  /** The record of how init ends, for a monitor. */
  get record(): MonitorOptions["record"] {
    return { file: this.#directory.exit, oomFile: oomFileOf(this.#cgroup.paths) };
  }

  /** @see Container.awaitExit */
  *awaitExit(timeoutMs?: number): Waits<Exit> {
    return yield* awaitingExit(this.#runtime, this.#parts, timeoutMs);
  }

  /** The state that hooks and agents read. */
  hookState(status: Status): State {
    return hookStateOf(this.#state, status);
  }

  *#run(acts: readonly Act[], tellCaller?: () => void): Waits<void> {
    using world = new ContainerWorld(this.#runtime, this.#parts, tellCaller);
    yield* world.run(acts);
    this.#state = world.state;
  }

  *start(beforeStart?: () => void): Waits<void> {
    yield* this.#run(startCreatedActs(this.controlled), beforeStart);
  }

  *poststart(): Waits<void> {
    yield* this.#run(poststartActs(this.controlled));
  }

  *kill(signal: number, { all = false }: { all?: boolean } = {}): Waits<void> {
    yield* this.#run(killActs(this.controlled, { signal, optional: all }));
  }

  *delete({ force = false }: { force?: boolean } = {}): Waits<void> {
    try {
      yield* this.#run(deleteActs(this.controlled, { force }));
    } catch (error) {
      if (!force || !isMissing(error)) throw error;
    }
  }

  get removal(): Removal {
    return removalOf(this.#parts);
  }

  *destroy(): Waits<void> {
    try {
      yield* this.#run(destroyActs(this.controlled));
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
  }

  *pause(): Waits<void> {
    yield* this.#run(pauseActs(this.controlled));
  }

  *resume(): Waits<void> {
    yield* this.#run(resumeActs(this.controlled));
  }

  /** @see Container.checkpoint */
  *checkpoint(options: CheckpointOptions): Waits<void> {
    yield* saveProcesses(this.#runtime, this.#parts, this.controlled, options);
    if (options.leaveRunning || options.preDump) return;
    try {
      yield* this.destroy();
    } catch (error) {
      // The checkpoint is complete.
      if (!(error instanceof RuncError)) throw error;
      this.#runtime.log("warning", error.message);
    }
  }

  *update(resources: Resources, rdt: RdtSchemas = {}): Waits<void> {
    yield* this.#run(updateActs(this.controlled, { resources, rdt }));
  }

  get rdtGroup(): RdtPlace | undefined {
    const group = rdtGroupOf(this.#state);
    const root = group === undefined ? undefined : resctrlRoot(this.#runtime.kernel);
    return group === undefined || root === undefined ? undefined : { ...group, root };
  }

  get cgroupPaths(): Readonly<Record<string, string>> {
    return this.#cgroup.paths;
  }

  get rootlessCgroups(): boolean {
    return rootlessCgroupsOf(this.#state);
  }

  processes(): readonly number[] {
    try {
      return this.#cgroup.processes();
    } catch (error) {
      throw error instanceof RuncError ? error.within("unable to get all container pids") : error;
    }
  }

  *refuseExec({ ignorePaused = false }: { ignorePaused?: boolean } = {}): Waits<void> {
    const status = yield* this.status();
    if (status === "stopped") throw new RuncError("container-state", EXEC_IN_STOPPED);
    if (status === "paused" && !ignorePaused) {
      throw new RuncError("container-state", "cannot exec in a paused container (use --ignore-paused to override)");
    }
  }

  get rootOwner(): { uid: number; gid: number } {
    const { uidMappings, gidMappings } = mappingsOfState(this.#state);
    return { uid: hostRoot(uidMappings), gid: hostRoot(gidMappings) };
  }

  /** `store`: as of {@link compileStored}. */
  compileSeccomp(options: { readonly store?: boolean } = {}): SeccompFilter | undefined {
    const profile = seccompOf(this.#state);
    if (profile === undefined) return undefined;
    return compileStored(this.#runtime, profile, options);
  }

  get #execContainer(): ExecContainer {
    return { ...this.#parts, hookState: this.hookState("running"), hasNewNamespaces: this.#hasNewNamespaces };
  }

  /** Plans an exec, without doing any of it. */
  *planExec(options: Omit<DebugOptions, "stdio">): Waits<PlannedExec> {
    return yield* planningExec(this.#runtime, this.#execContainer, options);
  }

  /** Whether init lives on after a failure. A process that ends loses its namespaces first, before it is seen to end. */
  *#livesOn({ errno }: RuncError): Waits<boolean> {
    const { pid, startTime } = initOf(this.#state);
    const isGone = errno === Errno.ENOENT || errno === Errno.ESRCH;
    for (let waitedMs = 0; isGone && waitedMs < END_MS && livesOn(pid, startTime); waitedMs += LOOK_MS) {
      yield* pause(LOOK_MS);
    }
    return livesOn(pid, startTime);
  }

  *exec(options: DebugOptions): Waits<ProcessHandle> {
    yield* this.refuseExec(options);
    try {
      return yield* execProcess(this.#runtime, this.#execContainer, options);
    } catch (error) {
      // The container has ended meanwhile: then this is why, whatever could not be done without it.
      const known = error instanceof RuncError ? error : fileError(error);
      const isOther = known === undefined || known.code === "interrupted" || known.code === "container-state";
      if (isOther || (yield* this.#livesOn(known))) throw error;
      throw new RuncError("container-state", EXEC_IN_STOPPED, { step: known.step, cause: error });
    }
  }
}
