/**
 * Makes a container from a checkpoint, and undoes that if it fails. Runs in: parent.
 *
 * @module
 */

import { hasLimits } from "../../../cgroups/limits/limits.ts";
import type { CgroupManager } from "../../../cgroups/manager.ts";
import { RdtGroup } from "../../../cgroups/rdt/group.ts";
import { resctrlRoot } from "../../../cgroups/rdt/resctrl.ts";
import { inContext, RuncError } from "../../../errors.ts";
import { MountFlag, UmountFlag } from "../../../ffi/constants.ts";
import type { Fd } from "../../../ffi/fd.ts";
import { withFileErrors } from "../../../ffi/file_error.ts";
import { open } from "../../../ffi/files.ts";
import { cString, type Kernel } from "../../../ffi/kernel.ts";
import { RouteSocket } from "../../../ffi/netlink.ts";
import { Child } from "../../../ffi/process/child.ts";
import { kill } from "../../../ffi/process/process.ts";
import { runWaits, type Waits } from "../../../ffi/waits.ts";
import type { Hook, HookName } from "../../../specs/config.ts";
import type { State } from "../../../specs/state.ts";
import { inSpanWaits } from "../../../trace/tracer.ts";
import { type Act, perform } from "../../checkpoint/acts.ts";
import { readCreated } from "../../checkpoint/directories.ts";
import { makeMountPoints, mountPoints } from "../../checkpoint/mount_points.ts";
import { cgroupMode, type RestoreOptions } from "../../checkpoint/options.ts";
import { readMountFacts } from "../../checkpoint/facts.ts";
import { restore } from "../../checkpoint/restore.ts";
import { readRestoredFacts, restoredState } from "../../checkpoint/restored_state.ts";
import { rootOwner } from "../../config/id_mappings.ts";
import type { StartFlags } from "../../config/launch_request.ts";
import { makesNamespace } from "../../config/namespaces.ts";
import { runHook } from "../../launch/host_hooks.ts";
import { moveNetworkDevice } from "../../launch/network_devices.ts";
import type { Runtime } from "../../runtime.ts";
import type { SeccompFilter } from "../../seccomp/filter.ts";
import type { RuncState } from "../../state/runc_state.ts";
import { StateDirectory } from "../../state/store.ts";
import type { Spec } from "../bundle.ts";
import { ContainerHandle } from "../handle.ts";
import { creatingState, describeContainer, neverStartedState } from "../new_state.ts";
import { cgroupOf } from "../planning.ts";

/** The pid in a state without a process, as runc writes it. */
const NO_PROCESS = -1;

/** What a container is restored from. */
export interface RestorationOptions extends RestoreOptions, StartFlags {
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

/** A restored container and its first process, which is a child of this process. */
export interface Restored {
  readonly container: ContainerHandle;
  readonly process: Child;
}

/**
 * Makes a container from a checkpoint. Its processes run when it returns.
 *
 * @throws {RuncError} `container-exists`; `host-lacks` without a CRIU that can do it; `checkpoint-failed` with what CRIU
 * said. No cgroup, mount, process or state directory is left then.
 */
export function restoreContainer(runtime: Runtime, options: RestorationOptions): Restored {
  const work = () => restoring(runtime, options);
  return runWaits(runtime, inSpanWaits(runtime.trace, "restore the container's processes", work, { kind: "client" }));
}

/** The work of {@link restoreContainer}, for any driver of waits. */
export function* restoring(runtime: Runtime, options: RestorationOptions): Waits<Restored> {
  cgroupMode(options.manageCgroupsMode);
  const directory = new StateDirectory(runtime.root, options.id);
  const cgroup = yield* cgroupOf(runtime, options);
  const site: Site = { runtime, options, directory, cgroup, made: {} };
  yield* perform(restoreActs(site), runtime.log);
  const { process } = site.made;
  if (process === undefined) throw new RuncError("internal", "CRIU did not report the restored process");
  return { container: ContainerHandle.load(runtime, options.id), process };
}

/** A restore in progress. */
interface Site {
  readonly runtime: Runtime;
  readonly options: RestorationOptions;
  readonly directory: StateDirectory;
  readonly cgroup: CgroupManager;
  /** What exists by now. */
  readonly made: { hasCgroups?: boolean; rdtGroup?: RdtGroup; process?: Child };
}

/** The whole restore. */
function restoreActs(site: Site): readonly Act[] {
  const { runtime, options, directory, cgroup } = site;
  const { kernel } = runtime;
  const state = describeContainer(runtime, { ...options, startBy: "parent" }, { pid: NO_PROCESS, cgroup });
  return [
    {
      label: "make the state directory",
      // A directory that exists is another container's.
      does: () => directory.make(kernel, runtime.root),
    },
    // Last of all, when everything else is removed.
    { label: "run the poststop hooks", undo: () => runPoststop(runtime, options) },
    {
      label: "save the state, so that delete finds what there is if this process is killed",
      does: () => directory.save(kernel, state),
      undo: () => directory.remove(kernel),
    },
    ...(options.notify
      ? [{ label: "make the notify directory", does: () => Deno.mkdirSync(directory.notify, { mode: 0o755 }) }]
      : []),
    { label: "make the places of the mounts", does: () => makePlaces(site, state) },
    {
      label: "mount the rootfs for CRIU",
      does: () => mountRoot(kernel, options.spec.rootfs, directory),
      undo: () => unmountRoot(kernel, directory),
    },
    // CRIU is in the cgroups: they can be removed when it has ended.
    { label: "remove the cgroups", undo: () => leaveCgroups(site) },
    { label: "end the restored process", undo: () => endProcess(site) },
    { label: "restore the processes", does: () => restoreProcesses(site, state) },
    { label: "unmount the rootfs", does: () => unmountRoot(kernel, directory) },
  ];
}

function makePlaces({ runtime: { kernel }, options, directory }: Site, state: RuncState): void {
  const points = mountPoints(state, readMountFacts(kernel, state, directory));
  makeMountPoints(kernel, points, rootOwner(options.spec.config));
}

function restoreProcesses(site: Site, state: RuncState): Waits<void> {
  const { runtime, options, directory } = site;
  return restore(runtime, {
    state,
    directory,
    // CRIU compares it with paths in mountinfo, which have no symlinks.
    root: withFileErrors(() => Deno.realPathSync(directory.criuRoot)),
    stdio: options.stdio,
    consoleSocket: options.consoleSocket,
    enterCgroups: (pid) => enterCgroups(site, pid),
    namespacesMade: function* (pid) {
      fillNetwork(site, pid);
      yield* runHostHooks(site, pid);
    },
    restored: (pid) => saveState(site, pid),
  }, options);
}

/** CRIU's root must be a mount point, and no other mount may cover it. */
function mountRoot(kernel: Kernel, rootfs: string, { criuRoot }: StateDirectory): void {
  withFileErrors(() => Deno.mkdirSync(criuRoot, { mode: 0o755 }));
  const flags = MountFlag.MS_BIND | MountFlag.MS_REC;
  const call = `mount(${JSON.stringify(rootfs)}, ${JSON.stringify(criuRoot)}, MS_BIND|MS_REC)`;
  kernel.must(call, "mount", cString(rootfs), cString(criuRoot), null, flags, null);
}

function unmountRoot(kernel: Kernel, { criuRoot }: StateDirectory): void {
  kernel.call("umount2", cString(criuRoot), UmountFlag.MNT_DETACH);
  kernel.call("rmdir", cString(criuRoot));
}

/** Like `create`, which moves its stage: what CRIU makes is in the cgroups from its birth. */
function* enterCgroups(site: Site, pid: number): Waits<void> {
  const { options, cgroup, made } = site;
  const { resources = {} } = options.spec.config.linux ?? {};
  const limits = hasLimits(resources) ? resources : undefined;
  try {
    yield* cgroup.create(limits, pid);
    made.hasCgroups = true;
    yield* cgroup.join(pid);
  } catch (error) {
    throw error instanceof RuncError ? error.within("unable to apply cgroup configuration") : error;
  }
  yield* cgroup.setDevices(resources.devices ?? []);
  if (limits !== undefined) yield* cgroup.set(limits);
  enterRdtGroup(site, pid);
}

function enterRdtGroup({ runtime, options, made }: Site, pid: number): void {
  const { intelRdt } = options.spec.config.linux ?? {};
  const root = intelRdt === undefined ? undefined : resctrlRoot(runtime.kernel);
  if (root === undefined) return;
  const group = new RdtGroup(root, options.id, intelRdt!);
  made.rdtGroup = group;
  inContext("unable to apply Intel RDT configuration", () => {
    group.make();
    group.join(pid);
    group.limit();
  });
}

/** CRIU kills what it has made if it fails, but not if it was killed itself. */
function* leaveCgroups({ runtime: { kernel }, cgroup, made }: Site): Waits<void> {
  made.rdtGroup?.undo();
  // A cgroup that could not be made may be another container's.
  if (!made.hasCgroups) return;
  if (cgroup.exists()) yield* cgroup.kill((pid, signal) => void kill(kernel, pid, signal));
  yield* cgroup.destroy();
}

/**
 * CRIU makes an empty network namespace. Unlike runc, this gives it what `create` gives it: the loopback device, and the
 * devices of `linux.netDevices`, which have come back to the host with the end of the saved container.
 */
function fillNetwork({ runtime, options: { spec: { config } } }: Site, pid: number): void {
  if (!makesNamespace(config, "network")) return;
  const { kernel } = runtime;
  using namespace = open(kernel, `/proc/${pid}/ns/net`, 0);
  using socket = RouteSocket.open(kernel, namespace);
  socket.setUp(socket.deviceIndex("lo"), true);
  for (const [name, device] of Object.entries(config.linux?.netDevices ?? {})) {
    moveNetworkDevice(runtime, name, device, pid);
  }
}

function* runHostHooks({ runtime, options }: Site, pid: number): Waits<void> {
  const { config: { hooks }, bundle } = options.spec;
  const state = creatingState(options, pid);
  yield* runHooks(runtime, { name: "prestart", hooks: hooks?.prestart, cwd: bundle }, state);
  yield* runHooks(runtime, { name: "createRuntime", hooks: hooks?.createRuntime, cwd: bundle }, state);
}

function* runPoststop(runtime: Runtime, options: RestorationOptions): Waits<void> {
  const { poststop = [] } = options.spec.config.hooks ?? {};
  for (const [index, hook] of poststop.entries()) {
    try {
      yield* runHook(runtime, { name: "poststop", index, hook }, neverStartedState(options));
    } catch (error) {
      // The others still run.
      runtime.log("warning", (error as Error).message);
    }
  }
}

function* runHooks(
  runtime: Runtime,
  { name, hooks = [], cwd }: { name: HookName; hooks?: readonly Hook[]; cwd: string },
  state: State,
): Waits<void> {
  for (const [index, hook] of hooks.entries()) yield* runHook(runtime, { name, index, hook, cwd }, state);
}

/** Saves the state while the processes are restored but do not run yet. */
function saveState(site: Site, pid: number): void {
  const { runtime, options, directory, cgroup, made } = site;
  const { kernel } = runtime;
  // As for a stage, a number in a message is believed only if it is our child's.
  const process = Child.find(kernel, pid);
  if (process === undefined) throw new RuncError("protocol", `CRIU restored process ${pid}, which is not our child`);
  made.process = process;
  const described = describeContainer(runtime, { ...options, startBy: "parent" }, {
    pid,
    cgroup,
    rdtGroup: made.rdtGroup,
  });
  directory.save(
    kernel,
    restoredState(described, { ...readRestoredFacts(pid, options.stdio), created: readCreated(options.imagePath) }),
  );
}

function endProcess({ made: { process } }: Site): void {
  process?.signal(9);
  process?.reap();
  process?.[Symbol.dispose]();
}
