/**
 * The front of a snapshot file: carries out commands on existing containers without resuming the snapshot.
 *
 *     read the words of the command line and the environment
 *     read the file `resident` of the container, and compare state.json with it
 *     find out the status
 *     do what the command does
 *
 * It does only what it knows for sure. Another option, another status, a missing file, a failed call: everything else
 * is left to the snapshot, which starts from the beginning and finds what the front found. What the front has done by
 * then can be done again.
 *
 * @module
 */

import { AT_FDCWD, openFlag } from "../../../lib/ffi/constants.ts";
import {
  deleteActs,
  killActs,
  pauseActs,
  resumeActs,
  startCreatedActs,
} from "../../../lib/libcontainer/plans/parent/control.ts";
import { EXIT_RECORD } from "../../../lib/libcontainer/state/exit_record.ts";
import { at, buffer, call, load, set, slot, step, store, when } from "../../../lib/plan/build.ts";
import type { Op, Slot, Step } from "../../../lib/plan/op.ts";
import { type CompiledPlan, compileSteps, type DataPlaces } from "./compile_x86_64.ts";
import { execOps, opened as openedByExec } from "./exec.ts";
import { findStatus, findText, isGone, needMissing, opened, readFacts, status, statusNumber } from "./facts.ts";
import { takeBackExec } from "./launch.ts";
import { advance, ignoreSignals, leave, repeatUntil, shortFile, sub } from "./ops.ts";
import { commandOps, opened as openedByVerbs } from "./verbs.ts";
import { command, log, option, readWords, served, type ServedName, signal } from "./words.ts";

const O = openFlag("x86_64");
const SIGKILL = 9, SIGTERM = 15;
const POLLOUT = 4;

const logFile = slot("log file"), character = slot("character");
const text = slot("text"), size = slot("size"), written = slot("written");

/** The caller's log is created, even if nothing is logged. */
const openLog: Step = step("open the log", "", [
  when(log, "!=", 0, [
    load(log, 1, character),
    when(character, "!=", 0, [
      call("openat", [AT_FDCWD, log, O.O_WRONLY | O.O_CREAT | O.O_APPEND | O.O_CLOEXEC, 0o644], { out: logFile }),
    ]),
  ]),
]);

const end: Op = call("exit_group", [0]);

const watch = buffer("struct pollfd", 8);

/** Waits until standard output can be written, if somebody has made it non-blocking. */
const awaitRoom: readonly Op[] = [
  store(watch, 4, 1),
  store(at(watch, 4), 4, POLLOUT),
  call("ppoll", [watch, 1, 0, 0, 0]),
  set(written, 0),
];

/** Prints what is at `text`. */
const print: readonly Op[] = [
  ...ignoreSignals,
  repeatUntil(
    [
      call("write", [1, text, size], {
        out: written,
        onError: [{ errnos: ["EAGAIN"], ops: awaitRoom }],
      }),
      advance(text, written),
      sub(size, written, size),
    ],
    size,
    0,
  ),
];

const printState: readonly Op[] = [
  ...findStatus,
  // How a zombie has ended is known, and so it is if there is a record.
  when(status, "==", statusNumber.stopped, [when(isGone, "==", 0, [leave]), ...needMissing(EXIT_RECORD)]),
  ...Object.entries(statusNumber).map(([name, number]) =>
    when(status, "==", number, findText(name as keyof typeof statusNumber, text, size))
  ),
  ...print,
];

const bodies: Readonly<Record<ServedName, readonly Op[]>> = {
  state: printState,
  start: commandOps(startCreatedActs),
  kill: [
    when(
      signal,
      "==",
      SIGKILL,
      commandOps((container) => killActs(container, { signal: SIGKILL })),
      // All others are sent alike.
      commandOps((container) => killActs(container, { signal: SIGTERM }), signal),
    ),
  ],
  delete: [
    when(
      option,
      "==",
      1,
      commandOps((container) => deleteActs(container, { force: true })),
      commandOps((container) => deleteActs(container, { force: false })),
    ),
  ],
  pause: commandOps(pauseActs),
  resume: commandOps(resumeActs),
  exec: execOps,
};

const commandSteps = Object.entries(bodies).map(([name, ops]) =>
  step(`runc ${name}`, "", [when(command, "==", served[name as ServedName].number, [...ops, end])])
);

/** The whole front, in order. */
export const frontSteps: readonly Step[] = [...readWords, ...readFacts, openLog, ...commandSteps];

const descriptors: readonly Slot[] = [...opened, ...openedByVerbs, ...openedByExec, shortFile, logFile];

const takeBack: readonly Step[] = [step("take back what was done", "", takeBackExec)];

/** The front's code. What follows it resumes the snapshot. */
export function compileFront(places: DataPlaces): CompiledPlan {
  return compileSteps(frontSteps, { steps: takeBack, opened: descriptors }, places);
}
