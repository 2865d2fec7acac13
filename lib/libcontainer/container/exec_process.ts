/**
 * Starts another process in a container. Runs in: parent.
 *
 * @module
 */

import { readCgroupLayout } from "../../cgroups/layout.ts";
import type { CgroupManager } from "../../cgroups/manager.ts";
import { loadCgroupManager } from "../../cgroups/open.ts";
import { loadSystemdManager } from "../../cgroups/systemd/manager.ts";
import { addToRdtGroup } from "../../cgroups/rdt/resctrl.ts";
import { requireCgroups, subCgroupPaths, type SubCgroups } from "../../cgroups/sub_cgroup.ts";
import { inContext, RuncError } from "../../errors.ts";
import type { Fd } from "../../ffi/fd.ts";
import { isThere, open } from "../../ffi/files.ts";
import type { Plan } from "../../plan/op.ts";
import type { NamespaceType, Process } from "../../specs/config.ts";
import type { State } from "../../specs/state.ts";
import { inSpan } from "../../trace/tracer.ts";
import { hasSelinux } from "./bundle.ts";
import { cgroupEntry, cgroupOptions, systemdOptions, withTrace } from "./container_cgroups.ts";
import {
  ContainerProcess,
  handListener,
  NOT_STARTED,
  type ProcessOptions,
  requireFilter,
  setRlimits,
  socketFds,
  warnOfCapabilities,
} from "./container_process.ts";
import type { Planned } from "../steps/protocol.ts";
import { affinityText } from "../steps/cpu_affinity.ts";
import { deniesSetgroups, readFacts } from "../config/facts.ts";
import { Launch } from "../launch/launch.ts";
import type { HostFacts } from "../config/launch_request.ts";
import { namespaceKinds } from "../config/namespaces.ts";
import { enterWithoutClone3, withoutRefused } from "../plans/outer_sandbox.ts";
import { homeOf } from "../launch/passwd.ts";
import { type ExecRequest, planExec, saidInExec } from "../plans/exec.ts";
import { EXEC_IN_STOPPED, isAlive } from "../state/process_status.ts";
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
} from "../state/runc_state.ts";
import { hasCpusetOf, memoryPolicyOf, noNewKeyringOf, personalityOf, umaskOf } from "../state/exec_state.ts";
import { completeProcess } from "../state/process_state.ts";
import type { Runtime } from "../runtime.ts";
import type { SeccompFilter } from "../seccomp/filter.ts";
import { configError, validateProcess } from "../config/validate.ts";

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

/** The container to start a process in. */
export interface ExecContainer {
  readonly state: RuncState;
  readonly cgroup: CgroupManager;
  /** The container's state, for a seccomp agent. */
  readonly hookState: State;
}

/** Starts another process in a container. @see Container.exec */
export function execProcess(runtime: Runtime, container: ExecContainer, options: ExecOptions): ContainerProcess {
  const { state } = container;
  const init = initOf(state);
  const initPid = init.pid;
  requireFilter(seccompOf(state) !== undefined, options.seccomp);
  const process = completeProcess(options.process, state);
  const problems = validateProcess(process, {
    selinux: process.selinuxLabel ? hasSelinux(runtime.kernel) : false,
    rootlessEuid: Deno.uid() !== 0,
    get groups() {
      return { mappings: mappingsOfState(state).gidMappings, isDenied: deniesSetgroups(initPid) };
    },
  });
  if (problems.length > 0) throw configError(problems);
  const { kernel } = runtime;
  const namespaces = joinable(state);
  // An explicitly requested cgroup has no fallback.
  const isBelow = Object.keys(options.subCgroups ?? {}).length > 0;
  const cgroup = isBelow ? subCgroup(runtime, container, options.subCgroups!) : container.cgroup;
  const input = {
    kernel,
    layout: readCgroupLayout(kernel),
    cgroupPaths: container.cgroup.paths,
    rootlessCgroups: rootlessCgroupsOf(state),
    noPivot: false,
    rootfs: rootfsOf(state),
    joinedPid: initPid,
    config: {},
    process,
  };
  const facts = inSpan(runtime.trace, "read the host's facts", () => readFacts(input));
  const { initial = "" } = process.execCPUAffinity ?? {};
  // The words of runc's stage log, which its tests match.
  if (initial !== "") runtime.log("debug", `nsexec of ${idOf(state)}: affinity: ${affinityText(initial)}`);
  const request: ExecRequest = {
    id: idOf(state),
    namespaces,
    cgroup: enterWithoutClone3(
      cgroupEntry(isBelow ? cgroup.selfJoin : cgroup.selfJoinOfExec(initPid), namespaces.includes("user")),
      facts.refused,
    ),
    noNewKeyring: noNewKeyringOf(state),
    umask: umaskOf(state),
    annotations: annotationsOf(state),
    inheritedFds: options.inheritedFds ?? 0,
    listenFds: options.listenFds ?? 0,
    pidfdSocket: options.pidfdSocket !== undefined,
    hasCpuset: hasCpusetOf(state),
    personality: personalityOf(state),
    memoryPolicy: memoryPolicyOf(state),
    seccomp: options.seccomp,
  };
  const make = () => withoutRefused(planExec(process, facts, request), facts.refused, facts.arch);
  const plan = inSpan(runtime.trace, "plan", make);
  warnOfCapabilities(runtime, process, facts);
  const fds: Record<string, Fd> = socketFds(options);
  const killsBefore = cgroup.oomKills();
  try {
    for (const type of namespaces) {
      fds[`ns-${type}`] = open(kernel, `/proc/${initPid}/ns/${namespaceKinds[type].file}`, 0);
    }
    // Init's pid may be another process's by now, and the namespaces with it.
    if (!isAlive(init.pid, init.startTime)) throw new RuncError("container-state", EXEC_IN_STOPPED);
    const enterCgroup = (pid: number) => {
      if (isBelow) requireCgroups(cgroup.paths, pid);
      if (namespaces.includes("user")) cgroup.join(pid, isBelow ? undefined : initPid);
      joinRdtGroup(runtime, state, pid);
    };
    const says = saidInExec(process, request);
    const { refused } = facts;
    const launched = { ...options, refused, process, fds, hookState: container.hookState, enterCgroup, says };
    return inContext(NOT_STARTED, () => launchExec(runtime, plan, launched));
  } catch (error) {
    if (!(error instanceof RuncError) || cgroup.oomKills() === killsBefore) throw error;
    // A process in the cgroup was killed; it may have been this one.
    throw new RuncError(error.code, `${error.message} (possibly OOM-killed)`, { ...error, cause: error });
  } finally {
    for (const [name, fd] of Object.entries(fds)) if (name.startsWith("ns-")) fd.close();
  }
}

/** A group that is gone has no limits any more. */
function joinRdtGroup(runtime: Runtime, state: RuncState, pid: number): void {
  const group = rdtGroupOf(state);
  if (group === undefined || !isThere(runtime.kernel, group.path)) return;
  try {
    addToRdtGroup(group.path, pid);
  } catch (error) {
    throw error instanceof RuncError ? error.within(`error adding pid ${pid} to Intel RDT: intelrdt`) : error;
  }
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
    return withTrace(runtime, loadSystemdManager(paths, systemdPathOf(state), options));
  }
  return withTrace(runtime, loadCgroupManager(paths, cgroupOptions(runtime, rootless)));
}

/** The namespaces of the config except our own: setns(2) fails for the own user namespace. */
function joinable(state: RuncState): readonly NamespaceType[] {
  return namespacesOf(state).map(({ type }) => type).filter((type) => {
    const { file } = namespaceKinds[type];
    const theirs = Deno.statSync(`/proc/${initOf(state).pid}/ns/${file}`);
    const ours = Deno.statSync(`/proc/self/ns/${file}`);
    return theirs.ino !== ours.ino || theirs.dev !== ours.dev;
  });
}

/** Exchanges messages with stage and init of an exec until the process executes its program. */
function launchExec(
  runtime: Runtime,
  plan: Plan,
  options: ExecOptions & {
    fds: Readonly<Record<string, Fd>>;
    refused: HostFacts["refused"];
    /** The container's state, for a seccomp agent. */
    hookState: State;
    enterCgroup: (pid: number) => void;
    says: readonly Planned[];
  },
): ContainerProcess {
  // Always native: the container's mount namespace has no Deno, nor the libraries that it needs.
  const launch = new Launch({ ...runtime, executor: "native" }, {
    plan,
    stdio: options.stdio,
    fds: options.fds,
    inheritedFds: options.inheritedFds ?? 0,
    waits: false,
    says: options.says,
    refused: options.refused,
  });
  try {
    options.enterCgroup(launch.stagePid);
    launch.go();
    // Under a filter, init closes the socket instead of sending a last message; a late filter is loaded after
    // `created`.
    const closes = options.seccomp !== undefined;
    let isReady = false;
    for (;;) {
      const said = closes && isReady ? launch.nextUntilClosed() : launch.next();
      if (said === undefined || (said.kind === "created" && !closes)) break;
      if (said.kind === "ready") {
        isReady = true;
        setRlimits(runtime, launch.initPid, options.process);
        launch.go(homeOf(options.process.user.uid, launch.passwd));
        options.onProcess?.(launch.initPid);
      } else if (said.kind === "seccomp") {
        handListener(runtime, launch, { ...options, fd: said.fd });
      }
    }
    runtime.log("debug", "setns_init: about to exec");
    return new ContainerProcess(runtime, launch);
  } catch (error) {
    launch.abort();
    launch[Symbol.dispose]();
    throw isBornNowhere(error) ? error.within(`error adding pid ${launch.stagePid} to cgroups`) : error;
  }
}

/**
 * A cgroup that delegates controllers accepts no processes. clone3(2), EBUSY with CLONE_INTO_CGROUP, or of the
 * equivalent write
 */
function isBornNowhere(error: unknown): error is RuncError {
  return error instanceof RuncError && error.errnoName === "EBUSY" && /^(clone3|write)\(/.test(error.call ?? "");
}
