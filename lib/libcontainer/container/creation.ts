/**
 * Creates a container, and undoes the creation if it fails. Runs in: parent.
 *
 * @module
 */

import { hasLimits } from "../../cgroups/limits/limits.ts";
import type { CgroupManager } from "../../cgroups/manager.ts";
import { RdtGroup } from "../../cgroups/rdt/group.ts";
import { resctrlRoot } from "../../cgroups/rdt/resctrl.ts";
import { inContext, RuncError } from "../../errors.ts";
import { kill } from "../../ffi/process/process.ts";
import type { Config, Resources } from "../../specs/config.ts";
import { inSpan } from "../../trace/tracer.ts";
import { hasNamespace, makesNamespace } from "../config/namespaces.ts";
import { runHooks } from "../launch/host_hooks.ts";
import { Launch } from "../launch/launch.ts";
import { saidInCreate } from "../plans/create.ts";
import type { Runtime } from "../runtime.ts";
import { StateDirectory } from "../state/store.ts";
import { ContainerProcess, NOT_STARTED, type ProcessOptions, warnOfCapabilities } from "./container_process.ts";
import { converse, type Creating, handListenerOf, type PendingContainer } from "./creation_messages.ts";
import { neverStartedState } from "./new_state.ts";
import { planContainer, type PlannedContainer, type PlanOptions } from "./planning.ts";
import { StageDescriptors } from "./stage_descriptors.ts";
import { Undo } from "./undo.ts";

/** The options of {@link createContainer}. */
export type CreationOptions = PlanOptions & ProcessOptions;

/** A new container and its process. */
export interface Created extends PendingContainer {
  readonly process: ContainerProcess;
}

/** Creates a container. `onProcess` is called while init works alone for the longest time. @see Container.create */
export function createContainer(
  runtime: Runtime,
  options: CreationOptions,
  onProcess: (container: PendingContainer) => void,
): Created {
  const directory = new StateDirectory(runtime.root, options.id);
  const planned = planContainer(runtime, options);
  warnOfIgnored(runtime, options.spec.config, planned);
  // The descriptors are closed after the undo, and also after a success.
  using descriptors = new StageDescriptors(runtime.kernel);
  using undo = new Undo(runtime.log);
  makeDirectory(runtime, options, directory, undo);
  descriptors.open(options, planned, directory);
  const site: Site = { runtime, options, planned, directory, descriptors, onProcess };
  const made = inContext(NOT_STARTED, () => launchProcess(site, undo));
  undo.keep();
  return { directory, cgroup: planned.cgroup, ...made };
}

/** The inputs of a launch. */
interface Site extends Pick<Creating, "runtime" | "planned" | "directory" | "onProcess"> {
  readonly options: CreationOptions;
  readonly descriptors: StageDescriptors;
}

function warnOfIgnored(runtime: Runtime, config: Config, { facts }: PlannedContainer): void {
  warnOfCapabilities(runtime, config.process!, facts);
  warnOfPersonality(runtime, config);
  warnOfKernelMemory(runtime, config.linux?.resources ?? {});
}

function warnOfPersonality(runtime: Runtime, { linux }: Config): void {
  const { flags = [] } = linux?.personality ?? {};
  if (flags.length > 0) runtime.log("warning", `ignoring unsupported personality flags: [${flags.join(" ")}]`);
}

/** Linux no longer limits kernel memory separately, and runc ignores both fields. */
function warnOfKernelMemory(runtime: Runtime, { memory }: Resources): void {
  if (memory?.kernel === undefined && memory?.kernelTCP === undefined) return;
  runtime.log("warning", "Kernel memory settings are ignored and will be removed");
}

/** Creates the state directory. The container exists from here on. Before, no undo and no hook are necessary. */
function makeDirectory(runtime: Runtime, options: CreationOptions, directory: StateDirectory, undo: Undo): void {
  directory.make(runtime.kernel, runtime.root);
  // The hooks run last, after everything else is removed.
  undo.defer(() => runPoststop(runtime, options));
  undo.defer(() => directory.remove());
  if (options.notify) Deno.mkdirSync(directory.notify, { mode: 0o755 });
}

function runPoststop(runtime: Runtime, options: CreationOptions): void {
  runHooks(runtime, "poststop", options.spec.config.hooks?.poststop, neverStartedState(options), {
    goOn: (error) => runtime.log("warning", error.message),
  });
}

function launchProcess(site: Site, undo: Undo): Pick<Created, "state" | "process"> {
  const { runtime, options, planned: { cgroup }, descriptors } = site;
  // The cgroup and the resctrl group are created after the stage, which enters them. They can be removed only after
  // their processes have ended.
  const groups = undo.place();
  const launch = startStage(site, undo);
  const limits = limitsOf(options.spec.config);
  // Meanwhile, the stage starts.
  inContext("unable to apply cgroup configuration", () => makeCgroup(site, launch.stagePid, { limits, undo: groups }));
  const rdtGroup = makeRdtGroup(site, launch.stagePid, groups);
  warnOfNoCgroup(runtime, options.spec.config, cgroup);
  launch.go();
  const creating: Creating = { ...site, launch, hookStates: descriptors.hookStates, limits, rdtGroup };
  const state = tellingOom(cgroup, () => inContext("error during container init", () => converse(creating)));
  const onListener = (fd: number) => handListenerOf(runtime, options, launch, fd);
  return { state, process: new ContainerProcess(runtime, launch, onListener) };
}

function limitsOf({ linux }: Config): Resources | undefined {
  const { resources = {} } = linux ?? {};
  return hasLimits(resources) ? resources : undefined;
}

function startStage({ runtime, options, planned, descriptors }: Site, undo: Undo): Launch {
  const launch = new Launch(runtime, {
    plan: planned.plan,
    stdio: options.stdio,
    fds: descriptors.fds,
    inheritedFds: options.inheritedFds ?? 0,
    waits: options.startBy === "fifo",
    says: saidInCreate(options.spec.config, planned.request, descriptors.hasHelper, planned.mounts),
    filtered: planned.request.seccomp !== undefined,
    refused: planned.facts.refused,
  });
  descriptors.handOver();
  undo.defer(() => launch[Symbol.dispose]());
  undo.defer(() => launch.abort());
  return launch;
}

/**
 * Creates the cgroup, for the stage and its children. With a user namespace the stage cannot enter it by itself.
 *
 * @see cgroupEntry
 */
function makeCgroup(
  { runtime, options, planned: { cgroup } }: Site,
  pid: number,
  { limits, undo }: { limits?: Resources; undo: Undo },
): void {
  const { config } = options.spec;
  cgroup.create(limits, pid);
  undo.defer(() => cgroup.destroy());
  undo.defer(() => killLeft(runtime, config, cgroup));
  if (hasNamespace(config, "user")) cgroup.join(pid);
}

/** Kills what outlived init. Its own pid namespace ends with init. In a shared one, a hook may still run. */
function killLeft({ kernel }: Runtime, config: Config, cgroup: CgroupManager): void {
  if (makesNamespace(config, "pid") || !cgroup.exists()) return;
  cgroup.kill((pid, signal) => void kill(kernel, pid, signal));
}

/** Creates the resctrl group of `linux.intelRdt`, and moves the stage into it. Undefined on a host without resctrl. */
function makeRdtGroup({ runtime, options }: Site, pid: number, undo: Undo): RdtGroup | undefined {
  const { intelRdt } = options.spec.config.linux ?? {};
  const root = intelRdt === undefined ? undefined : resctrlRoot(runtime.kernel);
  if (root === undefined) return undefined;
  const group = new RdtGroup(root, options.id, intelRdt!);
  // A partly created group is removed too.
  undo.defer(() => group.undo());
  inContext("unable to apply Intel RDT configuration", () =>
    inSpan(runtime.trace, "make the Intel RDT group", () => {
      group.make();
      group.join(pid);
    }));
  return group;
}

function warnOfNoCgroup(runtime: Runtime, config: Config, { refused }: CgroupManager): void {
  if (makesNamespace(config, "pid") || !refused) return;
  runtime.log(
    "warning",
    "Creating a rootless container with no cgroup and no private pid namespace. Such configuration is strongly discouraged (as it is impossible to properly kill all container's processes) and will result in an error in a future runc version.",
  );
}

/** Runs `action`. If it fails and the kernel has killed a process for lack of memory, reports that as the reason. */
function tellingOom<Result>(cgroup: CgroupManager, action: () => Result): Result {
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

function isInterrupted(error: unknown): boolean {
  return error instanceof RuncError && error.code === "interrupted";
}
