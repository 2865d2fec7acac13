/**
 * A container: creates, starts, inspects, signals, enters and removes it. Runs in: parent.
 *
 * Calls are synchronous, like system calls. Only waiting for the end of a process is asynchronous.
 *
 * @module
 */

import type { CgroupManager } from "../../cgroups/manager.ts";
import type { RdtPlace } from "../../cgroups/rdt/stats.ts";
import { resctrlRoot } from "../../cgroups/rdt/resctrl.ts";
import { RuncError } from "../../errors.ts";
import type { HookName, Resources } from "../../specs/config.ts";
import type { State, Status } from "../../specs/state.ts";
import { inSpan } from "../../trace/tracer.ts";
import { loadCgroup } from "./container_cgroups.ts";
import type { ContainerProcess, ProcessOptions } from "./container_process.ts";
import { createContainer } from "./creation.ts";
import type { PendingContainer } from "./creation_messages.ts";
import { ALREADY_RUNNING, readExecFifo } from "./exec_fifo.ts";
import { type ExecOptions, execProcess } from "./exec_process.ts";
import { hasLiveInit, killAndWait, killContainer, signalInit } from "./killing.ts";
import type { PlanOptions } from "./planning.ts";
import { removalOf, type RemovalTarget, removeContainer } from "./removal.ts";
import { runHooks } from "../launch/host_hooks.ts";
import { hostRoot } from "../config/id_mappings.ts";
import type { Removal } from "../plans/monitor/plan.ts";
import { EXEC_IN_STOPPED } from "../state/process_status.ts";
import {
  annotationsOf,
  bundleOf,
  createdOf,
  hooksOf,
  idOf,
  initOf,
  mappingsOfState,
  rdtGroupOf,
  rootfsOf,
  rootlessCgroupsOf,
  type RuncState,
  seccompOf,
  systemdOf,
  versionOf,
} from "../state/runc_state.ts";
import type { Runtime } from "../runtime.ts";
import type { SeccompFilter } from "../seccomp/filter.ts";
import { compileStored } from "../seccomp/seccomp.ts";
import { containerIds, isMissing, missingContainer, StateDirectory } from "../state/store.ts";
import { updateContainer } from "./update_container.ts";
import type { RdtSchemas } from "./update_rdt.ts";

/** The options of {@link Container.create}. */
export interface CreateOptions extends PlanOptions, ProcessOptions {
  /**
   * Called while the container's process is being set up and the parent would only wait. It can do slow work that
   * needs only the process's pid. An exception ends the creation.
   */
  readonly onProcess?: (container: Container) => void;
}

/** A container that exists, created by this runtime or by runc. */
export class Container {
  readonly #runtime: Runtime;
  readonly #directory: StateDirectory;
  readonly #cgroup: CgroupManager;
  #state: RuncState;

  private constructor(runtime: Runtime, directory: StateDirectory, state: RuncState, cgroup: CgroupManager) {
    this.#runtime = runtime;
    this.#directory = directory;
    this.#state = state;
    this.#cgroup = cgroup;
  }

  /** Opens an existing container. @throws {RuncError} `id-invalid`, `container-missing`. */
  static load(runtime: Runtime, id: string): Container {
    const directory = new StateDirectory(runtime.root, id);
    const state = inSpan(runtime.trace, "read the state", () => directory.load(runtime.kernel));
    return new Container(runtime, directory, state, loadCgroup(runtime, state));
  }

  /** The ids of all containers below the runtime's root, sorted. */
  static ids(runtime: Runtime): readonly string[] {
    return containerIds(runtime.root);
  }

  /**
   * Creates a container: sets everything up. Its process then waits to be started.
   *
   * @throws {RuncError} No cgroup, mount, process or state directory is left then.
   */
  static create(
    runtime: Runtime,
    options: CreateOptions,
  ): { container: Container; process: ContainerProcess } {
    const containerOf = ({ directory, state, cgroup }: PendingContainer) =>
      new Container(runtime, directory, state, cgroup);
    const created = createContainer(runtime, options, (container) => options.onProcess?.(containerOf(container)));
    return { container: containerOf(created), process: created.process };
  }

  /** The container's name below the runtime's root. */
  get id(): string {
    return idOf(this.#state);
  }

  /** The host pid of the container's init. */
  get pid(): number {
    return initOf(this.#state).pid;
  }

  /** The absolute path of the bundle. */
  get bundle(): string {
    return bundleOf(this.#state);
  }

  /** Whether systemd created its cgroup. To remove or enter it, the runtime needs {@link Runtime.systemd}. */
  get usesSystemd(): boolean {
    return systemdOf(this.#state);
  }

  get #target(): RemovalTarget {
    return { state: this.#state, cgroup: this.#cgroup, directory: this.#directory };
  }

  /** The status as the kernel sees it. It is not stored. */
  status(): Status {
    if (this.#cgroup.exists() && this.#cgroup.freezerState() === "frozen") return "paused";
    if (!hasLiveInit(this.#state)) return "stopped";
    return this.#directory.hasFifo() ? "created" : "running";
  }

  /** What `runc state` prints. */
  state(): {
    readonly ociVersion: string;
    readonly id: string;
    readonly pid: number;
    readonly status: Status;
    readonly bundle: string;
    readonly rootfs: string;
    readonly created: string;
    readonly annotations: Readonly<Record<string, string>>;
    readonly owner: string;
  } {
    const status = this.status();
    return {
      ociVersion: versionOf(this.#state),
      id: this.id,
      pid: status === "stopped" ? 0 : this.pid,
      status,
      bundle: this.bundle,
      rootfs: rootfsOf(this.#state),
      created: createdOf(this.#state),
      annotations: annotationsOf(this.#state),
      owner: "",
    };
  }

  #hookState(status: Status): State {
    const annotations = annotationsOf(this.#state);
    return {
      ociVersion: versionOf(this.#state),
      id: this.id,
      status,
      ...(status === "stopped" ? {} : { pid: this.pid }),
      bundle: this.bundle,
      ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
    };
  }

  /** Runs the hooks `name` on the host. `failed` receives each failure. Without it, the first failure is thrown. */
  runHooks(name: HookName, status: Status, failed?: (error: RuncError) => void): void {
    const cwd = name === "poststop" ? undefined : this.bundle;
    runHooks(this.#runtime, name, hooksOf(this.#state)[name], this.#hookState(status), { cwd, goOn: failed });
  }

  /**
   * Starts a container in state `created`, and runs its poststart hooks. `beforeStart` runs once the state is checked.
   *
   * @throws {RuncError} `container-state` in any other state.
   */
  start(beforeStart: () => void = () => {}): void {
    const status = this.status();
    if (status !== "created") {
      const why = status === "stopped"
        ? "cannot start a container that has stopped"
        : status === "running"
        ? ALREADY_RUNNING
        : `cannot start a container in the ${status} state`;
      throw new RuncError("container-state", why);
    }
    beforeStart();
    const { kernel, trace } = this.#runtime;
    inSpan(trace, "read the exec fifo, which init waits to open", () => {
      readExecFifo(kernel, this.#directory, this.pid);
    });
    this.poststart();
  }

  /** Runs the poststart hooks. If one fails, the container is killed. @throws {RuncError} `hook-failed`. */
  poststart(): void {
    try {
      this.runHooks("poststart", "running");
    } catch (error) {
      signalInit(this.#runtime, this.#state, 9);
      throw error;
    }
  }

  /**
   * Sends a signal to init. SIGKILL with a shared pid namespace is sent to all processes of the cgroup.
   *
   * @throws {RuncError} `container-state` (`container not running`).
   */
  kill(signal: number, options: { all?: boolean } = {}): void {
    killContainer(this.#runtime, this.#target, { signal, ...options });
  }

  /**
   * Removes a stopped container. Kills and removes one that was only created, with `force` one in any state.
   *
   * @throws {RuncError} without `force`: `container-state` if it is running or paused, `container-missing` if another
   * process has removed it.
   */
  delete(options: { force?: boolean } = {}): void {
    try {
      this.#locked(() => {
        this.#end(options.force ?? false);
        removeContainer(this.#runtime, this.#target);
      });
    } catch (error) {
      if (options.force && isMissing(error)) return;
      throw error;
    }
    this.#poststop();
  }

  /** Ends the processes that must end before the container is removed. */
  #end(force: boolean): void {
    const status = this.status();
    if (force || status === "created") killAndWait(this.#runtime, this.#target);
    else if (status !== "stopped") {
      throw new RuncError("container-state", `cannot delete container ${this.id} that is not stopped: ${status}`, {
        hint: "runc kill stops it, runc delete --force does both",
      });
    }
    // If init had already ended, the other processes are still frozen. On v1 they cannot exit in this state.
    if (status === "paused") this.#cgroup.thaw();
  }

  /** The work of {@link destroy}, for a monitor. */
  get removal(): Removal {
    return removalOf(this.#target);
  }

  /**
   * Removes cgroup and state of a container whose init has ended, then runs its poststop hooks. A failed hook is
   * logged. Does nothing if another process has removed the container.
   */
  destroy(): void {
    try {
      this.#locked(() => removeContainer(this.#runtime, this.#target));
    } catch (error) {
      if (isMissing(error)) return;
      throw error;
    }
    this.#poststop();
  }

  /** Runs `action` under the container's lock. @throws {RuncError} `container-missing` if it was removed meanwhile. */
  #locked(action: () => void): void {
    using _lock = this.#directory.lock(this.#runtime.kernel);
    const state = this.#directory.load(this.#runtime.kernel);
    // A new container can have the same name. Its init is another process.
    const [init, known] = [initOf(state), initOf(this.#state)];
    if (init.pid !== known.pid || init.startTime !== known.startTime) {
      throw missingContainer();
    }
    // Another update can have changed the state.
    this.#state = state;
    action();
  }

  /** Runs without the lock, because the hooks may call this runtime for the same container. */
  #poststop(): void {
    this.runHooks("poststop", "stopped", (error) => this.#runtime.log("warning", error.message));
  }

  /**
   * Freezes all its processes, and returns when they are frozen.
   *
   * @throws {RuncError} `container-state` (`container not running`) unless it is created or running.
   */
  pause(): void {
    this.#locked(() => {
      const status = this.status();
      if (status !== "running" && status !== "created") {
        throw new RuncError("container-state", "container not running", {
          hint: status === "paused" ? "it is paused already" : undefined,
        });
      }
      this.#cgroup.freeze();
    });
  }

  /** Thaws the processes of a paused container. @throws {RuncError} `container-state` (`container not paused`). */
  resume(): void {
    this.#locked(() => {
      if (this.status() !== "paused") throw new RuncError("container-state", "container not paused");
      this.#cgroup.thaw();
    });
  }

  /**
   * Changes its limits. Limits missing in `resources`, and all device rules, stay as they are. If the kernel refuses a
   * limit, the old limits are set again. `rdt`: new schemas for a container with `linux.intelRdt`.
   *
   * @throws {RuncError} `container-state` (`container not running`); `cgroup-failed` for a limit that the kernel
   * refuses; `host-lacks` or `unsupported` for `rdt` if the host or the container does not have it.
   */
  update(resources: Resources, rdt: RdtSchemas = {}): void {
    this.#locked(() => {
      if (this.status() === "stopped") throw new RuncError("container-state", "container not running");
      const container = { state: this.#state, cgroup: this.#cgroup };
      this.#state = updateContainer(this.#runtime, container, { resources, rdt });
      inSpan(this.#runtime.trace, "save the state", () => this.#directory.save(this.#runtime.kernel, this.#state));
    });
  }

  /** Its group in the resctrl file system. Undefined without `linux.intelRdt`, or on a host without resctrl. */
  get rdtGroup(): RdtPlace | undefined {
    const group = rdtGroupOf(this.#state);
    const root = group === undefined ? undefined : resctrlRoot(this.#runtime.kernel);
    return group === undefined || root === undefined ? undefined : { ...group, root };
  }

  /** Its cgroup directories: by controller on v1, under `""` on v2. */
  get cgroupPaths(): Readonly<Record<string, string>> {
    return this.#cgroup.paths;
  }

  /** Whether failures to use its cgroups are expected. */
  get rootlessCgroups(): boolean {
    return rootlessCgroupsOf(this.#state);
  }

  /** The host pids of all processes in its cgroup and those below. Empty if the container has stopped. */
  processes(): readonly number[] {
    try {
      return this.#cgroup.processes();
    } catch (error) {
      throw error instanceof RuncError ? error.within("unable to get all container pids") : error;
    }
  }

  /** Checks that {@link exec} can start a process in the container. @throws {RuncError} `container-state` if not. */
  refuseExec(options: { ignorePaused?: boolean } = {}): void {
    const status = this.status();
    if (status === "stopped") throw new RuncError("container-state", EXEC_IN_STOPPED);
    if (status === "paused" && !options.ignorePaused) {
      throw new RuncError("container-state", "cannot exec in a paused container (use --ignore-paused to override)");
    }
  }

  /** The host's ids of the container's root. */
  get rootOwner(): { uid: number; gid: number } {
    const { uidMappings, gidMappings } = mappingsOfState(this.#state);
    return { uid: hostRoot(uidMappings), gid: hostRoot(gidMappings) };
  }

  /** Compiles its seccomp profile, for {@link exec}. Undefined if it does not have one. @see compileSeccomp */
  compileSeccomp(): SeccompFilter | undefined {
    const profile = seccompOf(this.#state);
    if (profile === undefined) return undefined;
    return compileStored(this.#runtime, profile);
  }

  /**
   * Starts another process in the container.
   *
   * @throws {RuncError} No process is left then.
   */
  exec(options: ExecOptions): ContainerProcess {
    this.refuseExec(options);
    const container = { state: this.#state, cgroup: this.#cgroup, hookState: this.#hookState("running") };
    return execProcess(this.#runtime, container, options);
  }
}
