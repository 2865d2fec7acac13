/**
 * What the parent does to start another process in a container, in order. Pure.
 *
 * @module
 */

import type { Process } from "../../../specs/config.ts";
import { namespaceKinds } from "../../config/namespaces.ts";
import type { HostFacts } from "../../config/launch_request.ts";
import { needsHome } from "../../steps/command.ts";
import type { ExecRequest } from "../exec.ts";
import { type Act, act, within } from "./act.ts";
import { adoptInit, capabilityWarnings, listenerActs, NOT_STARTED, readyActs } from "./create.ts";
import { endProcesses } from "./resources.ts";

/** What the acts are made from. */
export interface ExecInput {
  readonly process: Process;
  readonly facts: HostFacts;
  readonly request: ExecRequest;
  /** The container's init. */
  readonly init: { readonly pid: number; readonly startTime: number };
  /** The cgroups to enter, by controller, if they are below the container's. */
  readonly subCgroups?: Readonly<Record<string, string>>;
  /** The container's resctrl group. */
  readonly rdtGroup?: string;
}

/** Starts the process. */
export function execActs(input: ExecInput): readonly Act[] {
  const { process, facts, request } = input;
  const asksHome = needsHome(process.env, request.listenFds > 0);
  return [
    ...capabilityWarnings(process, facts),
    ...openNamespaces(input),
    ...within(NOT_STARTED, [
      act("start the stage", "", { verb: "startStage" }, { undo: [endProcesses] }),
      ...enterCgroups(input),
      act("let the stage go on", "", { verb: "go" }),
      ...adoptInit,
      ...readyActs(process, asksHome, [act("reap the stage", "", { verb: "reapStage" })]),
      act("prepare for the process", "", { verb: "tellCaller" }),
      ...created(input),
    ]),
    act("log", "", { verb: "debug", text: "setns_init: about to exec" }),
  ];
}

function openNamespaces({ request, init }: ExecInput): readonly Act[] {
  return [
    ...request.namespaces.map((type) => {
      const path = `/proc/${init.pid}/ns/${namespaceKinds[type].file}`;
      return act(`open the container's ${type} namespace`, "", {
        verb: "openNamespace",
        fd: `ns-${type}`,
        path,
        field: "",
      });
    }),
    // Init's pid may be another process's by now, and the namespaces with it.
    act("check that these are of the container's init", "", { verb: "requireInit", ...init }),
    // Before the stage: from the fork on, the processes of the container see the debugger.
    ...(request.tools === undefined
      ? []
      : [act("check that no process could trace the debugger", "", { verb: "refuseTracers", pid: init.pid })]),
  ];
}

/** With a user namespace the stage cannot enter the cgroups by itself. */
function enterCgroups({ request, init, subCgroups, rdtGroup }: ExecInput): readonly Act[] {
  // An explicitly requested cgroup has no fallback.
  const fallback = subCgroups === undefined ? { initPid: init.pid } : {};
  return [
    ...(subCgroups === undefined
      ? []
      : [act("check that the cgroups exist", "", { verb: "requireCgroups", paths: subCgroups })]),
    ...(request.namespaces.includes("user")
      ? [act("move the stage into the cgroups", "", { verb: "joinCgroups", ...fallback })]
      : []),
    ...(rdtGroup === undefined
      ? []
      : [act("move the stage into the Intel RDT group", "/linux/intelRdt", { verb: "joinRdtGroup", path: rdtGroup })]),
  ];
}

/** Under a filter, init closes its socket instead of sending a last message; a late filter is loaded after `created`. */
function created({ process, request }: ExecInput): readonly Act[] {
  const message = act("wait for init: the command was found", "/process/args", {
    verb: "await",
    kind: "created",
    by: "init",
  });
  const { seccomp } = request;
  if (seccomp === undefined) return [message];
  return [
    ...(process.noNewPrivileges ? [message] : []),
    ...listenerActs(request),
    act("wait until init closes the socket", "/linux/seccomp", { verb: "await", kind: "end", by: "init" }),
  ];
}
