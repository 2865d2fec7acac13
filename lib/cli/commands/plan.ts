/**
 * `runc plan`: what a command would do.
 *
 * @module
 */

import { resolve } from "../../std/path.ts";
import type { CgroupManager } from "../../cgroups/manager.ts";
import { oomFileOf } from "../../cgroups/stats/oom.ts";
import { RuncError } from "../../errors.ts";
import { runWaits } from "../../ffi/waits.ts";
import { loadSpec, readConfig } from "../../libcontainer/container/bundle.ts";
import { planningRestore } from "../../libcontainer/container/criu/restoration.ts";
import { ContainerHandle } from "../../libcontainer/container/handle.ts";
import { planning } from "../../libcontainer/container/planning.ts";
import {
  type MonitorRequest,
  type MonitorStdio,
  planMonitor,
  type Removal,
} from "../../libcontainer/plans/monitor/plan.ts";
import {
  type Controlled,
  deleteActs,
  destroyActs,
  killActs,
  pauseActs,
  poststartActs,
  resumeActs,
  startCreatedActs,
  updateActs,
} from "../../libcontainer/plans/parent/control.ts";
import { becomeMonitor, pidFileAct, startActs } from "../../libcontainer/plans/parent/create.ts";
import { dumpActs } from "../../libcontainer/plans/parent/criu.ts";
import { explainSteps, explainWhole, type WholePlan } from "../../libcontainer/plans/whole.ts";
import type { Runtime } from "../../libcontainer/runtime.ts";
import { compileSeccomp } from "../../libcontainer/seccomp/seccomp.ts";
import type { Plan } from "../../plan/op.ts";
import { slot } from "../../plan/build.ts";
import { auditingFilter } from "../audit/auditor.ts";
import { enterBundle } from "../bundle_directory.ts";
import type { Command, Context } from "../context.ts";
import { type Invocation, parse } from "../parse.ts";
import { makeRuntime } from "../runtime.ts";
import { parseSignal } from "../words/signal_name.ts";
import { parseSubCgroups } from "../words/sub_cgroup.ts";
import { specOf } from "../table.ts";
import { readCheckpointFlags } from "../criu/checkpoint_options.ts";
import { debugProcess } from "./diagnosis/debug.ts";
import { readProcess } from "./exec.ts";
import { readRestored } from "./restore.ts";
import { resourcesFrom } from "./update.ts";

/** Prints what a command would do, without doing any of it. Without the name of a command, that of `run`. */
export const run: Command<"plan"> = (context, { args, options }) => {
  const runtime = makeRuntime(context);
  const plan = specOf("plan").commandsAfter?.includes(args[0] ?? "")
    ? planOf(context, runtime, args)
    : planNew(runtime, args[0] ?? "container", { ...options, isForeground: true });
  context.stdout.write(
    options.format === "json" ? JSON.stringify(explainSteps(plan), null, 2) + "\n" : explainWhole(plan),
  );
  return 0;
};

/** The plan of a command line. */
function planOf(context: Context, runtime: Runtime, words: readonly string[]): WholePlan {
  const parsed = parse(words, context.environment);
  if (parsed.kind !== "command") throw new RuncError("usage", messageOf(parsed, words));
  if (parsed.command === "run" || parsed.command === "create") {
    const { args: [id = ""], options } = parsed;
    const isCreated = parsed.command === "create";
    const isForeground = !isCreated && !(parsed as Invocation<"run">).options.detach;
    return planNew(runtime, id, { ...options, isForeground, isCreated });
  }
  if (parsed.command === "restore") return planRestore(runtime, parsed as Invocation<"restore">);
  return planOnContainer(context, runtime, parsed);
}

function messageOf(parsed: { readonly kind: string; readonly message?: string }, words: readonly string[]): string {
  return parsed.message ?? `runc ${words.join(" ")}: nothing to plan`;
}

/** `isCreated`: it waits for `start`. `isForeground`, `supervise`: the parent becomes the monitor. */
function planNew(
  runtime: Runtime,
  id: string,
  options: {
    readonly bundle?: string;
    readonly "no-pivot": boolean;
    readonly "no-new-keyring"?: boolean;
    readonly "pid-file"?: string;
    readonly supervise?: boolean;
    readonly "seccomp-audit"?: string;
    readonly isForeground?: boolean;
    readonly isCreated?: boolean;
  },
): WholePlan {
  const bundle = enterBundle(options.bundle);
  const config = readConfig(bundle, runtime.log);
  // The plan is always root's, independent of the user.
  const how = { noPivot: options["no-pivot"], noNewKeyring: options["no-new-keyring"], asRoot: true };
  const spec = loadSpec(runtime, config, bundle, how);
  const seccomp = options["seccomp-audit"] === undefined
    ? compileSeccomp(runtime, config, { store: false })
    : auditingFilter(runtime, config);
  const startBy = options.isCreated ? "fifo" : "parent";
  const planned = planning(runtime, { id, spec, startBy, seccomp, ...how });
  const { plan, parent, request, cgroup } = runWaits(runtime, planned);
  const { hooks = {} } = spec.config;
  const start = options.isCreated
    ? []
    : [...startActs({ config: spec.config, request }), ...poststartActs({ bundle, hooks })];
  const { isForeground = false, supervise: isDetached = false } = options;
  const hasMonitor = isForeground || isDetached;
  const removal = isForeground ? removalOf(runtime, id, cgroup) : { kind: "none" } as const;
  const terminal = config.process?.terminal ?? false;
  const record = { oomFile: oomFileOf(cgroup.paths) };
  return {
    plan,
    parent: [
      ...parent,
      ...(options["pid-file"] ? [pidFileAct(resolve(options["pid-file"]))] : []),
      ...start,
      ...(hasMonitor ? [becomeMonitor] : []),
    ],
    monitor: hasMonitor ? monitorPlan(runtime, id, { terminal, removal, record, isDetached }) : undefined,
  };
}

/** What the monitor in the foreground removes. */
function removalOf(runtime: Runtime, id: string, { paths }: CgroupManager): Removal {
  return { kind: "directories", cgroups: [...new Set(Object.values(paths))], state: `${runtime.root}/${id}` };
}

function planRestore(runtime: Runtime, { args: [id = ""], options }: Invocation<"restore">): WholePlan {
  const pidFile = options["pid-file"] ? [pidFileAct(resolve(options["pid-file"]))] : [];
  const wanted = readRestored(runtime, { id, options });
  const { parent, cgroup } = runWaits(runtime, planningRestore(runtime, wanted));
  const { detach: isDetached, supervise } = options;
  if (isDetached && !supervise) return { parent: [...parent, ...pidFile] };
  const { terminal = false } = wanted.spec.config.process ?? {};
  const removal = isDetached ? { kind: "none" } as const : removalOf(runtime, id, cgroup);
  const record = { oomFile: oomFileOf(cgroup.paths) };
  return {
    parent: [...parent, ...pidFile, becomeMonitor],
    monitor: monitorPlan(runtime, id, { terminal, removal, record, isDetached }),
  };
}

/** The monitor of a process that does not exist yet. */
function monitorPlan(
  { kernel }: Runtime,
  id: string,
  { terminal, ...how }: { readonly terminal: boolean } & Pick<MonitorRequest, "removal" | "record" | "isDetached">,
): Plan {
  const manners = { stdin: "blocking", stdout: "blocking", stderr: "blocking" } as const;
  const stdio: MonitorStdio = how.isDetached
    ? { kind: "inherited" }
    : terminal
    ? { kind: "terminal", manners, attributes: new Uint8Array() }
    : { kind: "pipes", manners };
  const again = { path: "runc", args: ["runc"], ownArguments: 0 };
  return planMonitor({ arch: kernel.arch, pid: slot("init"), stdio, ...how, id, again, debug: false });
}

/** The plan of a command on an existing container. */
function planOnContainer(context: Context, runtime: Runtime, parsed: Invocation): WholePlan {
  const [id = ""] = parsed.args;
  const container = ContainerHandle.load(runtime, id);
  const { controlled } = container;
  switch (parsed.command) {
    case "exec":
      return planExec(runtime, container, parsed as Invocation<"exec">);
    case "debug":
      return planDebug(context, runtime, container, parsed as Invocation<"debug">);
    case "start":
      return { parent: startCreatedActs(controlled) };
    case "kill":
      return { parent: killActs(controlled, { signal: parseSignal(parsed.args[1] ?? "SIGTERM") }) };
    case "delete":
      return { parent: deleteActs(controlled, { force: (parsed as Invocation<"delete">).options.force }) };
    case "pause":
      return { parent: pauseActs(controlled) };
    case "resume":
      return { parent: resumeActs(controlled) };
    case "checkpoint":
      return planCheckpoint(controlled, parsed as Invocation<"checkpoint">);
    default:
      return { parent: updateActs(controlled, resourcesFrom(context, parsed as Invocation<"update">)) };
  }
}

function planCheckpoint(container: Controlled, { options }: Invocation<"checkpoint">): WholePlan {
  const flags = readCheckpointFlags(options);
  const acts = dumpActs(container, flags);
  return { parent: flags.leaveRunning || flags.preDump ? acts : [...acts, ...destroyActs(container)] };
}

function planExec(runtime: Runtime, container: ContainerHandle, invocation: Invocation<"exec">): WholePlan {
  const [, ...args] = invocation.args;
  const { options } = invocation;
  const process = readProcess(runtime, container, { ...invocation, args });
  const seccomp = container.compileSeccomp({ store: false });
  const subCgroups = parseSubCgroups(options.cgroup);
  const { plan, parent } = runWaits(runtime, container.planExec({ process, seccomp, subCgroups }));
  const { terminal = false } = process;
  const monitor = monitorPlan(runtime, container.id, { terminal, removal: { kind: "none" } });
  const written = options["pid-file"] ? [pidFileAct(resolve(options["pid-file"]))] : [];
  if (options.detach) return { plan, parent: [...parent, ...written] };
  return { plan, parent: [...parent, ...written, becomeMonitor], monitor };
}

function planDebug(
  context: Context,
  runtime: Runtime,
  container: ContainerHandle,
  invocation: Invocation<"debug">,
): WholePlan {
  const { process, tools } = debugProcess(context, invocation);
  const { plan, parent } = runWaits(runtime, container.planExec({ process, tools }));
  const { terminal = false } = process;
  const monitor = monitorPlan(runtime, container.id, { terminal, removal: { kind: "none" } });
  return { plan, parent: [...parent, becomeMonitor], monitor };
}
