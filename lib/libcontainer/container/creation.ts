/**
 * Creates a container: carries out the acts of plans/parent/create.ts. Runs in: parent.
 *
 * @module
 */

import type { CgroupManager } from "../../cgroups/manager.ts";
import { parseSystemdPath } from "../../cgroups/path.ts";
import { RuncError } from "../../errors.ts";
import type { Fd } from "../../ffi/fd.ts";
import type { Waits } from "../../ffi/waits.ts";
import { copyTree, type Trees } from "../launch/copy_tree.ts";
import { runHook } from "../launch/host_hooks.ts";
import { writeIdMaps } from "../launch/id_maps.ts";
import { LaunchWorld } from "../launch/launch_world.ts";
import { makeTarget } from "../launch/make_target.ts";
import { moveNetworkDevice } from "../launch/network_devices.ts";
import { type Explained, type Performers, runActs } from "../launch/run_acts.ts";
import type { Act, VerbOf } from "../plans/parent/act.ts";
import { IN_INIT, NOT_STARTED, startActs } from "../plans/parent/create.ts";
import type { Runtime } from "../runtime.ts";
import { processStat } from "../state/process_status.ts";
import type { RuncState } from "../state/runc_state.ts";
import { missingContainer, StateDirectory } from "../state/store.ts";
import { directoryOf } from "../steps/devices.ts";
import type { ParsedMount } from "../config/mounts.ts";
import { mountPrefix } from "../steps/mounts/messages.ts";
import { FIRST_DEVICE } from "../steps/protocol.ts";
import { ProcessHandle, type ProcessOptions } from "./container_process.ts";
import { NewCgroups } from "../launch/new_cgroups.ts";
import { creatingState, describeContainer, neverStartedState, writeHookStates } from "./new_state.ts";
import { type PlannedContainer, planning, type PlanOptions } from "./planning.ts";
import { StageDescriptors } from "./stage_descriptors.ts";

/** The options of {@link createContainer}. */
export type CreationOptions = PlanOptions & ProcessOptions;

/** A container that is being created. */
export interface PendingContainer {
  readonly directory: StateDirectory;
  readonly state: RuncState;
  readonly cgroup: CgroupManager;
}

/** A new container and its process. */
export interface Created extends PendingContainer {
  readonly process: ProcessHandle;
}

/** Creates a container. `onProcess` is called while init works alone for the longest time. @see Container.create */
export function* createContainer(
  runtime: Runtime,
  options: CreationOptions,
  onProcess: (container: PendingContainer) => void,
): Waits<Created> {
  const planned = yield* planning(runtime, options);
  // The descriptors are closed after the undo, and also after a success.
  using creation = new Creation(runtime, options, planned, onProcess);
  return yield* creation.run();
}

/** One creation: what its acts find out and make. */
class Creation implements Disposable {
  readonly #runtime: Runtime;
  readonly #options: CreationOptions;
  readonly #planned: PlannedContainer;
  readonly #directory: StateDirectory;
  readonly #descriptors: StageDescriptors;
  readonly #world: LaunchWorld;
  readonly #cgroups: NewCgroups;
  #state?: RuncState;
  /** As long as the creation goes on: `delete` does not take it for one that was killed. */
  #lock?: Fd;

  constructor(
    runtime: Runtime,
    options: CreationOptions,
    planned: PlannedContainer,
    onProcess: (container: PendingContainer) => void,
  ) {
    this.#runtime = runtime;
    this.#options = options;
    this.#planned = planned;
    this.#directory = new StateDirectory(runtime.root, options.id);
    this.#descriptors = new StageDescriptors(runtime.kernel, options);
    this.#world = new LaunchWorld(runtime, {
      acts: planned.parent,
      stage: () => ({
        plan: () => planned.plan,
        kept: planned.kept,
        stdio: options.stdio,
        fds: this.#descriptors.fds,
        inheritedFds: options.inheritedFds ?? 0,
        waits: options.startBy === "fifo",
        refused: planned.facts.refused,
      }),
      hookOutput: () => this.#descriptors.handOver(),
      seccomp: options.seccomp,
      hookState: (pid) => creatingState(options, pid),
      onProcess: () => onProcess(this.#pending),
      explain: (error, failed) => this.#explain(error, failed),
    });
    this.#cgroups = new NewCgroups(runtime, {
      id: options.id,
      cgroup: planned.cgroup,
      entrant: () => this.#world.launch.stagePid,
      flags: this.#world.flags,
    });
    this.#world.add({
      ...this.#stateVerbs(),
      ...this.#settingVerbs(),
      ...this.#cgroups.performers,
      ...this.#undoVerbs(),
    });
  }

  /** Carries out the acts. */
  *run(): Waits<Created> {
    const world = this.#world;
    const { parent } = this.#planned;
    try {
      yield* runActs(parent, world, world.conversation);
    } catch (error) {
      world.close();
      throw error;
    } finally {
      this.#lock?.close();
    }
    return { ...this.#pending, process: this.#process() };
  }

  #process(): ProcessHandle {
    const world = this.#world;
    const acts = startActs({ config: this.#options.spec.config, request: this.#planned.request });
    return new ProcessHandle(world.launch, () => runActs(acts, world, world.talkAgain(acts)));
  }

  get #pending(): PendingContainer {
    if (this.#state === undefined) throw new RuncError("internal", "stage has not told who init is");
    return { directory: this.#directory, cgroup: this.#planned.cgroup, state: this.#state };
  }

  #stateVerbs(): Performers {
    const { kernel } = this.#runtime;
    const directory = this.#directory;
    return {
      makeStateDirectory: () => this.#makeStateDirectory(),
      makeDirectory: ({ path, mode }) => Deno.mkdirSync(path, { mode }),
      makeExecFifo: ({ uid, gid }) => {
        directory.makeFifo(kernel, { uid, gid });
        this.#descriptors.openFifo(directory.fifo);
      },
      openNamespace: (does) => this.#descriptors.openNamespace(does),
      pairSockets: ({ fds }) => this.#descriptors.pair(fds),
      makeHookFiles: ({ hooks }) => this.#descriptors.makeHookFiles(hooks),
      writeHookStates: () => this.#writeHookStates(),
      describe: () => this.#describe(),
      saveState: () => {
        // Removed while it hung in a hook.
        if (this.#lock !== undefined && !directory.isAt(this.#lock)) throw missingContainer();
        directory.save(kernel, this.#pending.state, this.#options);
        directory.removeNote();
      },
      noteCreation: ({ cgroups }) => this.#noteCreation(cgroups),
      runHook: (does, span) => this.#runHook(does, span),
    };
  }

  /**
   * `delete --force` does not wait long for a creation that hangs, and removes what there is. Then the id is free: what is
   * there later is another container's.
   */
  #undoVerbs(): Performers {
    const { kernel } = this.#runtime;
    const { performers: { killLeft, removeCgroups } } = this.#cgroups;
    const unlessTaken = <Does>(undo: (does: Does) => void | Waits<void>) => (does: Does) =>
      this.#isTaken ? undefined : undo(does);
    return {
      removeStateDirectory: unlessTaken(() => this.#directory.remove(kernel)),
      killLeft: unlessTaken(killLeft!),
      removeCgroups: unlessTaken(removeCgroups!),
    };
  }

  get #isTaken(): boolean {
    return this.#lock !== undefined && this.#directory.exists(this.#runtime.kernel) &&
      !this.#directory.isAt(this.#lock);
  }

  *#makeStateDirectory(): Waits<void> {
    this.#lock = yield* this.#directory.makeLocked(this.#runtime.kernel, this.#runtime.root);
  }

  #noteCreation(cgroupPaths: VerbOf<"noteCreation">["cgroups"]): void {
    const { id, spec } = this.#options;
    const pid = this.#world.launch.stagePid;
    this.#directory.writeNote({
      // If it has ended already, 0 is no process's.
      stage: { pid, startTime: processStat(pid)?.startTime ?? 0 },
      cgroupPaths,
      systemd: this.#runtime.systemdCgroup
        ? parseSystemdPath({ id, cgroupsPath: spec.config.linux?.cgroupsPath })
        : undefined,
    });
  }

  #writeHookStates(): void {
    const state = creatingState(this.#options, this.#world.launch.initPid);
    writeHookStates(this.#descriptors.hookStates, state, this.#options.spec.config);
  }

  #describe(): void {
    const what = { pid: this.#world.launch.initPid, cgroup: this.#planned.cgroup, rdtGroup: this.#cgroups.rdtGroup };
    this.#state = describeContainer(this.#runtime, this.#options, what);
  }

  *#runHook(does: VerbOf<"runHook">, span: Parameters<typeof runHook>[3]): Waits<void> {
    const state = does.status === "stopped"
      ? neverStartedState(this.#options)
      : creatingState(this.#options, this.#world.launch.initPid);
    yield* runHook(this.#runtime, does, state, span);
  }

  #settingVerbs(): Performers {
    const { facts } = this.#planned;
    return {
      writeIdMaps: (maps) =>
        writeIdMaps(this.#runtime, this.#world.launch.stagePid, maps, { uid: facts.euid, gid: Deno.gid() ?? 0 }),
      moveNetworkDevice: ({ name, device }) =>
        moveNetworkDevice(this.#runtime, name, device, this.#world.launch.initPid),
      makeTarget: (does) => this.#makePlace(does),
      copyUp: ({ mount }) => this.#copyUp(mount),
    };
  }

  #makePlace({ mount, isFile }: VerbOf<"makeTarget">): void {
    const { path, prefix } = placeOf(this.#options, this.#planned.mounts, mount);
    const [root] = this.#world.message!.fds;
    try {
      makeTarget(this.#runtime.kernel, root!, { path, isFile, ...this.#owner });
    } catch (error) {
      throw error instanceof RuncError ? error.within(prefix) : error;
    }
  }

  *#copyUp(number: number): Waits<void> {
    const { mount } = mountOf(this.#planned.mounts, number);
    const [from, to] = this.#world.message!.fds;
    const trees: Trees = { from: from!, to: to!, ...this.#owner };
    try {
      yield* copyTree(this.#runtime.kernel, trees, (source, copy) => this.#world.fill(source, copy));
    } catch (error) {
      const prefix = `${mountPrefix(mount)}: tmpcopyup: failed to copy`;
      throw error instanceof RuncError ? error.within(prefix) : error;
    }
  }

  /** The host's ids of the container's root. */
  get #owner(): { uid: number; gid: number } {
    const { rootUid: uid, rootGid: gid } = this.#planned.facts;
    return { uid, gid };
  }

  /** If the kernel has killed a process for lack of memory, that is the reason. */
  #explain(error: unknown, { within = [] }: Act): Explained | undefined {
    const isInterrupted = error instanceof RuncError && error.code === "interrupted";
    if (!within.includes(IN_INIT) || isInterrupted || this.#planned.cgroup.oomKills() === 0) return undefined;
    const why = new RuncError("step-failed", "container init was OOM-killed (memory limit too low?)", {
      cause: error,
      field: "/linux/resources/memory/limit",
    });
    return { error: why, within: [NOT_STARTED] };
  }

  [Symbol.dispose](): void {
    this.#descriptors[Symbol.dispose]();
  }
}

/** The path that init names by a number: the target of a mount, or the directory of a device. */
function placeOf(
  { spec }: PlanOptions,
  mounts: readonly ParsedMount[],
  number: number,
): { path: string; prefix: string } {
  const device = spec.config.linux?.devices?.[number - FIRST_DEVICE];
  if (device !== undefined) return { path: directoryOf(device), prefix: `cannot make ${device.path}` };
  const { mount, destination } = mountOf(mounts, number);
  return { path: destination, prefix: mountPrefix(mount) };
}

/** The mount that init names by its number. @throws {RuncError} `protocol` if it does not exist. */
function mountOf(mounts: readonly ParsedMount[], number: number): ParsedMount {
  const mount = mounts[number];
  if (mount === undefined) throw new RuncError("protocol", `init asked for mount ${number}, which does not exist`);
  return mount;
}
