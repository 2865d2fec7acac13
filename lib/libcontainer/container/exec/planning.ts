/**
 * How another process in a container is planned: the host's facts are read, nothing is made. Runs in: parent.
 *
 * @module
 */

import { readCgroupLayout } from "../../../cgroups/layout.ts";
import type { CgroupManager } from "../../../cgroups/manager.ts";
import { loadCgroupManager } from "../../../cgroups/open.ts";
import { subCgroupPaths, type SubCgroups } from "../../../cgroups/sub_cgroup.ts";
import { loadSystemdManager } from "../../../cgroups/systemd/manager.ts";
import { isThere } from "../../../ffi/files.ts";
import { TURN, type Waits } from "../../../ffi/waits.ts";
import type { Plan } from "../../../plan/op.ts";
import type { NamespaceType, Process } from "../../../specs/config.ts";
import type { State } from "../../../specs/state.ts";
import { inSpan } from "../../../trace/tracer.ts";
import { deniesSetgroups, readFacts } from "../../config/facts.ts";
import type { HostFacts } from "../../config/launch_request.ts";
import { namespaceKinds } from "../../config/namespaces.ts";
import { configError, validateProcess } from "../../config/validate.ts";
import { type ExecRequest, planExec } from "../../plans/exec.ts";
import { enterWithoutClone3, refusalHint, withoutRefused } from "../../plans/outer_sandbox.ts";
import type { Act } from "../../plans/parent/act.ts";
import { execActs } from "../../plans/parent/exec.ts";
import { RuncError } from "../../../errors.ts";
import { recentFact } from "../../recent_facts.ts";
import { once } from "../../../once.ts";
import { lacksMountCalls, newMountCalls } from "../../steps/mounts/old_mounts.ts";
import { type KeptFor, keptFor } from "../../launch/kept_images.ts";
import type { ToolRoot } from "../../steps/root/tool_root.ts";
import type { Runtime } from "../../runtime.ts";
import type { SeccompFilter } from "../../seccomp/filter.ts";
import { hasCpusetOf, memoryPolicyOf, noNewKeyringOf, personalityOf, umaskOf } from "../../state/exec_state.ts";
import { completeProcess } from "../../state/process_state.ts";
import {
  annotationsOf,
  idOf,
  initOf,
  mappingsOfState,
  namespacesOf,
  rdtGroupOf,
  rootfsOf,
  rootlessCgroupsOf,
  type RuncState,
  seccompOf,
  systemdOf,
  systemdPathOf,
} from "../../state/runc_state.ts";
import type { StateDirectory } from "../../state/store.ts";
import type { Kept } from "./keep.ts";
import { hasSelinux } from "../../config/facts.ts";
import { cgroupEntry, cgroupOptions, systemdOptions } from "../container_cgroups.ts";
import { type ProcessOptions, requireFilter } from "../container_process.ts";
import { refuseTracingConfig } from "./tracers.ts";

/** Options of `exec`. */
export interface ExecOptions extends ProcessOptions {
  /** The process. Missing capability sets and noNewPrivileges are taken from the container. */
  readonly process: Process;
  /** Allow a paused container: the process then waits until the container is resumed. */
  readonly ignorePaused?: boolean;
  /** Existing cgroups below the container's, to start the process in. */
  readonly subCgroups?: SubCgroups;
  /** From {@link Container.compileSeccomp}; required if the container has a profile. */
  readonly seccomp?: SeccompFilter;
  /**
   * Called with the process's pid while the process executes its program and the caller would only wait. An exception
   * ends the process.
   */
  readonly onProcess?: (pid: number) => void;
}

/** Options of a debugger: an exec with programs of the host. */
export interface DebugOptions extends ExecOptions {
  /** Keeps the exec for the next one with the same request. */
  readonly kept?: Kept;
  /** Absent: the process has the container's root. */
  readonly tools?: ToolRoot;
}

/** The container to start a process in. */
export interface ExecContainer {
  readonly state: RuncState;
  readonly cgroup: CgroupManager;
  /** The container's state, for a seccomp agent. */
  readonly hookState: State;
  readonly directory: StateDirectory;
  /** This program has made the container, and all its namespaces. */
  readonly hasNewNamespaces?: boolean;
}

/** What an exec does. */
export interface PlannedExec {
  /** What stage and init would do. */
  readonly plan: Plan;
  /** What the parent would do. */
  readonly parent: readonly Act[];
  /** The host. */
  readonly facts: HostFacts;
  /** The cgroups that the process enters: the container's, or some below. */
  readonly cgroup: CgroupManager;
  /** The process enters init's cgroup, because the container's takes no processes. Init may leave it. */
  readonly followsInit: boolean;
  /** The process, with what the container gives it. */
  readonly process: Process;
  /** Images of earlier launches; `plan` is then made when it is read for the first time. */
  readonly kept?: KeptFor;
}

/** Plans an exec: reads the host's facts, makes nothing. @throws {RuncError} */
export function* planningExec(
  runtime: Runtime,
  container: ExecContainer,
  options: Omit<DebugOptions, "stdio">,
): Waits<PlannedExec> {
  const { state } = container;
  const { tools } = options;
  const init = initOf(state);
  // A debugger has no filter: the container's allows what its program needs, and not what a debugger does.
  requireFilter(tools === undefined && seccompOf(state) !== undefined, options.seccomp);
  const process = checkedProcess(runtime, state, options.process);
  const namespaces = joinable(runtime, container);
  if (tools !== undefined) requireDebuggable(state, namespaces);
  const { subCgroups = {} } = options;
  const isBelow = Object.keys(subCgroups).length > 0;
  const cgroup = isBelow ? subCgroup(runtime, container, subCgroups) : container.cgroup;
  const facts = inSpan(
    runtime.trace,
    "read the host's facts",
    () => factsFor(runtime, container, { process, joinsUser: namespaces.includes("user") }),
  );
  if (tools !== undefined) requireMountCalls(facts);
  yield TURN;
  const selfJoin = isBelow ? cgroup.selfJoin : cgroup.selfJoinOfExec(init.pid);
  const entry = enterWithoutClone3(cgroupEntry(selfJoin, namespaces.includes("user")), facts.refused);
  const request = requestOf(state, options, { namespaces, cgroup: entry });
  const make = () => withoutRefused(planExec(process, facts, request), facts.refused, facts.arch);
  const plan = once(() => inSpan(runtime.trace, "plan", make));
  const kept = keptFor(options, { id: idOf(state), facts, request, process });
  if (kept === undefined) plan();
  const group = rdtGroupOf(state)?.path;
  const parent = execActs({
    process,
    facts,
    request,
    init,
    subCgroups: isBelow ? cgroup.paths : undefined,
    // A group that is gone has no limits any more.
    rdtGroup: group !== undefined && isThere(runtime.kernel, group) ? group : undefined,
  });
  return {
    get plan() {
      return plan();
    },
    parent,
    facts,
    cgroup,
    followsInit: selfJoin.cloneInto !== cgroup.selfJoin.cloneInto,
    process,
    kept,
  };
}

/** The process with what the container gives it. @throws {RuncError} `config-invalid` */
function checkedProcess(runtime: Runtime, state: RuncState, asked: Process): Process {
  const process = completeProcess(asked, state);
  const problems = validateProcess(process, {
    selinux: process.selinuxLabel ? hasSelinux(runtime.kernel) : false,
    rootlessEuid: Deno.uid() !== 0,
    get groups() {
      return { mappings: mappingsOfState(state).gidMappings, isDenied: deniesSetgroups(initOf(state).pid) };
    },
  });
  if (problems.length > 0) throw configError(problems);
  return process;
}

function factsFor(
  runtime: Runtime,
  { state, cgroup }: ExecContainer,
  { process, joinsUser }: { readonly process: Process; readonly joinsUser: boolean },
): HostFacts {
  const { kernel, recent } = runtime;
  return readFacts({
    kernel,
    recent,
    layout: recentFact(runtime, "layout of the cgroups", () => readCgroupLayout(kernel)),
    cgroupPaths: cgroup.paths,
    rootlessCgroups: rootlessCgroupsOf(state),
    noPivot: false,
    rootfs: rootfsOf(state),
    joinedPid: joinsUser ? initOf(state).pid : undefined,
    config: {},
    process,
  });
}

function requestOf(
  state: RuncState,
  { inheritedFds = 0, listenFds = 0, pidfdSocket, seccomp, tools }: Omit<DebugOptions, "stdio">,
  more: Pick<ExecRequest, "namespaces" | "cgroup">,
): ExecRequest {
  return {
    ...more,
    id: idOf(state),
    noNewKeyring: noNewKeyringOf(state),
    umask: umaskOf(state),
    // Landlock's paths are those of the image.
    annotations: tools === undefined ? annotationsOf(state) : undefined,
    inheritedFds,
    listenFds,
    pidfdSocket: pidfdSocket !== undefined,
    hasCpuset: hasCpusetOf(state),
    personality: personalityOf(state),
    memoryPolicy: memoryPolicyOf(state),
    seccomp,
    tools,
  };
}

/** What a debugger of a container needs. @throws {RuncError} `unsupported` */
function requireDebuggable(state: RuncState, namespaces: readonly NamespaceType[]): void {
  for (const type of ["mount", "pid"] as const) {
    if (namespaces.includes(type)) continue;
    throw new RuncError(
      "unsupported",
      `cannot debug container ${idOf(state)}: it has no ${type} namespace of its own`,
      {
        field: "/linux/namespaces",
        hint: type === "pid"
          ? "the debugger could trace all processes of the host"
          : "the programs of the host are there already: use runc exec",
      },
    );
  }
  refuseTracingConfig(state);
}

/** @throws {RuncError} `host-lacks` where mounts have to be made by mount(2): it needs their places by name. */
function requireMountCalls({ refused }: HostFacts): void {
  if (!lacksMountCalls(refused)) return;
  throw new RuncError("host-lacks", "a debugger's mounts cannot be made", {
    hint: refusalHint(...newMountCalls.filter((name) => refused!.has(name))),
  });
}

function subCgroup(runtime: Runtime, container: ExecContainer, sub: SubCgroups): CgroupManager {
  const { state } = container;
  const rootless = rootlessCgroupsOf(state);
  const paths = subCgroupPaths(container.cgroup.paths, sub);
  const { "": top } = container.cgroup.paths;
  const { "": directory } = paths;
  // If a user may not move processes, that user's systemd may.
  if (rootless && systemdOf(state) && top !== undefined && directory !== undefined) {
    const options = { ...systemdOptions(runtime, rootless), below: directory.slice(top.length) || "/" };
    return loadSystemdManager(paths, systemdPathOf(state), options);
  }
  return loadCgroupManager(paths, cgroupOptions(runtime, rootless));
}

/** The namespaces of the config except our own: setns(2) fails for the own user namespace. */
function joinable(runtime: Runtime, { state, hasNewNamespaces }: ExecContainer): readonly NamespaceType[] {
  const types = namespacesOf(state).map(({ type }) => type);
  return hasNewNamespaces ? types : types.filter((type) => {
    const { file } = namespaceKinds[type];
    const theirs = Deno.statSync(`/proc/${initOf(state).pid}/ns/${file}`);
    const ours = recentFact(runtime, `own namespace ${file}`, () => Deno.statSync(`/proc/self/ns/${file}`));
    return theirs.ino !== ours.ino || theirs.dev !== ours.dev;
  });
}
