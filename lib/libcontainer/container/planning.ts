/**
 * How a container is planned: the host's facts are read, nothing is made. Runs in: parent.
 *
 * @module
 */

import { isThere } from "../../cgroups/driver.ts";
import type { CgroupManager } from "../../cgroups/manager.ts";
import { createCgroupManager } from "../../cgroups/open.ts";
import { resctrlRoot } from "../../cgroups/rdt/resctrl.ts";
import { neededControllers, requireSystemd } from "../../cgroups/path.ts";
import { createSystemdManager } from "../../cgroups/systemd/manager.ts";
import type { Plan } from "../../plan/op.ts";
import { runWaits, TURN, type Waits } from "../../ffi/waits.ts";
import type { Config } from "../../specs/config.ts";
import { once } from "../../once.ts";
import { inSpan } from "../../trace/tracer.ts";
import { readFacts } from "../config/facts.ts";
import {
  type HostFacts,
  type LaunchRequest,
  type RootLayers,
  type StartFlags,
  startFlags,
} from "../config/launch_request.ts";
import { hasNamespace } from "../config/namespaces.ts";
import type { ParsedMount } from "../config/mounts.ts";
import { containerMounts, planCreate } from "../plans/create.ts";
import type { Act } from "../plans/parent/act.ts";
import { createActs } from "../plans/parent/create.ts";
import { enterWithoutClone3, withoutRefused } from "../plans/outer_sandbox.ts";
import { type KeptFor, keptFor } from "../launch/kept_images.ts";
import type { Runtime } from "../runtime.ts";
import { hasSeccomp, type SeccompFilter } from "../seccomp/filter.ts";
import { StateDirectory } from "../state/store.ts";
import { cgroupOwner } from "../state/to_runc_state.ts";
import type { Spec } from "./bundle.ts";
import { cgroupEntry, cgroupOptions, systemdOptions } from "./container_cgroups.ts";
import { type ProcessOptions, requireFilter } from "./container_process.ts";

/** What a container is planned from. */
export interface PlanOptions extends Omit<ProcessOptions, "stdio">, StartFlags {
  /** Letters, digits and `_+-.`. */
  readonly id: string;
  /** From {@link loadSpec}. */
  readonly spec: Spec;
  /**
   * `fifo`: the caller may leave, {@link Container.start} starts it. `parent`: {@link ContainerProcess.start} does.
   * `creation`: it is started as soon as it is created, and an error of its start is one of the creation.
   */
  readonly startBy: "fifo" | "parent" | "creation";
  /** Makes `<state directory>/notify` for an sd_notify proxy and binds it into the container. */
  readonly notify?: boolean;
  /** From {@link compileSeccomp}; needed where the config has a profile. */
  readonly seccomp?: SeccompFilter;
  /**
   * A container of a program that makes many, and that hardly any command is for: on cgroup v1 it has cgroups only in
   * the hierarchies that it needs, and commands that are without an engine for others start one. @see neededControllers
   */
  readonly isBrief?: boolean;
  /** Layers that are mounted on root.path, an empty directory. */
  readonly rootLayers?: RootLayers;
}

/** A plan together with what it was made from. */
export interface ContainerPlan {
  /** What stage and init would do. */
  readonly plan: Plan;
  /** What the parent would do. */
  readonly parent: readonly Act[];
  /** The host. */
  readonly facts: HostFacts;
  /** What was asked for beside config.json. */
  readonly request: LaunchRequest;
  /** The mounts: those of the config, and those that this runtime adds. */
  readonly mounts: readonly ParsedMount[];
}

/** A plan with what carries it out. */
export interface PlannedContainer extends ContainerPlan {
  /** The container's cgroups, not made yet. */
  readonly cgroup: CgroupManager;
  /** Images of earlier launches; `plan` is then made when it is read for the first time. */
  readonly kept?: KeptFor;
}

/** Plans a container: reads the host's facts, makes nothing. `asRoot`: what root's plan would be. @throws {RuncError} */
export function planContainer(runtime: Runtime, options: PlanOptions & { asRoot?: boolean }): ContainerPlan {
  return runWaits(runtime, planning(runtime, options));
}

/** {@link planContainer}, for a caller that lets others have their turn. */
export function* planning(
  runtime: Runtime,
  options: PlanOptions & { asRoot?: boolean },
): Waits<PlannedContainer> {
  const { id, spec, seccomp } = options;
  const { path: directory } = new StateDirectory(runtime.root, id);
  requireFilter(hasSeccomp(spec.config) || seccomp?.audit !== undefined, seccomp);
  const cgroup = yield* cgroupOf(runtime, options);
  yield TURN;
  const read = inSpan(runtime.trace, "read the host's facts", () => factsFor(runtime, options, cgroup));
  const facts = options.asRoot ? { ...read, euid: 0, mayTrace: true } : read;
  yield TURN;
  const request = requestOf(runtime, options, { cgroup, facts });
  const mounts = containerMounts(spec.config, request, spec.mounts);
  yield TURN;
  const make = () => withoutRefused(planCreate(spec.config, facts, request, mounts), facts.refused, facts.arch);
  const plan = once(() => inSpan(runtime.trace, "plan", make));
  const kept = keptFor(options, { id, facts, request }, withoutCgroup(spec.config));
  if (kept === undefined) plan();
  yield TURN;
  const resctrl = spec.config.linux?.intelRdt === undefined ? undefined : resctrlRoot(runtime.kernel);
  const parent = createActs({
    config: spec.config,
    facts,
    request,
    mounts,
    directory,
    cgroupPaths: cgroup.paths,
    resctrl,
  });
  return {
    get plan() {
      return plan();
    },
    parent,
    facts,
    request,
    mounts,
    cgroup,
    kept,
  };
}

/** The plan has the cgroups from the facts and the request. */
const withoutCgroup = (config: Config) => ({ ...config, linux: { ...config.linux, cgroupsPath: undefined } });

/** The cgroups of a container, not made yet. @throws {RuncError} */
export function* cgroupOf(
  runtime: Runtime,
  { id, spec, isBrief = false }: Pick<PlanOptions, "id" | "spec" | "isBrief">,
): Waits<CgroupManager> {
  if (runtime.systemdCgroup) return yield* systemdCgroup(runtime, id, spec);
  const { cgroupsPath, resources = {} } = spec.config.linux ?? {};
  const request = { id, cgroupsPath, controllers: isBrief ? neededControllers(resources) : undefined };
  return createCgroupManager(spec.layout, request, cgroupOptions(runtime, runtime.rootlessCgroups));
}

function* systemdCgroup(runtime: Runtime, id: string, { config, mounts, layout }: Spec): Waits<CgroupManager> {
  requireSystemd(isThere("/run/systemd/system"));
  const { annotations = {}, linux } = config;
  const request = { id, cgroupsPath: linux?.cgroupsPath, annotations, ownerUid: cgroupOwner({ config, mounts }) };
  return yield* createSystemdManager(layout, request, systemdOptions(runtime, runtime.rootlessCgroups));
}

function factsFor(runtime: Runtime, { spec, noPivot = false }: PlanOptions, cgroup: CgroupManager): HostFacts {
  return readFacts({
    kernel: runtime.kernel,
    recent: runtime.recent,
    layout: spec.layout,
    cgroupPaths: cgroup.paths,
    rootlessCgroups: runtime.rootlessCgroups,
    noPivot,
    rootfs: spec.rootfs,
    config: spec.config,
    process: spec.config.process!,
    deniesSetgroups: spec.deniesSetgroups,
  });
}

/** What the plan depends on beside config.json and the host. Pure. */
function requestOf(
  runtime: Runtime,
  options: PlanOptions,
  { cgroup, facts }: Pick<PlannedContainer, "cgroup" | "facts">,
): LaunchRequest {
  const { id, spec } = options;
  return {
    id,
    bundle: spec.bundle,
    rootfs: spec.rootfs,
    rootLayers: options.rootLayers,
    cgroup: enterWithoutClone3(cgroupEntry(cgroup.selfJoin, hasNamespace(spec.config, "user")), facts.refused),
    stageIsMoved: runtime.systemdCgroup || spec.config.linux?.intelRdt !== undefined,
    ...startFlags(options),
    inheritedFds: options.inheritedFds ?? 0,
    listenFds: options.listenFds ?? 0,
    pidfdSocket: options.pidfdSocket !== undefined,
    startBy: options.startBy,
    seccomp: options.seccomp,
    executor: runtime.executor,
    notifyDirectory: options.notify ? new StateDirectory(runtime.root, id).notify : undefined,
  };
}
