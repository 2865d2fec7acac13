/**
 * What a command on an existing container does, in order. Pure.
 *
 * @module
 */

import type { Hooks, IntelRdt, Resources } from "../../../specs/config.ts";
import type { Status } from "../../../specs/state.ts";
import { type Act, act, type Refusal, type Undo, within } from "./act.ts";
import { hookActs } from "./create.ts";

/** A container, as far as commands on it depend on it. */
export interface Controlled {
  readonly id: string;
  readonly bundle: string;
  /** Its directory below the state directory. */
  readonly directory: string;
  /** It has a pid namespace of its own: its processes end with init. */
  readonly ownsPids: boolean;
  /** A restore has not finished it, and perhaps never will. */
  readonly isUnfinished?: boolean;
  readonly hooks: Hooks;
  /** Its cgroups. */
  readonly cgroups: readonly string[];
  /** Its resctrl group. */
  readonly rdtGroup?: string;
}

const SIGKILL = 9;

/** Time for CRIU to find out that its caller has ended, and to end what it has made. */
const CRIU_LIMIT_MS = 2000;

/** runc's message, which callers match. */
export const ALREADY_RUNNING = "cannot start an already running container";

/** Starts a created container. */
export function startCreatedActs(container: Controlled): readonly Act[] {
  const { bundle, directory, hooks } = container;
  return [
    // A `delete` of a created container must not find it running.
    lockState(container),
    readStatus(["created"], {
      message: "cannot start a container in the {} state",
      messages: { stopped: "cannot start a container that has stopped", running: ALREADY_RUNNING },
    }),
    act("prepare for the start", "", { verb: "tellCaller" }),
    act(
      "read the exec fifo, which init waits to open",
      "",
      { verb: "readExecFifo", path: `${directory}/exec.fifo` },
      killInit,
    ),
    // The hooks may call this runtime for the same container.
    unlockState,
    ...hookActs("poststart", hooks.poststart, { status: "running", cwd: bundle }),
  ];
}

/** If a poststart hook fails, the container is killed. */
const killInit = {
  undo: [{ label: "kill init", does: { verb: "signalInit", signal: SIGKILL, optional: true } }],
} as const;

/** The poststart hooks of a container that the parent has started itself. */
export function poststartActs({ bundle, hooks }: Pick<Controlled, "bundle" | "hooks">): readonly Act[] {
  if (!hooks.poststart?.length) return [];
  return [
    act("open init", "", { verb: "openInit" }, killInit),
    ...hookActs("poststart", hooks.poststart, { status: "running", cwd: bundle }),
  ];
}

/** Sends a signal to init. `optional`: a container that is not running is no error. */
export function killActs(
  { ownsPids }: Controlled,
  { signal, optional = false }: { readonly signal: number; readonly optional?: boolean },
): readonly Act[] {
  const send = { verb: "signalInit", signal, optional } as const;
  const unlessKilled = { when: [{ flag: "cgroup killed", is: false }] } as const;
  const label = `send signal ${signal} to init`;
  if (signal !== SIGKILL) return [act(label, "", send)];
  return [
    // In another's pid namespace, processes outlive init.
    ...(ownsPids ? [] : [killCgroup]),
    act(label, "", send, unlessKilled),
    // Process 1 ends only after all others of its pid namespace. On v1 a frozen process does not end.
    act("thaw killed processes", "", { verb: "thawToKill" }, unlessKilled),
  ];
}

const killCgroup = act("kill all processes of the cgroup", "", { verb: "killCgroup" });

/** Removes a container. `force`: in any state. */
export function deleteActs(container: Controlled, { force }: { readonly force: boolean }): readonly Act[] {
  const { id } = container;
  const message = `cannot delete container ${id} that is not stopped: {}`;
  const hint = "runc kill stops it, runc delete --force does both";
  const isAlive = { flag: "stopped", is: false } as const;
  const kill = [
    act("open init", "", { verb: "openInit" }),
    ...killActs(container, { signal: SIGKILL, optional: true }),
    act("wait for init's end", "", { verb: "awaitInitEnd" }),
  ];
  return [
    lockState(container, { force }),
    readStatus(force ? undefined : ["stopped", "created"], { message, hint }),
    ...awaitCriu(container),
    // In a shared pid namespace, --force ends what init has left.
    ...(force ? kill : kill.map((each) => ({ ...each, when: [isAlive, ...each.when ?? []] }))),
    // If init had already ended, the other processes are still frozen. On v1 they cannot exit in this state.
    act("thaw the cgroup", "", { verb: "thaw" }, { when: [{ flag: "paused", is: true }] }),
    ...removeActs(container),
  ];
}

/** Removes a container whose init has ended. */
export function destroyActs(container: Controlled): readonly Act[] {
  return [lockState(container), ...awaitCriu(container), ...removeActs(container)];
}

/** The CRIU of a killed restore: if it were killed too, its own mounts on the host would be left. */
function awaitCriu({ isUnfinished }: Controlled): readonly Act[] {
  if (!isUnfinished) return [];
  return [act("let CRIU take back what it has done", "", { verb: "awaitCriuGone", limitMs: CRIU_LIMIT_MS })];
}

/** As long as something is left, there is a state to find it by: the state goes last. */
function removeActs(container: Controlled): readonly Act[] {
  const { directory, ownsPids, isUnfinished, cgroups, rdtGroup, hooks } = container;
  return [
    // In another's pid namespace, processes outlive init. A killed restore may have left processes of CRIU's.
    ...(ownsPids && !isUnfinished ? [] : [
      act("kill what is left in the cgroup", "", { verb: "killCgroup", ifThere: true }),
    ]),
    ...within("unable to remove container's cgroup", [
      act("remove the cgroups", "", { verb: "removeCgroups", paths: cgroups }),
    ]),
    ...(rdtGroup === undefined ? [] : within("unable to remove container's IntelRDT group", [
      act("remove the Intel RDT group", "/linux/intelRdt", { verb: "removeRdtGroup", path: rdtGroup }),
    ])),
    act("remove the state directory", "", { verb: "removeStateDirectory", path: directory }),
    // The hooks may call this runtime for the same container.
    unlockState,
    ...hookActs("poststop", hooks.poststop, { status: "stopped", goOn: true }),
  ];
}

/** Freezes the container's processes. */
export function pauseActs(container: Controlled): readonly Act[] {
  return [
    lockState(container),
    readStatus(["running", "created"], {
      message: "container not running",
      hints: { paused: "it is paused already" },
    }),
    act("freeze the cgroup", "", { verb: "freeze" }, thawAgain),
    // `kill` takes no lock. A frozen process does not end on v1, and without init a frozen cgroup would be paused for ever.
    act("check that init was not killed meanwhile", "", { verb: "requireLiveInit" }),
    unlockState,
  ];
}

const thawAgain = { undo: [{ label: "thaw the cgroup", does: { verb: "thaw" } }] } as const;

/** Thaws the container's processes. */
export function resumeActs(container: Controlled): readonly Act[] {
  return [
    lockState(container),
    readStatus(["paused"], { message: "container not paused" }),
    act("thaw the cgroup", "", { verb: "thaw" }),
    unlockState,
  ];
}

/** Changes the container's limits. If one is refused, the old ones are set again. */
export function updateActs(
  container: Controlled,
  { resources, rdt }: { readonly resources: Resources; readonly rdt: Partial<IntelRdt> },
): readonly Act[] {
  const isGiven = { when: [{ flag: "has schemas", is: true }] } as const;
  return [
    lockState(container),
    readStatus(["creating", "created", "running", "paused"], { message: "container not running" }),
    act("merge the new limits with the old ones", "/linux/resources", { verb: "mergeLimits", resources, rdt }),
    // A refused limit may be partly set, so the undo belongs to the act before it.
    act("read the limits", "/linux/resources", { verb: "rememberLimits" }, {
      undo: [{ label: "set the limits back", does: { verb: "restoreLimits" } }],
    }),
    act("set the limits", "/linux/resources", { verb: "setLimits" }),
    act("read the Intel RDT schemas", "/linux/intelRdt", { verb: "rememberSchemata" }, {
      ...isGiven,
      undo: [{ label: "set the Intel RDT schemas back", does: { verb: "restoreSchemata" } }],
    }),
    act("set the Intel RDT schemas", "/linux/intelRdt", { verb: "setSchemata" }, isGiven),
    act("save the state", "", { verb: "saveState", path: `${container.directory}/state.json` }),
    unlockState,
  ];
}

const unlock: Undo = { label: "release the container's lock", does: { verb: "unlockState" } };
/** Releases the lock. */
export const unlockState: Act = { from: "", ...unlock };

/** Locks the container, and reads its state again. */
export function lockState(
  { directory }: Pick<Controlled, "directory">,
  { force = false }: { readonly force?: boolean } = {},
): Act {
  const does = { verb: "lockState", path: directory, ...(force ? { force } : {}) } as const;
  return act("lock the container and read its state", "", does, { undo: [unlock] });
}

/** Finds out the status, and refuses others than those allowed. */
export function readStatus(allowed: readonly Status[] | undefined, refusal: Refusal): Act {
  return act("find out the status", "", { verb: "readStatus", allowed, refusal });
}
