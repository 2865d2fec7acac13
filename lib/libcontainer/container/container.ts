/**
 * A container: created, started, looked at, signalled, entered and removed. Runs in: parent.
 *
 * Calls are synchronous, as the kernel's are; only waiting for the end of a process is not.
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

/** What a container is created from. */
export interface CreateOptions extends PlanOptions, ProcessOptions {
  /**
   * Is called while the container's process is being set up, and the parent would only wait: what takes time and needs only that process's pid
   * is done meanwhile. What it throws ends the creation.
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

  /** Ids of all containers below the runtime's root, sorted. */
  static ids(runtime: Runtime): readonly string[] {
    return containerIds(runtime.root);
  }

  /**
   * Creates a container: everything is set up and its process waits to be started.
   *
   * @throws {RuncError} and leaves nothing behind: no cgroup, mount, process or state directory.
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

  /** Its name below the runtime's root. */
  get id(): string {
    return idOf(this.#state);
  }

  /** Host pid of the container's init. */
  get pid(): number {
    return initOf(this.#state).pid;
  }

  /** Absolute. */
  get bundle(): string {
    return bundleOf(this.#state);
  }

  /** Whether systemd made its cgroup: what removes it or enters it wants a runtime with {@link Runtime.systemd}. */
  get usesSystemd(): boolean {
    return systemdOf(this.#state);
  }

  get #target(): RemovalTarget {
    return { state: this.#state, cgroup: this.#cgroup, directory: this.#directory };
  }

  /** Computed from the kernel's view, never stored. */
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

  /** Runs this container's hooks of a name on the host. `failed`: told of each failure instead of the first ending it. */
  runHooks(name: HookName, status: Status, failed?: (error: RuncError) => void): void {
    const cwd = name === "poststop" ? undefined : this.bundle;
    runHooks(this.#runtime, name, hooksOf(this.#state)[name], this.#hookState(status), { cwd, goOn: failed });
  }

  /**
   * Starts a container in state `created`, and runs its poststart hooks.
   *
   * `beforeStart` runs once it is known that it can be started. @throws {RuncError} `container-state` in any other state.
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

  /** poststart hooks; where one fails the container is killed. @throws {RuncError} `hook-failed`. */
  poststart(): void {
    try {
      this.runHooks("poststart", "running");
    } catch (error) {
      signalInit(this.#runtime, this.#state, 9);
      throw error;
    }
  }

  /**
   * Sends a signal: to init, or for SIGKILL with a shared pid namespace to all processes of the cgroup.
   *
   * @throws {RuncError} `container-state` (`container not running`).
   */
  kill(signal: number, options: { all?: boolean } = {}): void {
    killContainer(this.#runtime, this.#target, { signal, ...options });
  }

  /**
   * Removes a container that is stopped, or, after SIGKILL, one that was only created. `force`: kills it in any state.
   *
   * @throws {RuncError} `container-state` where it runs, `container-missing` where somebody else has removed it, unless by `force`.
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

  /** What has to end before a container is removed has ended then. */
  #end(force: boolean): void {
    const status = this.status();
    if (force || status === "created") killAndWait(this.#runtime, this.#target);
    else if (status !== "stopped") {
      throw new RuncError("container-state", `cannot delete container ${this.id} that is not stopped: ${status}`, {
        hint: "runc kill stops it, runc delete --force does both",
      });
    }
    // Whose init was gone already: nothing has thawed what else is in there, and on v1 it cannot end before.
    if (status === "paused") this.#cgroup.thaw();
  }

  /** What {@link destroy} has to do, for a monitor. */
  get removal(): Removal {
    return removalOf(this.#target);
  }

  /**
   * Removes cgroup and state of a container whose init is gone, then runs its poststop hooks; a failed one is logged. Does nothing where
   * somebody else has removed it.
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

  /** Runs `action` while no other command changes this container. @throws {RuncError} `container-missing` where one has removed it. */
  #locked(action: () => void): void {
    using _lock = this.#directory.lock(this.#runtime.kernel);
    const state = this.#directory.load(this.#runtime.kernel);
    // There may be another one of its name by now, which has another process.
    const [init, known] = [initOf(state), initOf(this.#state)];
    if (init.pid !== known.pid || init.startTime !== known.startTime) {
      throw missingContainer();
    }
    // Another update may have changed it.
    this.#state = state;
    action();
  }

  /** These hooks may call us for what was this container: not under its lock. */
  #poststop(): void {
    this.runHooks("poststop", "stopped", (error) => this.#runtime.log("warning", error.message));
  }

  /**
   * Stops all its processes, and returns when they have stopped.
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

  /** Lets the processes of a paused container go on. @throws {RuncError} `container-state` (`container not paused`). */
  resume(): void {
    this.#locked(() => {
      if (this.status() !== "paused") throw new RuncError("container-state", "container not paused");
      this.#cgroup.thaw();
    });
  }

  /**
   * Changes its limits: what `resources` leaves out stays as it is, and device rules are never touched. Where the kernel refuses one, the old
   * ones are set again. `rdt`: new schemas for a container that has `linux.intelRdt`.
   *
   * @throws {RuncError} `container-state` (`container not running`); `cgroup-failed` for a limit that the kernel refuses; `host-lacks` or
   * `unsupported` for `rdt` where the host or the container has none.
   */
  update(resources: Resources, rdt: RdtSchemas = {}): void {
    this.#locked(() => {
      if (this.status() === "stopped") throw new RuncError("container-state", "container not running");
      const container = { state: this.#state, cgroup: this.#cgroup };
      this.#state = updateContainer(this.#runtime, container, { resources, rdt });
      inSpan(this.#runtime.trace, "save the state", () => this.#directory.save(this.#runtime.kernel, this.#state));
    });
  }

  /** Its group of the resctrl file system; undefined without `linux.intelRdt`, or on a host without resctrl. */
  get rdtGroup(): RdtPlace | undefined {
    const group = rdtGroupOf(this.#state);
    const root = group === undefined ? undefined : resctrlRoot(this.#runtime.kernel);
    return group === undefined || root === undefined ? undefined : { ...group, root };
  }

  /** Its cgroup directories: by controller on v1, under `""` on v2. */
  get cgroupPaths(): Readonly<Record<string, string>> {
    return this.#cgroup.paths;
  }

  /** Whether failures to use its cgroups are to be expected. */
  get rootlessCgroups(): boolean {
    return rootlessCgroupsOf(this.#state);
  }

  /** Host pids of all processes in its cgroup and those below; none where it has stopped. */
  processes(): readonly number[] {
    try {
      return this.#cgroup.processes();
    } catch (error) {
      throw error instanceof RuncError ? error.within("unable to get all container pids") : error;
    }
  }

  /** Does nothing where a process can be started in it. @throws {RuncError} `container-state` where not. */
  refuseExec(options: { ignorePaused?: boolean } = {}): void {
    const status = this.status();
    if (status === "stopped") throw new RuncError("container-state", EXEC_IN_STOPPED);
    if (status === "paused" && !options.ignorePaused) {
      throw new RuncError("container-state", "cannot exec in a paused container (use --ignore-paused to override)");
    }
  }

  /** Ids of the container's root on the host. */
  get rootOwner(): { uid: number; gid: number } {
    const { uidMappings, gidMappings } = mappingsOfState(this.#state);
    return { uid: hostRoot(uidMappings), gid: hostRoot(gidMappings) };
  }

  /** The filter that its profile asks for, which {@link exec} needs; undefined where it has none. @see compileSeccomp */
  compileSeccomp(): SeccompFilter | undefined {
    const profile = seccompOf(this.#state);
    if (profile === undefined) return undefined;
    return compileStored(this.#runtime, profile);
  }

  /**
   * Starts a further process in the container.
   *
   * @throws {RuncError} and the process is gone again.
   */
  exec(options: ExecOptions): ContainerProcess {
    this.refuseExec(options);
    const container = { state: this.#state, cgroup: this.#cgroup, hookState: this.#hookState("running") };
    return execProcess(this.#runtime, container, options);
  }
}
