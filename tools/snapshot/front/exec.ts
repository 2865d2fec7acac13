/**
 * `exec` of a known process: the acts of lib/libcontainer/plans/parent/exec.ts, in their order. What differs between execs
 * is data: the namespaces, the limits, and whether init says that the command was found.
 *
 * @module
 */

import type { Act, Verb } from "../../../lib/libcontainer/plans/parent/act.ts";
import { execActs, type ExecInput } from "../../../lib/libcontainer/plans/parent/exec.ts";
import { usualExec } from "../../../lib/libcontainer/plans/parent/known_exec.ts";
import { set, slot, when } from "../../../lib/plan/build.ts";
import type { Op, Slot } from "../../../lib/plan/op.ts";
import { findStatus, status, statusNumber } from "./facts.ts";
import { findKnown, requestFile } from "./known.ts";
import {
  adopt,
  awaited,
  execDescriptors,
  finish,
  go,
  goWithHome,
  openNamespaces,
  prepareMonitor,
  reapStage,
  requireInit,
  setRlimits,
  startStage,
} from "./launch.ts";
import { need } from "./ops.ts";
import { beginPidFile, pidFd } from "./pid_file.ts";

/** An exec with everything that a usual one can have. */
const sample: ExecInput = {
  process: {
    args: ["/program"],
    cwd: "/",
    user: { uid: 0, gid: 0 },
    noNewPrivileges: true,
    rlimits: [
      { type: "RLIMIT_NPROC", soft: 1, hard: 1 },
    ],
  },
  facts: { lastCapability: 40 },
  request: { namespaces: ["mount"], listenFds: 0, seccomp: { profile: {} } },
  init: { pid: 1, startTime: 0 },
} as unknown as ExecInput;

/** Each verb, without those that the front has nothing to do for. */
const performers: { readonly [Name in Verb["verb"]]?: (does: Extract<Verb, { verb: Name }>) => readonly Op[] } = {
  openNamespace: () => openNamespaces,
  requireInit: () => requireInit,
  startStage: () => startStage,
  go: ({ home }) => home === undefined ? go : goWithHome,
  await: ({ kind, by }) => awaited(kind, by),
  adopt: () => adopt,
  setRlimit: () => setRlimits,
  reapStage: () => reapStage,
  tellCaller: () => prepareMonitor,
  // The front has not raised it.
  restoreFileLimit: () => [],
  // A record of the level debug is left to the snapshot.
  debug: () => [],
};

/** Compiles the acts of an exec. @throws {RangeError} for a verb that the front cannot carry out. */
export function execOpsOf(acts: readonly Act[]): readonly Op[] {
  return acts.flatMap(({ label, does }) => {
    const perform = performers[does.verb] as ((does: Verb) => readonly Op[]) | undefined;
    if (perform === undefined) throw new RangeError(`the front cannot: ${label}`);
    return perform(does);
  });
}

const isServed = slot("status is served");

/** The command `exec`. */
export const execOps: readonly Op[] = [
  ...findStatus,
  set(isServed, 0),
  ...[statusNumber.created, statusNumber.running].map((number) => when(status, "==", number, [set(isServed, 1)])),
  need(isServed, 1),
  ...findKnown.flatMap(({ ops }) => ops),
  ...beginPidFile,
  ...execOpsOf(sampleActs()),
  ...finish,
];

function sampleActs(): readonly Act[] {
  const acts = execActs(sample);
  if (usualExec(acts) === undefined) throw new RangeError("the sample is no usual exec");
  return acts;
}

/** Descriptors to close when the command is left to the snapshot. */
export const opened: readonly Slot[] = [...execDescriptors, requestFile, pidFd];
