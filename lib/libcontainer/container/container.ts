/**
 * A container, for programs: calls that wait return promises and do not block the event loop.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import type { RdtPlace } from "../../cgroups/rdt/stats.ts";
import { Abort } from "../../ffi/abort.ts";
import type { Ending } from "../../ffi/ending.ts";
import type { Fd } from "../../ffi/fd.ts";
import type { Hold } from "../../ffi/poller.ts";
import type { ExitStatus } from "../../ffi/process/process.ts";
import { runWaitsAsync, type Waits } from "../../ffi/waits.ts";
import type { Resources } from "../../specs/config.ts";
import type { Status } from "../../specs/state.ts";
import type { Removal } from "../plans/monitor/plan.ts";
import type { CheckpointOptions } from "../config/criu_options.ts";
import type { Runtime } from "../runtime.ts";
import type { RestoreOptions } from "./criu/restoration.ts";
import type { SeccompFilter } from "../seccomp/filter.ts";
import type { Exit } from "../state/exit_record.ts";
import type { ProcessHandle, ProcessOptions } from "./container_process.ts";
import type { ExecOptions } from "./exec/planning.ts";
import type { ContainerState } from "../state/state_text.ts";
import { ContainerHandle } from "./handle.ts";
import type { PlanOptions } from "./planning.ts";
import type { RdtSchemas } from "./update_rdt.ts";

/** Options of work that can be aborted. */
export interface Abortable {
  /** Ends the work at its next wait. Everything is undone, and the promise is rejected with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** The options of {@link Container.create}. */
export interface CreateOptions extends PlanOptions, ProcessOptions, Abortable {
  /**
   * Called while the container's process is being set up and the parent would only wait. It can do slow work that
   * needs only the process's pid. An exception ends the creation.
   */
  readonly onProcess?: (container: Container) => void;
}

/** Runs `work` until the end, or until `signal` is aborted. */
async function abortable<Result>(
  runtime: Runtime,
  signal: AbortSignal | undefined,
  work: () => Waits<Result>,
): Promise<Result> {
  if (signal === undefined) return await runWaitsAsync(runtime, work());
  signal.throwIfAborted();
  using interrupts = new Abort(runtime.kernel, signal);
  try {
    return await runWaitsAsync({ kernel: runtime.kernel, interrupts }, work());
  } catch (error) {
    throw signal.aborted && error instanceof RuncError && error.code === "interrupted" ? signal.reason : error;
  }
}

/** A container that exists, created by this runtime or by runc. */
export class Container {
  readonly #runtime: Runtime;
  readonly #handle: ContainerHandle;

  private constructor(runtime: Runtime, handle: ContainerHandle) {
    this.#runtime = runtime;
    this.#handle = handle;
  }

  /** Opens an existing container. @throws {RuncError} `id-invalid`, `container-missing`. */
  static load(runtime: Runtime, id: string): Container {
    return new Container(runtime, ContainerHandle.load(runtime, id));
  }

  /** The ids of all containers below the runtime's root, sorted. */
  static ids(runtime: Runtime): readonly string[] {
    return ContainerHandle.ids(runtime);
  }

  /**
   * Creates a container: sets everything up. Its process then waits to be started.
   *
   * @throws {RuncError} No cgroup, mount, process or state directory is left then.
   */
  static async create(
    runtime: Runtime,
    options: CreateOptions,
  ): Promise<{ container: Container; process: ContainerProcess }> {
    const containerOf = (handle: ContainerHandle) => new Container(runtime, handle);
    const onProcess = (handle: ContainerHandle) => options.onProcess?.(containerOf(handle));
    const create = () => ContainerHandle.create(runtime, { ...options, onProcess });
    const { container, process } = await abortable(runtime, options.signal, create);
    return { container: containerOf(container), process: new ContainerProcess(runtime, process) };
  }

  /**
   * Makes a container from a checkpoint. Its processes run when the promise settles, as children of this program.
   *
   * Needs [CRIU](https://criu.org) 3.15 or newer as `criu` on `PATH` of the runtime's environment.
   *
   * @throws {RuncError} `container-exists`; `host-lacks` without a CRIU that can do it; `checkpoint-failed` with what
   * CRIU said. No cgroup, mount, process or state directory is left then.
   */
  static async restore(
    runtime: Runtime,
    options: RestoreOptions & Abortable,
  ): Promise<{ container: Container; process: ContainerProcess }> {
    const restore = () => ContainerHandle.restore(runtime, options);
    const { container, process } = await abortable(runtime, options.signal, restore);
    return { container: new Container(runtime, container), process: new ContainerProcess(runtime, process) };
  }

  #wait<Result>(waits: Waits<Result>): Promise<Result> {
    return runWaitsAsync(this.#runtime, waits);
  }

  /** The container's name below the runtime's root. */
  get id(): string {
    return this.#handle.id;
  }

  /** The host pid of the container's init. */
  get pid(): number {
    return this.#handle.pid;
  }

  /** The absolute path of the bundle. */
  get bundle(): string {
    return this.#handle.bundle;
  }

  /** Whether systemd created its cgroup. */
  get usesSystemd(): boolean {
    return this.#handle.usesSystemd;
  }

  /** The status as the kernel sees it. It is not stored. */
  status(): Promise<Status> {
    return this.#wait(this.#handle.status());
  }

  /**
   * Waits for the end of its init. Returns how it ended; `unknown` if nobody knows. It may be removed meanwhile.
   * `timeoutMs`: absent without a limit.
   *
   * @throws {RuncError} `timeout` if it has not ended by then.
   */
  awaitExit(timeoutMs?: number): Promise<Exit> {
    return this.#wait(this.#handle.awaitExit(timeoutMs));
  }

  /** What `runc state` prints. */
  state(): Promise<ContainerState> {
    return this.#wait(this.#handle.state());
  }

  /**
   * Starts a container in state `created`, and runs its poststart hooks. `beforeStart` runs once the state is checked,
   * with the container's lock: it must not wait for another change of the container. If a hook fails, the container is
   * killed.
   *
   * @throws {RuncError} `container-state` in any other state; `hook-failed`.
   */
  start(beforeStart?: () => void): Promise<void> {
    return this.#wait(this.#handle.start(beforeStart));
  }

  /** Runs the poststart hooks. If one fails, the container is killed. @throws {RuncError} `hook-failed`. */
  poststart(): Promise<void> {
    return this.#wait(this.#handle.poststart());
  }

  /**
   * Sends a signal to init. SIGKILL with a shared pid namespace is sent to all processes of the cgroup. `all`: a
   * container that is not running is not an error.
   *
   * @throws {RuncError} `container-state` (`container not running`).
   */
  kill(signal: number, options: { all?: boolean } = {}): Promise<void> {
    return this.#wait(this.#handle.kill(signal, options));
  }

  /**
   * Removes a stopped container. Kills and removes one that was only created, with `force` one in any state.
   *
   * @throws {RuncError} without `force`: `container-state` if it is running or paused, `container-missing` if another
   * process has removed it.
   */
  delete(options: { force?: boolean } = {}): Promise<void> {
    return this.#wait(this.#handle.delete(options));
  }

  /** The work of {@link destroy}, for a monitor. */
  get removal(): Removal {
    return this.#handle.removal;
  }

  /**
   * Removes cgroup and state of a container whose init has ended, then runs its poststop hooks. A failed hook is
   * logged. Does nothing if another process has removed the container.
   */
  destroy(): Promise<void> {
    return this.#wait(this.#handle.destroy());
  }

  /**
   * Freezes all its processes, and settles when they are frozen.
   *
   * @throws {RuncError} `container-state` (`container not running`) unless it is created or running.
   */
  pause(): Promise<void> {
    return this.#wait(this.#handle.pause());
  }

  /** Thaws the processes of a paused container. @throws {RuncError} `container-state` (`container not paused`). */
  resume(): Promise<void> {
    return this.#wait(this.#handle.resume());
  }

  /**
   * Changes its limits. Limits missing in `resources`, and all device rules, stay as they are. If the kernel refuses a
   * limit, the old limits are set again. `rdt`: new schemas for a container with `linux.intelRdt`.
   *
   * @throws {RuncError} `container-state` (`container not running`); `cgroup-failed` for a limit that the kernel
   * refuses; `host-lacks` or `unsupported` for `rdt` if the host or the container does not have it.
   */
  update(resources: Resources, rdt: RdtSchemas = {}): Promise<void> {
    return this.#wait(this.#handle.update(resources, rdt));
  }

  /**
   * Saves its processes into image files. Then the container is removed, unless `leaveRunning` or `preDump` is set. After
   * a failure it runs as before.
   *
   * Needs [CRIU](https://criu.org) 3.15 or newer as `criu` on `PATH` of the runtime's environment.
   *
   * @throws {RuncError} `container-state` unless it is running or paused; `host-lacks` without a CRIU that can do it;
   * `checkpoint-failed` with what CRIU said.
   */
  checkpoint(options: CheckpointOptions & Abortable): Promise<void> {
    return abortable(this.#runtime, options.signal, () => this.#handle.checkpoint(options));
  }

  /** Its group in the resctrl file system. Undefined without `linux.intelRdt`, or on a host without resctrl. */
  get rdtGroup(): RdtPlace | undefined {
    return this.#handle.rdtGroup;
  }

  /** Its cgroup directories: by controller on v1, under `""` on v2. */
  get cgroupPaths(): Readonly<Record<string, string>> {
    return this.#handle.cgroupPaths;
  }

  /** Whether failures to use its cgroups are expected. */
  get rootlessCgroups(): boolean {
    return this.#handle.rootlessCgroups;
  }

  /** The host pids of all processes in its cgroup and those below. Empty if the container has stopped. */
  processes(): readonly number[] {
    return this.#handle.processes();
  }

  /** The host's ids of the container's root. */
  get rootOwner(): { uid: number; gid: number } {
    return this.#handle.rootOwner;
  }

  /** Compiles its seccomp profile, for {@link exec}. Undefined if it does not have one. @see compileSeccomp */
  compileSeccomp(): SeccompFilter | undefined {
    return this.#handle.compileSeccomp();
  }

  /**
   * Starts another process in the container.
   *
   * @throws {RuncError} No process is left then. `container-state` unless the container runs.
   */
  async exec(options: ExecOptions & Abortable): Promise<ContainerProcess> {
    const exec = () => this.#handle.exec(options);
    return new ContainerProcess(this.#runtime, await abortable(this.#runtime, options.signal, exec));
  }
}

/** A process in a container, started by this program and its child. */
export class ContainerProcess implements Ending, Disposable {
  readonly #runtime: Runtime;
  readonly #handle: ProcessHandle;

  /** Made by {@link Container.create} and {@link Container.exec}. */
  constructor(runtime: Runtime, handle: ProcessHandle) {
    this.#runtime = runtime;
    this.#handle = handle;
  }

  /** The pid on the host. */
  get pid(): number {
    return this.#handle.pid;
  }

  /** Becomes readable when the process ends. Undefined if a sandbox around the runtime refuses pidfd_open(2). */
  get pidfd(): Fd | undefined {
    return this.#handle.pidfd;
  }

  /** Whether it has ended. Does not reap it. */
  get hasEnded(): boolean {
    return this.#handle.hasEnded;
  }

  /**
   * Lets a process created with `startBy: "parent"` execute its program.
   *
   * @throws {RuncError} `hook-failed` of startContainer; with noNewPrivileges also for a seccomp filter that cannot be
   * loaded.
   */
  start(): Promise<void> {
    return runWaitsAsync(this.#runtime, this.#handle.start());
  }

  /** Sends a signal. Returns 0 or −errno. */
  signal(signal: number): number {
    return this.#handle.signal(signal);
  }

  /** Waits for the process's end, and reaps it. `hold`: whether the wait keeps the program running. */
  wait(hold?: Hold): Promise<ExitStatus> {
    return runWaitsAsync({ ...this.#runtime, hold }, this.#handle.wait());
  }

  /** Kills the process with SIGKILL after a failure, and reaps it. */
  abort(): Promise<void> {
    return runWaitsAsync(this.#runtime, this.#handle.abort());
  }

  /**
   * Closes our descriptors. The process continues; one that has ended and was not awaited is reaped, as the kernel would
   * keep its cgroups as long as this program runs.
   */
  [Symbol.dispose](): void {
    if (this.#handle.hasEnded) this.#handle.reap();
    this.#handle[Symbol.dispose]();
  }
}
