/**
 * How a container is planned and created. Runs in: parent.
 *
 * @module
 */

import { requireSystemd } from "../../cgroups/path.ts";
import { RdtGroup } from "../../cgroups/rdt/group.ts";
import { hasLimits } from "../../cgroups/limits/limits.ts";
import type { CgroupManager } from "../../cgroups/manager.ts";
import { createCgroupManager } from "../../cgroups/open.ts";
import { createSystemdManager } from "../../cgroups/systemd/manager.ts";
import { resctrlRoot } from "../../cgroups/rdt/resctrl.ts";
import { inContext, RuncError } from "../../errors.ts";
import { formatUtc, realTime } from "../../ffi/clock.ts";
import { errnoText } from "../../ffi/errno.ts";
import type { Fd } from "../../ffi/fd.ts";
import { memfd, open, openPath } from "../../ffi/files.ts";
import type { Kernel } from "../../ffi/kernel.ts";
import { kill } from "../../ffi/process/process.ts";
import { packetPair } from "../../ffi/sockets.ts";
import type { Plan } from "../../plan/op.ts";
import type { Config, Resources } from "../../specs/config.ts";
import { OCI_VERSION, type State } from "../../specs/state.ts";
import { inSpan } from "../../trace/tracer.ts";
import { kernelNamespaces, type Spec } from "./bundle.ts";
import type { Container } from "./container.ts";
import { cgroupEntry, cgroupOptions, systemdOptions, withTrace } from "./container_cgroups.ts";
import {
  ContainerProcess,
  handListener,
  NOT_STARTED,
  type ProcessOptions,
  requireFilter,
  restoreFileLimit,
  setRlimits,
  socketFds,
  warnOfCapabilities,
} from "./container_process.ts";
import { copyTree, type Trees } from "../launch/copy_tree.ts";
import { directoryOf } from "../steps/devices.ts";
import { readFacts } from "../config/facts.ts";
import { HookStateFile } from "../launch/hook_state.ts";
import { runHooks } from "../launch/host_hooks.ts";
import { writeIdMaps } from "../launch/id_maps.ts";
import { moveNetworkDevices } from "../launch/network_devices.ts";
import { Launch } from "../launch/launch.ts";
import type { HostFacts, LaunchRequest } from "../config/launch_request.ts";
import { makeTarget } from "../launch/make_target.ts";
import type { ParsedMount } from "../config/mounts.ts";
import { mountPrefix } from "../steps/mounts/messages.ts";
import { hasNamespace, joinedNamespaces, makesNamespace } from "../config/namespaces.ts";
import { enterWithoutClone3, withoutRefused } from "../plans/outer_sandbox.ts";
import { homeOf } from "../launch/passwd.ts";
import { containerMounts, hasHelper, planCreate, saidInCreate } from "../plans/create.ts";
import { processStat } from "../state/process_status.ts";
import { FIRST_DEVICE } from "../steps/protocol.ts";
import type { RuncState } from "../state/runc_state.ts";
import { cgroupOwner, toRuncState } from "../state/to_runc_state.ts";
import type { Runtime } from "../runtime.ts";
import { hasSeccomp, type SeccompFilter } from "../seccomp/filter.ts";
import { checkId, StateDirectory } from "../state/store.ts";

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
  /** From {@link compileSeccomp}; needed where the config has a profile. */
  readonly seccomp?: SeccompFilter;
  /**
   * Is called while the container's process is being set up, and this one would only wait: what takes time and needs nothing but that process's pid
   * is done meanwhile. What it throws ends the creation.
   */
  readonly onProcess?: (container: Container) => void;
}

/** A plan together with what it was made from. */
export interface PlannedContainer {
  /** What would be done. */
  readonly plan: Plan;
  /** The host. */
  readonly facts: HostFacts;
  /** What was asked for beside config.json. */
  readonly request: LaunchRequest;
  /** What is mounted: the config's mounts, and what this runtime adds. */
  readonly mounts: readonly ParsedMount[];
  /** The container's cgroups, not made yet. */
  readonly cgroup: CgroupManager;
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}

function systemdCgroup(runtime: Runtime, id: string, { config, mounts, layout }: Spec): CgroupManager {
  requireSystemd(exists("/run/systemd/system"));
  const { annotations = {}, linux } = config;
  const request = { id, cgroupsPath: linux?.cgroupsPath, annotations, ownerUid: cgroupOwner({ config, mounts }) };
  return createSystemdManager(layout, request, systemdOptions(runtime, runtime.rootlessCgroups));
}

/** Plans a container: reads the host's facts, makes nothing. `asRoot`: what root's plan would be. @throws {RuncError} */
export function planContainer(
  runtime: Runtime,
  options: Omit<CreateOptions, "stdio"> & { asRoot?: boolean },
): PlannedContainer {
  const { id, spec } = options;
  checkId(id);
  requireFilter(hasSeccomp(spec.config), options.seccomp);
  const manager = runtime.systemdCgroup ? systemdCgroup(runtime, id, spec) : createCgroupManager(
    spec.layout,
    { id, cgroupsPath: spec.config.linux?.cgroupsPath },
    cgroupOptions(runtime, runtime.rootlessCgroups),
  );
  const cgroup = withTrace(runtime, manager);
  const input = {
    kernel: runtime.kernel,
    layout: spec.layout,
    cgroupPaths: cgroup.paths,
    rootlessCgroups: runtime.rootlessCgroups,
    noPivot: options.noPivot ?? false,
    rootfs: spec.rootfs,
    config: spec.config,
    process: spec.config.process!,
    deniesSetgroups: spec.deniesSetgroups,
  };
  const read = inSpan(runtime.trace, "read the host's facts", () => readFacts(input));
  const facts = options.asRoot ? { ...read, euid: 0, mayTrace: true } : read;
  const request: LaunchRequest = {
    id,
    bundle: spec.bundle,
    rootfs: spec.rootfs,
    cgroup: enterWithoutClone3(cgroupEntry(cgroup.selfJoin, hasNamespace(spec.config, "user")), facts.refused),
    stageIsMoved: runtime.systemdCgroup || spec.config.linux?.intelRdt !== undefined,
    noPivot: options.noPivot ?? false,
    noNewKeyring: options.noNewKeyring ?? false,
    inheritedFds: options.inheritedFds ?? 0,
    listenFds: options.listenFds ?? 0,
    pidfdSocket: options.pidfdSocket !== undefined,
    startBy: options.startBy,
    seccomp: options.seccomp,
    executor: runtime.executor,
    notifyDirectory: options.notify ? new StateDirectory(runtime.root, id).notify : undefined,
  };
  const mounts = containerMounts(spec.config, request, spec.mounts);
  const make = () => withoutRefused(planCreate(spec.config, facts, request, mounts), facts.refused, facts.arch);
  const plan = inSpan(runtime.trace, "plan", make);
  return { plan, facts, request, mounts, cgroup };
}

/** A container that is being made. */
export interface PendingContainer {
  readonly directory: StateDirectory;
  readonly state: RuncState;
  readonly cgroup: CgroupManager;
}

/** A container that was made, and its process. */
export interface Created extends PendingContainer {
  readonly process: ContainerProcess;
}

/** Creates a container. `onProcess`: see {@link CreateOptions}. @see Container.create */
export function createContainer(
  runtime: Runtime,
  options: CreateOptions,
  onProcess: (container: PendingContainer) => void,
): Created {
  return new Creation(runtime, options, onProcess).run();
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

/** One creation, and the way back where it fails. */
class Creation {
  readonly #runtime: Runtime;
  readonly #options: CreateOptions;
  readonly #config: Config;
  readonly #directory: StateDirectory;
  readonly #limits?: Resources;
  readonly #onProcess: (container: PendingContainer) => void;
  readonly #hookStates: { createContainer?: HookStateFile; startContainer?: HookStateFile } = {};
  #isLaunched = false;
  #rdtGroup?: RdtGroup;
  /** Undoes what was done, last first. */
  readonly #undo: (() => void)[] = [];

  constructor(runtime: Runtime, options: CreateOptions, onProcess: (container: PendingContainer) => void) {
    this.#runtime = runtime;
    this.#options = options;
    this.#onProcess = onProcess;
    this.#config = options.spec.config;
    this.#directory = new StateDirectory(runtime.root, options.id);
    const { resources = {} } = this.#config.linux ?? {};
    if (hasLimits(resources)) this.#limits = resources;
  }

  run(): Created {
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
      return { directory: this.#directory, cgroup: planned.cgroup, state, process };
    } catch (error) {
      for (const undo of this.#undo.reverse()) this.#tryUndo(undo);
      if (this.#undo.length > 0) this.#runPoststop();
      throw error;
    } finally {
      for (const [name, fd] of Object.entries(fds)) if (!this.#keeps(name)) fd.close();
      for (const file of Object.values(this.#hookStates)) file[Symbol.dispose]();
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
  #openFds(fds: Record<string, Fd>, { facts, mounts }: PlannedContainer): void {
    const { kernel } = this.#runtime;
    Object.assign(fds, socketFds(this.#options));
    if (this.#options.startBy === "fifo") {
      this.#directory.makeFifo(kernel, { uid: facts.rootUid, gid: facts.rootGid });
      fds.fifo = openPath(kernel, this.#directory.fifo);
    }
    for (const { type, path, from } of joinedNamespaces(this.#config)) {
      try {
        fds[`ns-${type}`] = open(kernel, path, 0);
      } catch (cause) {
        if (!(cause instanceof RuncError)) throw cause;
        const { errno = 0, errnoName } = cause;
        const why = `namespace path: lstat ${path}: ${errnoText(errno)}`;
        throw new RuncError("config-invalid", `unable to create new parent process: ${why}`, {
          field: `${from}/path`,
          errno,
          errnoName,
          cause,
        });
      }
    }
    if (hasHelper(mounts, this.#config, facts)) {
      [fds["sources-init"], fds["sources-helper"]] = packetPair(kernel, "mount sources");
    }
    const hooks = this.#config.hooks;
    if (hooks?.createContainer?.length || hooks?.startContainer?.length) {
      fds["hook-stdout"] = memfd(kernel, "hook stdout");
      fds["hook-stderr"] = memfd(kernel, "hook stderr");
      for (const name of ["createContainer", "startContainer"] as const) {
        this.#hookStates[name] = new HookStateFile(kernel);
        fds[`${name}-stdin`] = this.#hookStates[name].stdin;
      }
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
      waits: this.#options.startBy === "fifo",
      says: saidInCreate(this.#config, planned.request, fds["sources-init"] !== undefined, planned.mounts),
      filtered: planned.request.seccomp !== undefined,
      refused: planned.facts.refused,
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
      cgroup.create(this.#limits, launch.stagePid);
      // Before the abort in order: the cgroup can go once its processes have.
      this.#undo.splice(-1, 0, () => cgroup.destroy(), () => this.#killLeft(cgroup));
      if (hasNamespace(this.#config, "user")) cgroup.join(launch.stagePid);
    } catch (error) {
      throw error instanceof RuncError ? error.within("unable to apply cgroup configuration") : error;
    }
    this.#enterRdtGroup(launch.stagePid);
    if (!makesNamespace(this.#config, "pid") && cgroup.refused) {
      this.#runtime.log(
        "warning",
        "Creating a rootless container with no cgroup and no private pid namespace. Such configuration is strongly discouraged (as it is impossible to properly kill all container's processes) and will result in an error in a future runc version.",
      );
    }
    launch.go();
    const state = this.#tellingOom(
      cgroup,
      () => inContext("error during container init", () => this.#converse(launch, planned)),
    );
    const onListener = (fd: number) => this.#handListener(launch, fd);
    return { state, process: new ContainerProcess(this.#runtime, launch, onListener) };
  }

  /** Init is gone, and all of its pid namespace with it; in another's namespace a hook of its may still run. */
  #killLeft(cgroup: CgroupManager): void {
    if (makesNamespace(this.#config, "pid") || !cgroup.exists()) return;
    cgroup.kill((pid, signal) => void kill(this.#runtime.kernel, pid, signal));
  }

  #enterRdtGroup(pid: number): void {
    const { intelRdt } = this.#config.linux ?? {};
    const root = intelRdt === undefined ? undefined : resctrlRoot(this.#runtime.kernel);
    if (root === undefined) return;
    const group = new RdtGroup(root, this.#options.id, intelRdt!);
    this.#rdtGroup = group;
    this.#undo.splice(-1, 0, () => group.undo());
    try {
      inSpan(this.#runtime.trace, "make the Intel RDT group", () => {
        group.make();
        group.join(pid);
      });
    } catch (error) {
      throw error instanceof RuncError ? error.within("unable to apply Intel RDT configuration") : error;
    }
  }

  /** Whatever failed in init, after a kill for lack of memory that was the reason. */
  #tellingOom<Result>(cgroup: CgroupManager, action: () => Result): Result {
    try {
      return action();
    } catch (cause) {
      if (isInterrupted(cause) || cgroup.oomKills() === 0) throw cause;
      throw new RuncError("step-failed", "container init was OOM-killed (memory limit too low?)", {
        cause,
        field: "/linux/resources/memory/limit",
      });
    }
  }

  /** Does what stage and init ask for, until the container is created. */
  #converse(launch: Launch, planned: PlannedContainer): RuncState {
    const { linux, hooks, process } = this.#config;
    const { trace } = this.#runtime;
    let limited = false;
    const limit = () => {
      if (!limited) {
        // Device rules first: what may happen before a limit is refused is then contained.
        planned.cgroup.setDevices(linux?.resources?.devices ?? []);
        applyLimits(planned.cgroup, this.#limits);
        this.#rdtGroup?.limit();
      }
      limited = true;
    };
    let state: RuncState | undefined;
    for (;;) {
      const said = launch.next();
      switch (said.kind) {
        case "mapping":
          inSpan(trace, "write the id maps", () => this.#mapIds(launch.stagePid, planned));
          launch.go();
          break;
        case "child":
          this.#writeHookStates(launch.initPid);
          state = inSpan(trace, "describe the container", () => this.#describe(launch.initPid, planned));
          break;
        case "target": {
          using root = said.root;
          inSpan(trace, "make the place of a mount", () => this.#makeTarget(root, said, planned));
          launch.go();
          break;
        }
        case "copyUp": {
          using from = said.from;
          using to = said.to;
          const { rootUid: uid, rootGid: gid } = planned.facts;
          inSpan(trace, "copy up", () => this.#copyUp(launch, { from, to, uid, gid }, said.mount, planned));
          launch.go();
          break;
        }
        case "network":
          inSpan(trace, "move network devices", () => {
            moveNetworkDevices(this.#runtime, linux!.netDevices!, launch.initPid);
          });
          launch.go();
          break;
        case "hooks": {
          limit();
          const hookState = this.#hookState(launch.initPid);
          runHooks(this.#runtime, "prestart", hooks?.prestart, hookState, { cwd: this.#options.spec.bundle });
          runHooks(this.#runtime, "createRuntime", hooks?.createRuntime, hookState, { cwd: this.#options.spec.bundle });
          if (hooks?.createContainer?.length) restoreFileLimit(this.#runtime, launch.initPid);
          launch.go();
          // From here init has most to do without us.
          this.#onProcess({ directory: this.#directory, cgroup: planned.cgroup, state: state! });
          break;
        }
        case "ready":
          limit();
          setRlimits(this.#runtime, launch.initPid, process!);
          inSpan(trace, "save the state", () => this.#directory.save(this.#runtime.kernel, state!));
          launch.go(homeOf(process!.user.uid, launch.passwd));
          break;
        case "seccomp":
          this.#handListener(launch, said.fd);
          break;
        case "created":
          this.#runtime.log("debug", "init: closing the pipe to signal completion");
          return state!;
      }
    }
  }

  #handListener(launch: Launch, fd: number): void {
    const { seccomp } = this.#options;
    handListener(this.#runtime, launch, { seccomp, fd, hookState: this.#hookState(launch.initPid) });
  }

  #mapIds(pid: number, { facts }: PlannedContainer): void {
    const { uidMappings = [], gidMappings = [] } = this.#config.linux ?? {};
    writeIdMaps(pid, { uid: uidMappings, gid: gidMappings }, { uid: facts.euid, gid: Deno.gid() ?? 0 });
  }

  /** The mount that init speaks of. */
  #mount(number: number, { mounts }: PlannedContainer): ParsedMount {
    const mount = mounts[number];
    if (mount === undefined) throw new RuncError("internal", `init asked for mount ${number}, which there is not`);
    return mount;
  }

  #makeTarget(
    root: Fd,
    { mount: number, isFile }: { mount: number; isFile: boolean },
    planned: PlannedContainer,
  ): void {
    const { rootUid: uid, rootGid: gid } = planned.facts;
    const { path, prefix } = this.#place(number, planned);
    try {
      makeTarget(this.#runtime.kernel, root, { path, isFile, uid, gid });
    } catch (error) {
      throw error instanceof RuncError ? error.within(prefix) : error;
    }
  }

  /** What init speaks of: a mount's place, or the directory of a device. */
  #place(number: number, planned: PlannedContainer): { path: string; prefix: string } {
    const device = this.#config.linux?.devices?.[number - FIRST_DEVICE];
    if (device !== undefined) return { path: directoryOf(device), prefix: `cannot make ${device.path}` };
    const { mount, destination } = this.#mount(number, planned);
    return { path: destination, prefix: mountPrefix(mount) };
  }

  #copyUp(launch: Launch, trees: Trees, number: number, planned: PlannedContainer): void {
    const { mount } = this.#mount(number, planned);
    try {
      copyTree(this.#runtime.kernel, trees, (from, to) => launch.fill(from, to));
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
  #writeHookStates(pid: number): void {
    const { createContainer, startContainer } = this.#hookStates;
    const inside = { ...this.#hookState(pid), pid: makesNamespace(this.#config, "pid") ? 1 : pid };
    createContainer?.write({ ...inside, status: "creating" });
    startContainer?.write({ ...inside, status: "created" });
  }

  #describe(pid: number, planned: PlannedContainer): RuncState {
    const { spec, id } = this.#options;
    const startTime = processStat(pid)?.startTime ?? 0;
    return toRuncState({
      config: spec.config,
      mounts: spec.mounts,
      id,
      bundle: spec.bundle,
      rootfs: spec.rootfs,
      pid,
      startTime,
      created: timestamp(this.#runtime.kernel),
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

function isInterrupted(error: unknown): boolean {
  return error instanceof RuncError && error.code === "interrupted";
}

function linkOf(path: string): string {
  try {
    return Deno.readLinkSync(path);
  } catch {
    // Closed, or not ours to read: CRIU, which alone uses it, then has nothing to restore.
    return "";
  }
}

/** Now, RFC 3339 with nanoseconds. */
function timestamp(kernel: Kernel): string {
  return formatUtc(realTime(kernel));
}

function applyLimits(cgroup: CgroupManager, limits: Resources | undefined): void {
  try {
    if (limits !== undefined) cgroup.set(limits);
  } catch (error) {
    throw error instanceof RuncError ? error.within("error setting cgroup config for procHooks process") : error;
  }
}
