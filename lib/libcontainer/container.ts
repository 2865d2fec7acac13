/**
 * A container: made, started, looked at, signalled, entered and removed. Runs in: parent.
 *
 * Calls are synchronous, as the kernel's are; only waiting for the end of a process is not.
 *
 * @module
 */

import { type CgroupManager, createCgroupManager, loadCgroupManager, type SelfJoin } from "../cgroups/manager.ts";
import type { RdtGroup } from "../cgroups/intel_rdt.ts";
import { addToRdtGroup, removeRdtGroup, resctrlRoot } from "../cgroups/resctrl.ts";
import { readCgroupLayout } from "../cgroups/layout.ts";
import { requireSystemd } from "../cgroups/path.ts";
import { requireCgroups, subCgroupPaths, type SubCgroups } from "../cgroups/sub_cgroup.ts";
import { inContext, RuncError } from "../errors.ts";
import { openFlag, rlimitNames } from "../ffi/constants.ts";
import { errnoName, errnoText } from "../ffi/errno.ts";
import type { Fd } from "../ffi/fd.ts";
import { isThere, memfd, open, openPath } from "../ffi/files.ts";
import { alloc } from "../ffi/kernel.ts";
import { poll, pollAsync, POLLIN } from "../ffi/poll.ts";
import { type ExitStatus, getRlimit, kill, pidfdOpen, pidfdSendSignal, setRlimit, waitChild } from "../ffi/process.ts";
import type { Config, HookName, Mount, NamespaceType, Process, Resources } from "../specs/config.ts";
import { OCI_VERSION, type State, type Status } from "../specs/state.ts";
import type { Plan } from "../plan/op.ts";
import { checkConfig, hasSelinux, kernelNamespaces, type Spec } from "./bundle.ts";
import { affinityText } from "./cpu_affinity.ts";
import { capabilityNumbers } from "./credentials.ts";
import { inUserNamespace, readFacts } from "./facts.ts";
import { hookStateFile } from "./hook_state.ts";
import { runHooks } from "./host_hooks.ts";
import { hostRoot, writeIdMaps } from "./id_maps.ts";
import { packetPair } from "../ffi/sockets.ts";
import { Launch } from "./launch.ts";
import type { CgroupEntry, HostFacts, LaunchRequest } from "./launch_request.ts";
import { hasNamespace, joinedNamespaces, makesNamespace, namespaceKinds } from "./namespaces.ts";
import { homeOf } from "./passwd.ts";
import { makeTarget } from "./make_target.ts";
import { destinationOf, mountPrefix } from "./mounts.ts";
import { partOf, type Parts } from "./parts.ts";
import { hasHelper, planCreate, withNotify } from "./plan_create.ts";
import { planExec } from "./plan_exec.ts";
import { isAlive, processStat } from "./process_status.ts";
import {
  annotationsOf,
  bundleOf,
  capabilitiesOf,
  cgroupOwner,
  cgroupPathsOf,
  hasCpusetOf,
  hooksOf,
  mappingsOfState,
  memoryPolicyOf,
  namespacesOf,
  personalityOf,
  rdtGroupOf,
  rootfsOf,
  rootlessCgroupsOf,
  type RuncState,
  schedulingOf,
  seccompOf,
  securityOf,
  systemdOf,
  systemdPathOf,
  toRuncState,
  umaskOf,
  versionOf,
  withLimits,
} from "./runc_state.ts";
import type { Runtime } from "./runtime.ts";
import { compileStored } from "./seccomp.ts";
import { handToAgent } from "./seccomp/agent.ts";
import { hasSeccomp, type SeccompFilter } from "./seccomp/filter.ts";
import { checkId, containerIds, StateDirectory } from "./state_store.ts";
import { configError, validateProcess } from "./validate.ts";

/** Options that every process has, the first one and those of `exec`. */
export interface ProcessOptions {
  /** stdin, stdout, stderr. */
  readonly stdio: readonly [number, number, number];
  /** Connected socket that the terminal's master is sent to; needed when the process has a terminal. */
  readonly consoleSocket?: Fd;
  /** Connected socket that a pidfd of the process is sent to. */
  readonly pidfdSocket?: Fd;
  /** Descriptors from 3 up that the process inherits: LISTEN_FDS first. They must be open and not close-on-exec. */
  readonly inheritedFds?: number;
  /** How many of them are LISTEN_FDS: the process is told by its environment. */
  readonly listenFds?: number;
}

/** What a container is created from. */
export interface CreateOptions extends ProcessOptions {
  /** Letters, digits and `_+-.`. */
  readonly id: string;
  /** From {@link loadSpec}. */
  readonly spec: Spec;
  /** Enter the rootfs without pivot_root, for one that lies in a ramdisk. */
  readonly noPivot?: boolean;
  /** Keep the caller's session keyring. */
  readonly noNewKeyring?: boolean;
  /** `fifo`: the caller may leave, {@link Container.start} starts it. `parent`: {@link ContainerProcess.start} does. */
  readonly startBy: "fifo" | "parent";
  /** Makes `<state directory>/notify` for an sd_notify proxy and binds it into the container. */
  readonly notify?: boolean;
  /** What the config needs beyond the usual, from {@link loadParts}. */
  readonly parts?: Parts;
  /** From {@link compileSeccomp}; needed where the config has a profile. */
  readonly seccomp?: SeccompFilter;
}

/** What `exec` starts. */
export interface ExecOptions extends ProcessOptions {
  /** The process; capability sets and noNewPrivileges that it does not have are the container's. */
  readonly process: Process;
  /** Into a paused container too: the process then waits until it is resumed. */
  readonly ignorePaused?: boolean;
  /** Cgroups below the container's to start in, which must exist. */
  readonly subCgroups?: SubCgroups;
  /** From {@link Container.compileSeccomp}; needed where the container has a profile. */
  readonly seccomp?: SeccompFilter;
}

/** A process that this program started in a container, and is the parent of. */
export class ContainerProcess implements Disposable {
  readonly #runtime: Runtime;
  readonly #launch: Launch;
  /** On the host. */
  readonly pid: number;
  /** Becomes readable when it ends. pidfd_open(2) */
  readonly pidfd: Fd;

  /** Takes `launch` over, after `created`. */
  constructor(runtime: Runtime, launch: Launch) {
    this.#runtime = runtime;
    this.#launch = launch;
    this.pid = launch.initPid;
    // It is our child and not reaped, so the pid cannot be another's.
    const pidfd = pidfdOpen(runtime.kernel, this.pid);
    if (pidfd === undefined) throw new RuncError("internal", `process ${this.pid} is gone before it was reaped`);
    this.pidfd = pidfd;
  }

  /** Lets a process that was created with `startBy: "parent"` become its program. @throws {RuncError} `hook-failed` of startContainer. */
  start(): void {
    this.#launch.goToExec();
  }

  /** Sends a signal. Returns 0 or −errno. */
  signal(signal: number): number {
    return pidfdSendSignal(this.#runtime.kernel, this.pidfd, signal);
  }

  /** Waits for its end without blocking the event loop, and reaps it. */
  async wait(): Promise<ExitStatus> {
    const { kernel } = this.#runtime;
    while ((await pollAsync(kernel, [{ fd: this.pidfd.number, events: POLLIN }]))[0] === 0);
    return this.reap();
  }

  /** Waits for its end and reaps it. */
  reap(): ExitStatus {
    return waitChild(this.#runtime.kernel, this.pid) ?? { code: 0 };
  }

  /** SIGKILL, and reaps it: after a failure. */
  abort(): void {
    this.#launch.abort();
  }

  /** Closes our descriptors; the process goes on. */
  [Symbol.dispose](): void {
    this.pidfd.close();
    this.#launch[Symbol.dispose]();
  }
}

/** A plan together with what it was made from. */
export interface PlannedContainer {
  /** What would be done. */
  readonly plan: Plan;
  /** The host. */
  readonly facts: HostFacts;
  /** What was asked for beside config.json. */
  readonly request: LaunchRequest;
  /** The container's cgroups, not made yet. */
  readonly cgroup: CgroupManager;
}

/**
 * How the stage gets into the cgroups. Once it is in a user namespace it may not be born into one (clone3 answers EACCES): the parent then
 * moves it, before it goes on.
 */
function cgroupEntry(selfJoin: SelfJoin, userNamespace: boolean): CgroupEntry {
  return userNamespace ? { taskFiles: [] } : selfJoin;
}

function cgroupOptions(runtime: Runtime, rootless: boolean) {
  return { kernel: runtime.kernel, rootless, inUserNamespace: inUserNamespace() };
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}

function systemdOptions(runtime: Runtime, rootless: boolean) {
  const warn = (message: string) => runtime.log("warning", message);
  return { ...cgroupOptions(runtime, rootless), environment: runtime.environment, warn };
}

function systemdCgroup(runtime: Runtime, id: string, { config, layout }: Spec): CgroupManager {
  requireSystemd(exists("/run/systemd/system"));
  if (runtime.systemd === undefined) {
    throw new RuncError("usage", "systemdCgroup needs the driver", {
      hint: "createRuntime({ systemdCgroup: true, systemd: await systemdDriver() })",
    });
  }
  const { annotations = {}, linux } = config;
  const request = { id, cgroupsPath: linux?.cgroupsPath, annotations, ownerUid: cgroupOwner({ config }) };
  return runtime.systemd.createSystemdManager(layout, request, systemdOptions(runtime, runtime.rootlessCgroups));
}

/** The cgroups of a container that exists. */
function loadCgroup(runtime: Runtime, state: RuncState): CgroupManager {
  const paths = cgroupPathsOf(state);
  const rootless = rootlessCgroupsOf(state);
  const fs = loadCgroupManager(paths, cgroupOptions(runtime, rootless));
  if (runtime.systemd === undefined || !systemdOf(state)) return fs;
  return runtime.systemd.loadSystemdManager(paths, systemdPathOf(state), systemdOptions(runtime, rootless));
}

/** Plans a container: reads the host's facts, makes nothing. `asRoot`: what root's plan would be. @throws {RuncError} */
export function planContainer(
  runtime: Runtime,
  options: Omit<CreateOptions, "stdio"> & { asRoot?: boolean },
): PlannedContainer {
  const { id, spec } = options;
  checkId(id);
  requireFilter(hasSeccomp(spec.config), options.seccomp);
  const cgroup = runtime.systemdCgroup ? systemdCgroup(runtime, id, spec) : createCgroupManager(
    spec.layout,
    { id, cgroupsPath: spec.config.linux?.cgroupsPath },
    cgroupOptions(runtime, runtime.rootlessCgroups),
  );
  const read = readFacts({
    kernel: runtime.kernel,
    layout: spec.layout,
    cgroupPaths: cgroup.paths,
    noPivot: options.noPivot ?? false,
    rootfs: spec.rootfs,
    config: spec.config,
  });
  const facts = options.asRoot ? { ...read, euid: 0 } : read;
  const request: LaunchRequest = {
    id,
    bundle: spec.bundle,
    rootfs: spec.rootfs,
    cgroup: cgroupEntry(cgroup.selfJoin, hasNamespace(spec.config, "user")),
    noPivot: options.noPivot ?? false,
    noNewKeyring: options.noNewKeyring ?? false,
    inheritedFds: options.inheritedFds ?? 0,
    listenFds: options.listenFds ?? 0,
    pidfdSocket: options.pidfdSocket !== undefined,
    startBy: options.startBy,
    seccomp: options.seccomp,
    notifyDirectory: options.notify ? new StateDirectory(runtime.root, id).notify : undefined,
  };
  return { plan: planCreate(spec.config, facts, request, options.parts), facts, request, cgroup };
}

/** Nothing runs without the filter that its config asks for. */
function requireFilter(isAsked: boolean, filter: SeccompFilter | undefined): void {
  if (isAsked === (filter !== undefined)) return;
  const message = isAsked
    ? "linux.seccomp asks for a filter, and none was given: compileSeccomp makes it"
    : "a seccomp filter was given, and linux.seccomp asks for none";
  throw new RuncError("usage", message, { field: "/linux/seccomp" });
}

/** Whether this host has only cgroup2: what {@link defaultSpec} asks. */
export function hasOnlyCgroup2(): boolean {
  return readCgroupLayout().mode === "v2";
}

/** Checks a config and its bundle. @see checkConfig */
export function loadSpec(
  runtime: Runtime,
  config: Config,
  bundle: string,
  options: { noPivot?: boolean; asRoot?: boolean } = {},
): Spec {
  return checkConfig(config, bundle, {
    noPivot: options.noPivot ?? false,
    asRoot: options.asRoot,
    layout: readCgroupLayout(),
    kernel: runtime.kernel,
    log: runtime.log,
    rootlessCgroups: runtime.rootlessCgroups,
    systemdCgroup: runtime.systemdCgroup,
  });
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
    const state = directory.load();
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
  static create(runtime: Runtime, options: CreateOptions): { container: Container; process: ContainerProcess } {
    return new Creation(runtime, options).run((directory, state, cgroup) =>
      new Container(runtime, directory, state, cgroup)
    );
  }

  /** Its name below the runtime's root. */
  get id(): string {
    return this.#state.id;
  }

  /** Host pid of the container's init. */
  get pid(): number {
    return this.#state.init_process_pid;
  }

  /** Absolute. */
  get bundle(): string {
    return bundleOf(this.#state);
  }

  /** Whether systemd made its cgroup: what removes it or enters it wants a runtime with {@link Runtime.systemd}. */
  get usesSystemd(): boolean {
    return systemdOf(this.#state);
  }

  get #alive(): boolean {
    return isAlive(this.pid, this.#state.init_process_start);
  }

  /** Computed from the kernel's view, never stored. */
  status(): Status {
    if (this.#cgroup.exists() && this.#cgroup.freezerState() === "frozen") return "paused";
    if (!this.#alive) return "stopped";
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
      created: this.#state.created,
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
    this.#openFifo();
    this.poststart();
  }

  /** poststart hooks; where one fails the container is killed. @throws {RuncError} `hook-failed`. */
  poststart(): void {
    try {
      this.runHooks("poststart", "running");
    } catch (error) {
      kill(this.#runtime.kernel, this.pid, 9);
      throw error;
    }
  }

  /** Reads the byte that init writes when the fifo opens: of two starts only one gets it. */
  #openFifo(): void {
    const { kernel } = this.#runtime;
    using fifo = open(kernel, this.#directory.fifo, openFlag(kernel.arch).O_NONBLOCK);
    using pidfd = pidfdOpen(kernel, this.pid);
    const byte = alloc(1);
    for (;;) {
      const watches = [{ fd: fifo.number, events: POLLIN }];
      if (pidfd !== undefined) watches.push({ fd: pidfd.number, events: POLLIN });
      const [ready = 0, ended = 0] = poll(kernel, watches, 100);
      if (ready === 0 && ended === 0 && pidfd !== undefined) {
        // Whoever opens a fifo that init has closed already is not told of its end: fifo(7). The start that was faster removes it.
        if (!this.#directory.hasFifo()) throw new RuncError("container-state", ALREADY_RUNNING);
        continue;
      }
      const got = kernel.retry("read", fifo.number, byte, 1);
      if (got === 1) break;
      if (ended !== 0 || pidfd === undefined || got === 0) {
        throw new RuncError("container-state", "exec fifo is empty: container init did not signal execve readiness", {
          hint: "its process has ended, or another start was faster",
        });
      }
    }
    removeIfThere(this.#directory.fifo);
  }

  /**
   * Sends a signal: to init, or for SIGKILL with a shared pid namespace to all processes of the cgroup.
   *
   * @throws {RuncError} `container-state` (`container not running`).
   */
  kill(signal: number, options: { all?: boolean } = {}): void {
    const { kernel } = this.#runtime;
    const sharedPids = !namespacesOf(this.#state).some(({ type }) => type === "pid");
    const notRunning = () => {
      if (!options.all) throw new RuncError("container-state", "container not running");
    };
    if (signal === 9 && sharedPids) {
      if (this.#killCgroup()) return;
      if (!this.#alive) return notRunning();
    }
    if (!this.#alive) return notRunning();
    const result = kill(kernel, this.pid, signal);
    if (result === -3) return notRunning();
    if (result < 0) throw new RuncError("syscall-failed", `unable to signal init: ${errnoText(-result)}`);
    // A frozen process does not die of it on v1 before it is thawed.
    if (signal === 9 && this.#cgroup.exists() && this.#cgroup.freezerState() === "frozen") this.#cgroup.thaw();
  }

  /** Whether it could. Without root the cgroup may be nobody's: init alone is killed then. */
  #killCgroup(): boolean {
    try {
      return this.#cgroup.kill((pid, number) => void kill(this.#runtime.kernel, pid, number));
    } catch (error) {
      if (!rootlessCgroupsOf(this.#state)) {
        throw error instanceof RuncError ? error.within("unable to kill all processes") : error;
      }
      this.#runtime.log(
        "warning",
        "only the container's first process is killed: its cgroup cannot be used; delegate cgroup v2 to the user who calls",
      );
      return false;
    }
  }

  /**
   * Removes a container that is stopped, or, after SIGKILL, one that was only created. `force`: kills it in any state.
   *
   * @throws {RuncError} `container-state` where it runs.
   */
  delete(options: { force?: boolean } = {}): void {
    const status = this.status();
    if (options.force) this.#killAndWait();
    else if (status === "created") this.#killAndWait();
    else if (status !== "stopped") {
      throw new RuncError("container-state", `cannot delete container ${this.id} that is not stopped: ${status}`, {
        hint: "runc kill stops it, runc delete --force does both",
      });
    }
    // Whose init was gone already: nothing has thawed what else is in there, and on v1 it cannot end before.
    if (status === "paused") this.#cgroup.thaw();
    this.destroy();
  }

  /** SIGKILL, then waits for the end by pidfd. @throws {RuncError} after 10 s, runc's limit. */
  #killAndWait(): void {
    const { kernel } = this.#runtime;
    using pidfd = this.#alive ? pidfdOpen(kernel, this.pid) : undefined;
    this.kill(9, { all: true });
    if (pidfd === undefined) return;
    const deadline = performance.now() + 10_000;
    while (poll(kernel, [{ fd: pidfd.number, events: POLLIN }], Math.max(0, deadline - performance.now()))[0] === 0) {
      if (performance.now() >= deadline) throw new RuncError("container-state", "container init still running");
    }
  }

  /** Removes cgroup and state of a container whose init is gone, then runs its poststop hooks; a failed one is logged. */
  destroy(): void {
    const sharedPids = !namespacesOf(this.#state).some(({ type }) => type === "pid");
    if (sharedPids && this.#cgroup.exists()) this.#killCgroup();
    try {
      this.#cgroup.destroy();
    } catch (error) {
      throw error instanceof RuncError ? error.within("unable to remove container's cgroup") : error;
    }
    this.#removeRdtGroup();
    this.#directory.remove();
    this.runHooks("poststop", "stopped", (error) => this.#runtime.log("warning", error.message));
  }

  #removeRdtGroup(): void {
    const group = rdtGroupOf(this.#state);
    try {
      if (group !== undefined) removeRdtGroup(group);
    } catch (error) {
      throw error instanceof RuncError ? error.within("unable to remove container's IntelRDT group") : error;
    }
  }

  /**
   * Stops all its processes, and returns when they have stopped.
   *
   * @throws {RuncError} `container-state` (`container not running`) unless it is created or running.
   */
  pause(): void {
    const status = this.status();
    if (status !== "running" && status !== "created") {
      throw new RuncError("container-state", "container not running", {
        hint: status === "paused" ? "it is paused already" : undefined,
      });
    }
    this.#cgroup.freeze();
  }

  /** Lets the processes of a paused container go on. @throws {RuncError} `container-state` (`container not paused`). */
  resume(): void {
    if (this.status() !== "paused") throw new RuncError("container-state", "container not paused");
    this.#cgroup.thaw();
  }

  /**
   * Changes its limits: what `resources` leaves out stays as it is, and device rules are never touched. Where the kernel refuses one, the old
   * ones are set again.
   *
   * @throws {RuncError} `container-state` (`container not running`); `cgroup-failed` for a limit that the kernel refuses.
   */
  async update(resources: Resources): Promise<void> {
    const { limitsOf, updatedLimits } = await import("./update.ts");
    if (this.status() === "stopped") throw new RuncError("container-state", "container not running");
    const cgroup = this.#state.config.cgroups ?? {};
    const stored = limitsOf(cgroup);
    const changed = updatedLimits(stored, resources);
    try {
      this.#cgroup.set(changed);
    } catch (error) {
      this.#setBack(stored);
      throw error;
    }
    this.#state = { ...this.#state, config: { ...this.#state.config, cgroups: withLimits(cgroup, changed) } };
    this.#directory.save(this.#state);
  }

  #setBack(limits: Resources): void {
    try {
      this.#cgroup.set(limits);
    } catch (error) {
      // The refusal that led here is the one to tell; this one says what is left behind.
      this.#runtime.log(
        "warning",
        `Setting back cgroup configs failed due to error: ${
          (error as Error).message
        }, your state.json and actual configs might be inconsistent.`,
      );
    }
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
    if (status === "stopped") throw new RuncError("container-state", "cannot exec in a stopped container");
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
  compileSeccomp(): Promise<SeccompFilter | undefined> {
    const profile = seccompOf(this.#state);
    return profile === undefined ? Promise.resolve(undefined) : compileStored(this.#runtime, profile);
  }

  /**
   * Starts a further process in the container.
   *
   * @throws {RuncError} and the process is gone again.
   */
  exec(options: ExecOptions): ContainerProcess {
    this.refuseExec(options);
    requireFilter(seccompOf(this.#state) !== undefined, options.seccomp);
    const process = this.#completeProcess(options.process);
    const problems = validateProcess(process, {
      selinux: process.selinuxLabel ? hasSelinux(this.#runtime.kernel) : false,
      rootlessEuid: Deno.uid() !== 0,
    });
    if (problems.length > 0) throw configError(problems);
    const { kernel } = this.#runtime;
    const namespaces = this.#joinable();
    // A cgroup that was asked for by name is that one or none.
    const isBelow = Object.keys(options.subCgroups ?? {}).length > 0;
    const cgroup = isBelow ? this.#subCgroup(options.subCgroups!) : this.#cgroup;
    const facts = readFacts({
      kernel,
      layout: readCgroupLayout(),
      cgroupPaths: this.#cgroup.paths,
      noPivot: false,
      rootfs: rootfsOf(this.#state),
      joinedPid: this.pid,
      config: {},
    });
    const { initial = "" } = process.execCPUAffinity ?? {};
    // In the words of runc's stage, which its tests look for.
    if (initial !== "") this.#runtime.log("debug", `nsexec of ${this.id}: affinity: ${affinityText(initial)}`);
    const plan = planExec(process, facts, {
      id: this.id,
      namespaces,
      cgroup: cgroupEntry(
        isBelow ? cgroup.selfJoin : cgroup.selfJoinOfExec(this.pid),
        namespaces.includes("user"),
      ),
      noNewKeyring: this.#state.config.no_new_keyring ?? false,
      umask: umaskOf(this.#state),
      annotations: annotationsOf(this.#state),
      inheritedFds: options.inheritedFds ?? 0,
      listenFds: options.listenFds ?? 0,
      pidfdSocket: options.pidfdSocket !== undefined,
      hasCpuset: hasCpusetOf(this.#state),
      personality: personalityOf(this.#state),
      memoryPolicy: memoryPolicyOf(this.#state),
      seccomp: options.seccomp,
    });
    warnOfCapabilities(this.#runtime, process, facts);
    const fds: Record<string, Fd> = socketFds(options);
    const killsBefore = cgroup.oomKills();
    try {
      for (const type of namespaces) {
        fds[`ns-${type}`] = open(kernel, `/proc/${this.pid}/ns/${namespaceKinds[type].file}`, 0);
      }
      const enterCgroup = (pid: number) => {
        if (isBelow) requireCgroups(cgroup.paths, pid);
        if (namespaces.includes("user")) cgroup.join(pid, isBelow ? undefined : this.pid);
        this.#joinRdtGroup(pid);
      };
      const hookState = this.#hookState("running");
      const launched = { ...options, process, fds, hookState, enterCgroup };
      return inContext(NOT_STARTED, () => launchExec(this.#runtime, plan, launched));
    } catch (error) {
      if (!(error instanceof RuncError) || cgroup.oomKills() === killsBefore) throw error;
      // Somebody in there was killed; it may have been ours.
      throw new RuncError(error.code, `${error.message} (possibly OOM-killed)`, { ...error, cause: error });
    } finally {
      for (const [name, fd] of Object.entries(fds)) if (name.startsWith("ns-")) fd.close();
    }
  }

  /** A group that is gone limits nothing any more. */
  #joinRdtGroup(pid: number): void {
    const group = rdtGroupOf(this.#state);
    if (group === undefined || !isThere(this.#runtime.kernel, group.path)) return;
    try {
      addToRdtGroup(group.path, pid);
    } catch (error) {
      throw error instanceof RuncError ? error.within(`error adding pid ${pid} to Intel RDT: intelrdt`) : error;
    }
  }

  #subCgroup(sub: SubCgroups): CgroupManager {
    const rootless = rootlessCgroupsOf(this.#state);
    const paths = subCgroupPaths(this.#cgroup.paths, sub);
    const { systemd } = this.#runtime;
    // Of a user who may not move processes there, systemd may.
    const [directory, top] = [paths[""], this.#cgroup.paths[""]];
    if (rootless && systemd && systemdOf(this.#state) && directory !== undefined && top !== undefined) {
      const options = { ...systemdOptions(this.#runtime, rootless), below: directory.slice(top.length) || "/" };
      return systemd.loadSystemdManager(paths, systemdPathOf(this.#state), options);
    }
    return loadCgroupManager(paths, cgroupOptions(this.#runtime, rootless));
  }

  /** What the process does not say of itself is the container's. */
  #completeProcess(process: Process): Process {
    const { scheduler, ioPriority, execCPUAffinity } = schedulingOf(this.#state);
    const { apparmorProfile, selinuxLabel } = securityOf(this.#state);
    return {
      ...process,
      apparmorProfile: process.apparmorProfile || apparmorProfile,
      selinuxLabel: process.selinuxLabel || selinuxLabel,
      scheduler: process.scheduler ?? scheduler,
      ioPriority: process.ioPriority ?? ioPriority,
      execCPUAffinity: process.execCPUAffinity ?? execCPUAffinity,
      capabilities: process.capabilities ?? capabilitiesOf(this.#state),
      noNewPrivileges: process.noNewPrivileges ?? this.#state.config.no_new_privileges,
      oomScoreAdj: this.#state.config.oom_score_adj ?? undefined,
    };
  }

  /** The namespaces that the config lists and that are not our own: setns(2) refuses to join the own user namespace. */
  #joinable(): readonly NamespaceType[] {
    return namespacesOf(this.#state).map(({ type }) => type).filter((type) => {
      const { file } = namespaceKinds[type];
      const theirs = Deno.statSync(`/proc/${this.pid}/ns/${file}`);
      const ours = Deno.statSync(`/proc/self/ns/${file}`);
      return theirs.ino !== ours.ino || theirs.dev !== ours.dev;
    });
  }
}

function socketFds(options: ProcessOptions): Record<string, Fd> {
  const fds: Record<string, Fd> = {};
  if (options.consoleSocket !== undefined) fds.console = options.consoleSocket;
  if (options.pidfdSocket !== undefined) fds["pidfd-socket"] = options.pidfdSocket;
  return fds;
}

function warnOfCapabilities(runtime: Runtime, process: Process, facts: HostFacts): void {
  if (process.capabilities === undefined) return;
  const { unknown } = capabilityNumbers(process.capabilities, facts.lastCapability);
  if (unknown.length > 0) {
    runtime.log("warning", `ignoring unknown or unavailable capabilities: [${unknown.join(" ")}]`);
  }
}

function warnOfPersonality(runtime: Runtime, { linux }: Config): void {
  const { flags = [] } = linux?.personality ?? {};
  if (flags.length > 0) runtime.log("warning", `ignoring unsupported personality flags: [${flags.join(" ")}]`);
}

/** Linux no longer limits the kernel's memory apart, and runc ignores both fields. */
function warnOfKernelMemory(runtime: Runtime, { memory }: Resources): void {
  if (memory?.kernel === undefined && memory?.kernelTCP === undefined) return;
  runtime.log("warning", "Kernel memory settings are ignored and will be removed");
}

/** process.rlimits, by the parent, who may raise what the process no longer may; and the caller's own limit of open files. */
function setRlimits(runtime: Runtime, pid: number, process: Process): void {
  const { kernel } = runtime;
  const files = rlimitNames.indexOf("RLIMIT_NOFILE");
  if (runtime.softFileLimit !== undefined && !process.rlimits?.some(({ type }) => type === "RLIMIT_NOFILE")) {
    const { hard } = getRlimit(kernel, pid, files);
    setRlimit(kernel, pid, files, { soft: BigInt(runtime.softFileLimit), hard });
  }
  process.rlimits?.forEach(({ type, soft, hard }, index) => {
    const result = setRlimit(kernel, pid, rlimitNames.indexOf(type), { soft: BigInt(soft), hard: BigInt(hard) });
    if (result < 0) {
      throw new RuncError(
        "syscall-failed",
        `error setting rlimits for ready process: error setting rlimit type ${rlimitNames.indexOf(type)}: ${
          errnoText(-result)
        }`,
        {
          field: `/process/rlimits/${index}`,
          call: `prlimit64(${pid}, ${type}, {soft: ${soft}, hard: ${hard}})`,
          errno: -result,
          errnoName: errnoName(-result),
          hint: result === -1 ? "raising a hard limit needs CAP_SYS_RESOURCE" : undefined,
        },
      );
    }
  });
}

const ALREADY_RUNNING = "cannot start an already running container";

/** Removes a file that another command may have removed meanwhile. */
function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** Stands before whatever goes wrong from the start of the stage until the process is its program: callers look for these words. */
const NOT_STARTED = "unable to start container process";

/** Speaks with the stage and init of an exec until the process is its program. */
function launchExec(
  runtime: Runtime,
  plan: Plan,
  options: ExecOptions & {
    fds: Readonly<Record<string, Fd>>;
    /** The container's, for a seccomp agent. */
    hookState: State;
    enterCgroup: (pid: number) => void;
  },
): ContainerProcess {
  // Always natively: in the container's mount namespace there is no Deno, nor the libraries that it needs.
  const launch = new Launch({ ...runtime, executor: "native" }, {
    plan,
    stdio: options.stdio,
    fds: options.fds,
    inheritedFds: options.inheritedFds ?? 0,
  });
  try {
    options.enterCgroup(launch.stagePid);
    launch.go();
    for (let said = launch.next(); said.kind !== "created"; said = launch.next()) {
      if (said.kind === "ready") {
        setRlimits(runtime, launch.initPid, options.process);
        launch.go(homeOf(options.process.user.uid, launch.passwd));
      } else if (said.kind === "seccomp") {
        handListener(runtime, launch, { ...options, fd: said.fd });
      }
    }
    runtime.log("debug", "setns_init: about to exec");
    return new ContainerProcess(runtime, launch);
  } catch (error) {
    launch.abort();
    launch[Symbol.dispose]();
    throw error;
  }
}

function handListener(
  { kernel }: Runtime,
  launch: Launch,
  { seccomp, fd, hookState }: { seccomp?: SeccompFilter; fd: number; hookState: State },
): void {
  handToAgent(kernel, seccomp!.profile, { pid: launch.initPid, fd }, hookState, () => launch.go());
}

/** One creation, and the way back where it fails. */
class Creation {
  readonly #runtime: Runtime;
  readonly #options: CreateOptions;
  readonly #config: Config;
  readonly #directory: StateDirectory;
  #isLaunched = false;
  #rdtGroup?: RdtGroup;
  /** Undoes what was done, last first. */
  readonly #undo: (() => void)[] = [];

  constructor(runtime: Runtime, options: CreateOptions) {
    this.#runtime = runtime;
    this.#options = options;
    this.#config = options.spec.config;
    this.#directory = new StateDirectory(runtime.root, options.id);
  }

  run(
    wrap: (directory: StateDirectory, state: RuncState, cgroup: CgroupManager) => Container,
  ): { container: Container; process: ContainerProcess } {
    const fds: Record<string, Fd> = {};
    try {
      const planned = planContainer(this.#runtime, this.#options);
      warnOfCapabilities(this.#runtime, this.#config.process!, planned.facts);
      warnOfPersonality(this.#runtime, this.#config);
      warnOfKernelMemory(this.#runtime, this.#config.linux?.resources ?? {});
      this.#directory.make(this.#runtime.kernel, this.#runtime.root);
      this.#undo.push(() => this.#directory.remove());
      if (this.#options.notify) Deno.mkdirSync(this.#directory.notify, { mode: 0o755 });
      this.#openFds(fds, planned);
      const { state, process } = inContext(NOT_STARTED, () => this.#launch(planned, fds));
      return { container: wrap(this.#directory, state, planned.cgroup), process };
    } catch (error) {
      for (const undo of this.#undo.reverse()) this.#tryUndo(undo);
      if (this.#undo.length > 0) this.#runPoststop();
      throw error;
    } finally {
      for (const [name, fd] of Object.entries(fds)) if (!this.#keeps(name)) fd.close();
    }
  }

  /** The caller's sockets stay open; what hooks print is read by the launch as long as there is one. */
  #keeps(name: string): boolean {
    return name === "console" || name === "pidfd-socket" || (this.#isLaunched && name.startsWith("hook-"));
  }

  /** A container that was never started is stopped all the same. */
  #runPoststop(): void {
    const { pid: _, ...state } = this.#hookState(0);
    runHooks(this.#runtime, "poststop", this.#config.hooks?.poststop, { ...state, status: "stopped" }, {
      goOn: (error) => this.#runtime.log("warning", error.message),
    });
  }

  #tryUndo(undo: () => void): void {
    try {
      undo();
    } catch (error) {
      // The failure that led here is the one to tell; this one says what is left behind.
      this.#runtime.log("warning", `while cleaning up: ${(error as Error).message}`);
    }
  }

  /** Opens what the stage is given. */
  #openFds(fds: Record<string, Fd>, { facts, request }: PlannedContainer): void {
    const { kernel } = this.#runtime;
    Object.assign(fds, socketFds(this.#options));
    if (this.#options.startBy === "fifo") {
      this.#directory.makeFifo(kernel, { uid: facts.rootUid, gid: facts.rootGid });
      fds.fifo = openPath(kernel, this.#directory.fifo);
    }
    for (const { type, path, from } of joinedNamespaces(this.#config)) {
      try {
        fds[`ns-${type}`] = open(kernel, path, 0);
      } catch (error) {
        throw new RuncError("config-invalid", `namespace path: ${(error as Error).message}`, {
          field: `${from}/path`,
          cause: error,
        });
      }
    }
    if (hasHelper(this.#config, facts, request)) {
      [fds["sources-init"], fds["sources-helper"]] = packetPair(kernel, "mount sources");
    }
    const hooks = this.#config.hooks;
    if (hooks?.createContainer?.length || hooks?.startContainer?.length) {
      fds["hook-stdout"] = memfd(kernel, "hook stdout");
      fds["hook-stderr"] = memfd(kernel, "hook stderr");
      fds["createContainer-stdin"] = memfd(kernel, "state");
      fds["startContainer-stdin"] = memfd(kernel, "state");
    }
  }

  #launch(
    planned: PlannedContainer,
    fds: Readonly<Record<string, Fd>>,
  ): { state: RuncState; process: ContainerProcess } {
    const { cgroup } = planned;
    const launch = new Launch(this.#runtime, {
      plan: planned.plan,
      stdio: this.#options.stdio,
      fds,
      inheritedFds: this.#options.inheritedFds ?? 0,
    });
    this.#isLaunched = true;
    // Held by nobody but those who use them: their ends are the sign that the other one is gone.
    fds["sources-init"]?.close();
    fds["sources-helper"]?.close();
    this.#undo.push(() => {
      launch.abort();
      launch[Symbol.dispose]();
    });
    // The stage starts meanwhile.
    try {
      cgroup.create(this.#config.linux?.resources, launch.stagePid);
      if (hasNamespace(this.#config, "user")) cgroup.join(launch.stagePid);
    } catch (error) {
      throw error instanceof RuncError ? error.within("unable to apply cgroup configuration") : error;
    }
    // Before the abort in order: the cgroup can go once its processes have.
    this.#undo.splice(-1, 0, () => cgroup.destroy());
    this.#enterRdtGroup(launch.stagePid);
    if (this.#config.linux?.namespaces?.every(({ type }) => type !== "pid") && cgroup.refused) {
      this.#runtime.log(
        "warning",
        "Creating a rootless container with no cgroup and no private pid namespace. Such configuration is strongly discouraged (as it is impossible to properly kill all container's processes) and will result in an error in a future runc version.",
      );
    }
    launch.go();
    const state = this.#tellingOom(
      cgroup,
      () => inContext("error during container init", () => this.#converse(launch, planned, fds)),
    );
    return { state, process: new ContainerProcess(this.#runtime, launch) };
  }

  #enterRdtGroup(pid: number): void {
    const { intelRdt } = this.#config.linux ?? {};
    const root = intelRdt === undefined ? undefined : resctrlRoot(this.#runtime.kernel);
    if (root === undefined) return;
    const group = new (partOf(this.#options.parts, "RdtGroup"))(root, this.#options.id, intelRdt!);
    this.#rdtGroup = group;
    this.#undo.splice(-1, 0, () => group.undo());
    try {
      group.make();
      group.join(pid);
    } catch (error) {
      throw error instanceof RuncError ? error.within("unable to apply Intel RDT configuration") : error;
    }
  }

  /** Whatever failed in init, after a kill for lack of memory that was the reason. */
  #tellingOom<Result>(cgroup: CgroupManager, action: () => Result): Result {
    try {
      return action();
    } catch (cause) {
      if (cgroup.oomKills() === 0) throw cause;
      throw new RuncError("step-failed", "container init was OOM-killed (memory limit too low?)", {
        cause,
        field: "/linux/resources/memory/limit",
      });
    }
  }

  /** Does what stage and init ask for, until the container is created. */
  #converse(launch: Launch, planned: PlannedContainer, fds: Readonly<Record<string, Fd>>): RuncState {
    const { linux, hooks, process } = this.#config;
    let limited = false;
    const limit = () => {
      if (!limited) {
        applyResources(planned.cgroup, linux?.resources ?? {});
        this.#rdtGroup?.limit();
      }
      limited = true;
    };
    let state: RuncState | undefined;
    for (;;) {
      const said = launch.next();
      switch (said.kind) {
        case "mapping":
          writeIdMaps(launch.stagePid, { uid: linux?.uidMappings ?? [], gid: linux?.gidMappings ?? [] }, {
            uid: planned.facts.euid,
            gid: Deno.gid() ?? 0,
          });
          launch.go();
          break;
        case "child":
          this.#writeHookStates(launch.initPid, fds);
          state = this.#describe(launch.initPid, planned);
          break;
        case "target": {
          using root = said.root;
          this.#makeTarget(root, said, planned);
          launch.go();
          break;
        }
        case "copyUp": {
          using from = said.from;
          using to = said.to;
          this.#copyUp({ from, to, uid: planned.facts.rootUid, gid: planned.facts.rootGid }, said.mount);
          launch.go();
          break;
        }
        case "network":
          partOf(this.#options.parts, "moveNetworkDevices")(this.#runtime, linux!.netDevices!, launch.initPid);
          launch.go();
          break;
        case "hooks": {
          limit();
          const hookState = this.#hookState(launch.initPid);
          runHooks(this.#runtime, "prestart", hooks?.prestart, hookState, { cwd: this.#options.spec.bundle });
          runHooks(this.#runtime, "createRuntime", hooks?.createRuntime, hookState, { cwd: this.#options.spec.bundle });
          launch.go();
          break;
        }
        case "ready":
          limit();
          setRlimits(this.#runtime, launch.initPid, process!);
          this.#directory.save(state!);
          launch.go(homeOf(process!.user.uid, launch.passwd));
          break;
        case "seccomp": {
          const { seccomp } = this.#options;
          handListener(this.#runtime, launch, { seccomp, fd: said.fd, hookState: this.#hookState(launch.initPid) });
          break;
        }
        case "created":
          this.#runtime.log("debug", "init: closing the pipe to signal completion");
          return state!;
      }
    }
  }

  /** The mount that init speaks of. */
  #mount(number: number, { request }: Pick<PlannedContainer, "request">): Mount {
    const mount = withNotify(this.#config, request).mounts?.[number];
    if (mount === undefined) throw new RuncError("internal", `init asked for mount ${number}, which there is not`);
    return mount;
  }

  #makeTarget(
    root: Fd,
    { mount: number, isFile }: { mount: number; isFile: boolean },
    planned: PlannedContainer,
  ): void {
    const mount = this.#mount(number, planned);
    const { rootUid: uid, rootGid: gid } = planned.facts;
    const path = destinationOf(mount, planned.request.rootfs);
    try {
      makeTarget(this.#runtime.kernel, root, { path, isFile, uid, gid });
    } catch (error) {
      throw error instanceof RuncError ? error.within(mountPrefix(mount)) : error;
    }
  }

  #copyUp(trees: { from: Fd; to: Fd; uid: number; gid: number }, number: number): void {
    const mount = this.#config.mounts![number]!;
    try {
      partOf(this.#options.parts, "copyTree").copyTree(this.#runtime.kernel, trees);
    } catch (error) {
      throw error instanceof RuncError ? error.within(`${mountPrefix(mount)}: tmpcopyup: failed to copy`) : error;
    }
  }

  #hookState(pid: number): State {
    const { annotations = {} } = this.#config;
    return {
      ociVersion: OCI_VERSION,
      id: this.#options.id,
      status: "creating",
      pid,
      bundle: this.#options.spec.bundle,
      ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
    };
  }

  /** What hooks in the container read: their pid is the container's own view of init. */
  #writeHookStates(pid: number, fds: Readonly<Record<string, Fd>>): void {
    if (fds["createContainer-stdin"] === undefined) return;
    const inside = { ...this.#hookState(pid), pid: makesNamespace(this.#config, "pid") ? 1 : pid };
    hookStateFile(this.#runtime.kernel, fds["createContainer-stdin"], { ...inside, status: "creating" });
    hookStateFile(this.#runtime.kernel, fds["startContainer-stdin"]!, { ...inside, status: "created" });
  }

  #describe(pid: number, planned: PlannedContainer): RuncState {
    const { spec, id } = this.#options;
    const startTime = processStat(pid)?.startTime ?? 0;
    return toRuncState({
      config: spec.config,
      id,
      bundle: spec.bundle,
      rootfs: spec.rootfs,
      pid,
      startTime,
      created: timestamp(),
      cgroupPaths: planned.cgroup.paths,
      kernelNamespaces: kernelNamespaces(),
      externalDescriptors: [0, 1, 2].map((fd) => linkOf(`/proc/${pid}/fd/${fd}`)),
      rootlessEuid: Deno.uid() !== 0,
      rootlessCgroups: this.#runtime.rootlessCgroups,
      systemdCgroup: this.#runtime.systemdCgroup,
      noPivot: this.#options.noPivot ?? false,
      noNewKeyring: this.#options.noNewKeyring ?? false,
      intelRdt: this.#rdtGroup,
      seccomp: this.#options.seccomp?.profile,
    });
  }
}

function linkOf(path: string): string {
  try {
    return Deno.readLinkSync(path);
  } catch {
    // Closed, or not ours to read: CRIU, which alone uses it, then has nothing to restore.
    return "";
  }
}

/** Now, RFC 3339 with nanoseconds. JavaScript's clock has milliseconds; the rest tells two containers of one millisecond apart. */
function timestamp(): string {
  const now = new Date().toISOString();
  const rest = String(Math.floor((performance.now() % 1) * 1e6)).padStart(6, "0");
  return now.replace("Z", `${rest}Z`);
}

/** For callers that must know who the container's root is on the host. */
export function rootOwner(config: Config): { uid: number; gid: number } {
  return { uid: hostRoot(config.linux?.uidMappings), gid: hostRoot(config.linux?.gidMappings) };
}

/** Device rules first: what may happen before a limit is refused is then contained. */
function applyResources(cgroup: CgroupManager, resources: Resources): void {
  cgroup.setDevices(resources.devices ?? []);
  try {
    cgroup.set(resources);
  } catch (error) {
    throw error instanceof RuncError ? error.within("error setting cgroup config for procHooks process") : error;
  }
}
