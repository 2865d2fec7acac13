/**
 * Makes a container from a checkpoint: carries out the acts of plans/parent/criu.ts, `restoreActs`. Runs in: parent.
 *
 * @module
 */

import { parseProcCgroup } from "../../../cgroups/layout.ts";
import type { CgroupManager } from "../../../cgroups/manager.ts";
import { resctrlRoot } from "../../../cgroups/rdt/resctrl.ts";
import { RuncError } from "../../../errors.ts";
import { MountFlag, UmountFlag } from "../../../ffi/constants.ts";
import type { Fd } from "../../../ffi/fd.ts";
import { withFileErrors } from "../../../ffi/file_error.ts";
import { open } from "../../../ffi/files.ts";
import { cString, type Kernel } from "../../../ffi/kernel.ts";
import { RouteSocket } from "../../../ffi/netlink.ts";
import { Child } from "../../../ffi/process/child.ts";
import { sendFd } from "../../../ffi/sockets.ts";
import type { Waits } from "../../../ffi/waits.ts";
import { type CriuSite, CriuVerbs } from "../../checkpoint/criu_verbs.ts";
import { readCreated, readDescriptors } from "../../checkpoint/directories.ts";
import { externalNamespaces } from "../../checkpoint/external.ts";
import { isRoot, readMountFacts } from "../../checkpoint/facts.ts";
import { makeMountPoints, mountPoints } from "../../checkpoint/mount_points.ts";
import { cgroupMode } from "../../checkpoint/options.ts";
import { RESTORE_LOG, restoreRequest } from "../../checkpoint/restore_request.ts";
import { readRestoredFacts, restoredState } from "../../checkpoint/restored_state.ts";
import type { CriuReq } from "../../checkpoint/rpc.ts";
import type { CriuRestoreOptions } from "../../config/criu_options.ts";
import { rootOwner } from "../../config/id_mappings.ts";
import type { StartFlags } from "../../config/launch_request.ts";
import { awaitEnd } from "../../launch/await_end.ts";
import { runHook } from "../../launch/host_hooks.ts";
import { moveNetworkDevice } from "../../launch/network_devices.ts";
import { type Performers, runActs } from "../../launch/run_acts.ts";
import type { Act, Flag, VerbOf } from "../../plans/parent/act.ts";
import { restoreActs } from "../../plans/parent/criu.ts";
import type { Runtime } from "../../runtime.ts";
import type { SeccompFilter } from "../../seccomp/filter.ts";
import type { RuncState } from "../../state/runc_state.ts";
import { StateDirectory } from "../../state/store.ts";
import type { Spec } from "../bundle.ts";
import { ProcessHandle, type StartedProcess } from "../container_process.ts";
import type { ContainerParts } from "../container_world.ts";
import { NewCgroups } from "../../launch/new_cgroups.ts";
import { creatingState, describeContainer, neverStartedState } from "../new_state.ts";
import { cgroupOf } from "../planning.ts";

/** The pid in a state without a process, as runc writes it. */
const NO_PROCESS = -1;
/** Time for a killed process to end. */
const END_LIMIT_MS = 5000;

/** What a container is restored from. */
export interface RestoreOptions extends CriuRestoreOptions, StartFlags {
  /** Letters, digits and `_+-.`. */
  readonly id: string;
  /** From {@link loadSpec}; it has to describe the container that was saved. */
  readonly spec: Spec;
  /** From {@link compileSeccomp}: for `exec`. CRIU restores the processes' own filters. */
  readonly seccomp?: SeccompFilter;
  /** The standard streams, for those that were the caller's pipes; absent: /dev/null. */
  readonly stdio?: readonly [number, number, number];
  /** Connected socket that receives the terminal's master. */
  readonly consoleSocket?: Fd;
  /** Makes `<state directory>/notify`, which a container that was created with an sd_notify proxy needs. */
  readonly notify?: boolean;
}

/** A container that is to be restored: nothing is made yet. */
export interface PlannedRestore {
  /** What the parent would do. */
  readonly parent: readonly Act[];
  readonly cgroup: CgroupManager;
  /** As it is described until there is a process. */
  readonly state: RuncState;
}

/** A restored container, whose processes run. */
export interface Restored extends ContainerParts {
  readonly process: ProcessHandle;
}

/** Plans a restore: reads the host's facts, makes nothing. @throws {RuncError} */
export function* planningRestore(runtime: Runtime, options: RestoreOptions): Waits<PlannedRestore> {
  // A wrong word is refused before anything is made.
  cgroupMode(options.manageCgroupsMode);
  const { id, spec, notify } = options;
  const { config, bundle, rootfs } = spec;
  const directory = new StateDirectory(runtime.root, id);
  const cgroup = yield* cgroupOf(runtime, options);
  const state = describeContainer(runtime, { ...options, startBy: "parent" }, { pid: NO_PROCESS, cgroup });
  const parent = restoreActs({
    config,
    bundle,
    rootfs,
    directory: directory.path,
    criuRoot: directory.criuRoot,
    notifyDirectory: notify ? directory.notify : undefined,
    cgroupPaths: cgroup.paths,
    resctrl: config.linux?.intelRdt === undefined ? undefined : resctrlRoot(runtime.kernel),
    namespaces: externalNamespaces(state),
    options,
  });
  return { parent, cgroup, state };
}

/** Makes a container from a checkpoint. @see Container.restore */
export function* restoreContainer(runtime: Runtime, options: RestoreOptions): Waits<Restored> {
  const planned = yield* planningRestore(runtime, options);
  using restoration = new Restoration(runtime, options, planned);
  return yield* restoration.run();
}

/** One restore: what its acts find out and make. */
class Restoration implements Disposable {
  readonly #runtime: Runtime;
  readonly #options: RestoreOptions;
  readonly #planned: PlannedRestore;
  readonly #directory: StateDirectory;
  readonly #criu: CriuVerbs;
  readonly #cgroups: NewCgroups;
  readonly #flags: Set<Flag> = new Set();
  /** The namespaces to join, by CRIU's names. */
  readonly #namespaces = new Map<string, Fd>();
  #state: RuncState;
  #process?: Child;

  constructor(runtime: Runtime, options: RestoreOptions, planned: PlannedRestore) {
    this.#runtime = runtime;
    this.#options = options;
    this.#planned = planned;
    this.#state = planned.state;
    this.#directory = new StateDirectory(runtime.root, options.id);
    this.#criu = new CriuVerbs(runtime, {
      process: "the restoration process",
      options,
      logName: RESTORE_LOG,
      stdio: options.stdio,
      descriptor: (name) => this.#namespaces.get(name)!,
      request: (site) => this.#request(site),
      takeTerminal: (master) => this.#takeTerminal(master),
    });
    this.#cgroups = new NewCgroups(runtime, {
      id: options.id,
      cgroup: planned.cgroup,
      entrant: () => this.#criu.criu.pid,
      flags: this.#flags,
    });
  }

  /** Carries out the acts. */
  *run(): Waits<Restored> {
    const { log, trace } = this.#runtime;
    yield* runActs(this.#planned.parent, {
      performers: {
        ...this.#stateVerbs(),
        ...this.#rootVerbs(),
        ...this.#processVerbs(),
        ...this.#cgroups.performers,
        ...this.#criu.performers,
      },
      flags: this.#flags,
      log,
      trace,
      explain: (error) => this.#criu.explain(error),
    });
    return {
      directory: this.#directory,
      cgroup: this.#planned.cgroup,
      state: this.#state,
      process: new ProcessHandle(startedOf(this.#runtime, this.#init)),
    };
  }

  get #init(): Child {
    if (this.#process === undefined) throw new RuncError("internal", "CRIU has not named the restored process");
    return this.#process;
  }

  #stateVerbs(): Performers {
    const { kernel, root } = this.#runtime;
    const directory = this.#directory;
    return {
      makeStateDirectory: () => directory.make(kernel, root),
      removeStateDirectory: () => directory.remove(kernel),
      makeDirectory: ({ path, mode }) => Deno.mkdirSync(path, { mode }),
      saveState: () => directory.save(kernel, this.#state),
      describe: () => this.#describe(),
      runHook: (does, span) => this.#runHook(does, span),
    };
  }

  *#runHook(does: VerbOf<"runHook">, span: Parameters<typeof runHook>[3]): Waits<void> {
    const state = does.status === "stopped"
      ? neverStartedState(this.#options)
      : creatingState(this.#options, this.#init.pid);
    yield* runHook(this.#runtime, does, state, span);
  }

  #describe(): void {
    const { pid } = this.#init;
    if (this.#criu.pid !== pid) throw notOurs(this.#criu.pid);
    const { cgroup } = this.#planned;
    const { rdtGroup } = this.#cgroups;
    const described = describeContainer(this.#runtime, { ...this.#options, startBy: "parent" }, {
      pid,
      cgroup,
      rdtGroup,
    });
    const { stdio, imagePath } = this.#options;
    this.#state = restoredState(described, { ...readRestoredFacts(pid, stdio), created: readCreated(imagePath) });
  }

  #rootVerbs(): Performers {
    const { kernel } = this.#runtime;
    return {
      makeMountPoints: () => {
        const points = mountPoints(this.#state, readMountFacts(kernel, this.#state, this.#directory));
        makeMountPoints(kernel, points, rootOwner(this.#options.spec.config));
      },
      mountRootfs: ({ from, path }) => mountRootfs(kernel, from, path),
      unmountRootfs: ({ path }) => {
        kernel.call("umount2", cString(path), UmountFlag.MNT_DETACH);
        kernel.call("rmdir", cString(path));
      },
      openNamespace: ({ fd, path }) => void this.#namespaces.set(fd, openNamespace(this.#runtime, path)),
      setLoopbackUp: () => setLoopbackUp(kernel, this.#init.pid),
      moveNetworkDevice: ({ name, device }) => moveNetworkDevice(this.#runtime, name, device, this.#init.pid),
    };
  }

  #processVerbs(): Performers {
    return {
      adoptRestored: () => {
        const { pid } = this.#criu;
        // As for a stage, a number in a message is believed only if it is our child's.
        const process = Child.find(this.#runtime.kernel, pid);
        if (process === undefined) throw notOurs(pid);
        this.#process = process;
      },
      endRestored: () => this.#endProcess(),
    };
  }

  *#endProcess(): Waits<void> {
    const process = this.#init;
    yield* startedOf(this.#runtime, process).abort();
    process[Symbol.dispose]();
  }

  #request({ version, criuPid, imagesDirFd, workDirFd }: CriuSite): CriuReq {
    const { kernel } = this.#runtime;
    return restoreRequest(this.#state, this.#options, {
      ...readMountFacts(kernel, this.#state, this.#directory),
      version,
      namespaces: externalNamespaces(this.#state),
      isRoot: isRoot(),
      imagesDirFd,
      workDirFd,
      // CRIU compares it with paths in mountinfo, which have no symlinks.
      root: withFileErrors(() => Deno.realPathSync(this.#directory.criuRoot)),
      descriptors: readDescriptors(this.#options.imagePath),
      cgroups: parseProcCgroup(withFileErrors(() => Deno.readTextFileSync(`/proc/${criuPid}/cgroup`))),
    });
  }

  #takeTerminal(master: Fd | undefined): void {
    const { consoleSocket } = this.#options;
    if (master === undefined) throw new RuncError("protocol", "CRIU sent no terminal");
    if (consoleSocket === undefined) {
      throw new RuncError("checkpoint-failed", "the checkpoint has a terminal, and the container has none", {
        field: "/process/terminal",
      });
    }
    sendFd(this.#runtime.kernel, consoleSocket, new TextEncoder().encode("orphan-pts-master"), master.number);
  }

  [Symbol.dispose](): void {
    for (const file of this.#namespaces.values()) file.close();
    this.#criu[Symbol.dispose]();
  }
}

function notOurs(pid: number): RuncError {
  return new RuncError("protocol", `CRIU restored process ${pid}, which is not our child`);
}

/** A restored process, for its handle. */
function startedOf(runtime: Runtime, init: Child): StartedProcess {
  return {
    init,
    *abort() {
      init.signal(9);
      if (yield* awaitEnd(runtime, init, END_LIMIT_MS, { isDeaf: true })) init.reap();
    },
    [Symbol.dispose]: () => init[Symbol.dispose](),
  };
}

/** CRIU's root must be a mount point, and no other mount may cover it. Makes the place. */
function mountRootfs(kernel: Kernel, from: string, path: string): void {
  withFileErrors(() => Deno.mkdirSync(path, { mode: 0o755 }));
  const flags = MountFlag.MS_BIND | MountFlag.MS_REC;
  const call = `mount(${JSON.stringify(from)}, ${JSON.stringify(path)}, MS_BIND|MS_REC)`;
  try {
    kernel.must(call, "mount", cString(from), cString(path), null, flags, null);
  } catch (error) {
    kernel.call("rmdir", cString(path));
    throw error;
  }
}

function openNamespace({ kernel, log }: Runtime, path: string): Fd {
  try {
    return open(kernel, path, 0);
  } catch (error) {
    if (!(error instanceof RuncError)) throw error;
    log("error", `If a specific network namespace is defined it must exist: ${error.message}`);
    throw new RuncError(error.code, `Requested network namespace ${path} does not exist`, { ...error, cause: error });
  }
}

function setLoopbackUp(kernel: Kernel, pid: number): void {
  using namespace = open(kernel, `/proc/${pid}/ns/net`, 0);
  using socket = RouteSocket.open(kernel, namespace);
  socket.setUp(socket.deviceIndex("lo"), true);
}
