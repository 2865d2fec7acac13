/**
 * How the front carries out the acts of lib/libcontainer/plans/parent/control.ts: a verb becomes ops.
 *
 * An error is not reported here: the command is left to the snapshot. So what a verb needs is checked before the first
 * act, and an act that has changed something can hardly fail, or can be repeated.
 *
 * @module
 */

import { AT_FDCWD, AtFlag, FileType, Flock, openFlag, STAT_SIZE, statOffsets } from "../../../lib/ffi/constants.ts";
import { POLLIN } from "../../../lib/ffi/poll.ts";
import type { Act, Condition, Verb, VerbOf } from "../../../lib/libcontainer/plans/parent/act.ts";
import type { Controlled } from "../../../lib/libcontainer/plans/parent/control.ts";
import { EXIT_RECORD } from "../../../lib/libcontainer/state/exit_record.ts";
import { KNOWN } from "../../../lib/libcontainer/state/known_exec.ts";
import { RESIDENT, Trait } from "../../../lib/libcontainer/state/resident.ts";
import { at, buffer, call, load, set, slot, store, text, when } from "../../../lib/plan/build.ts";
import type { Op, Operand, Slot } from "../../../lib/plan/op.ts";
import {
  checkIdentity,
  directory,
  findStatus,
  findText,
  hasFifo,
  isAlive,
  lookAtInit,
  needLiveInit,
  pid,
  rootDirectory,
  status,
  statusNumber,
  traits,
} from "./facts.ts";
import { add, advance, and, close, leave, need, readShortFile, repeatUntil, sub, whenLess, whenWord } from "./ops.ts";
import { id } from "./words.ts";

/** A verb as ops. */
interface Performed {
  /** Leaves the command to the snapshot if the verb could not be carried out. Runs before the first act. */
  readonly check?: readonly Op[];
  readonly ops: readonly Op[];
}

type Performers = { readonly [Name in Verb["verb"]]?: (does: VerbOf<Name>) => Performed };

const SIGKILL = 9;
const O = openFlag("x86_64");
const statAt = statOffsets.x86_64;

const stat = buffer("struct stat", STAT_SIZE), other = buffer("other struct stat", STAT_SIZE);
const [found, wanted] = [slot("found"), slot("wanted")];
const path = slot("path"), size = slot("size"), place = slot("place"), character = slot("character");
const first = slot("first word of the file"), second = slot("second word of the file");
const file = slot("file"), init = slot("init"), fifo = slot("exec fifo"), result = slot("result");

/** Descriptors to close when the command is left to the snapshot. The exec fifo must stay open, see `readExecFifo`. */
export const opened: readonly Slot[] = [init];

/** Opens init's pidfd. `gone`: what to do if it has ended. The process is open before its start time is checked. */
const openInit = (gone: readonly Op[]): readonly Op[] => [
  call("pidfd_open", [pid, 0], { out: init, onError: [{ errnos: ["ESRCH"], ops: [set(init, 0)] }] }),
  ...lookAtInit,
  when(isAlive, "==", 0, [when(init, "!=", 0, [...close(init)])]),
  when(init, "==", 0, gone),
];

const closeInit: readonly Op[] = [when(init, "!=", 0, [...close(init)])];

const POLL_MS = 100;
const watches = buffer("two of struct pollfd", 16), timeout = buffer("struct timespec", 16);

/** Linux writes the rest of the time to it. ppoll(2) */
const storeTimeout = (ms: number): readonly Op[] => [
  store(timeout, 8, 0),
  store(at(timeout, 8), 8, ms * 1_000_000),
];

/** Waits until one of the descriptors is readable. Leaves the command to the snapshot if that takes long. */
const awaitReadable = (...fds: readonly Slot[]): readonly Op[] => [
  ...fds.flatMap((fd, index) => [
    store(at(watches, 8 * index), 4, fd),
    store(at(watches, 8 * index + 4), 4, POLLIN),
  ]),
  ...storeTimeout(POLL_MS),
  call("ppoll", [watches, fds.length, timeout, 0, 0], { out: result }),
  when(result, "==", 0, [leave]),
];

/**
 * Writes to the freezer's file, whose path is in the slot; a missing one is fine. `failed`: what to do before the command
 * is left to the snapshot.
 */
function writeFreezer(content: string, failed: readonly Op[] = []): readonly Op[] {
  const options = { tolerate: ["ENOENT", "ENODEV"], onError: [{ errnos: ["*"], ops: [...failed, leave] }] } as const;
  return [
    call("openat", [AT_FDCWD, path, O.O_WRONLY | O.O_CLOEXEC], { out: file, ...options }),
    ...whenLess(0, file, [
      call("write", [file, text(content), content.length], options),
      ...close(file),
    ]),
    set(file, 0),
  ];
}

/** Whether the freezer is that of cgroup v1. */
const isFreezerV1 = slot("freezer of cgroup v1");
const findFreezer: readonly Op[] = [
  ...findText("selfFreezingFile", path, isFreezerV1),
  ...findText("freezerFile", path, size),
];

/** Thaws the container's cgroup. */
const thaw: readonly Op[] = [
  ...findFreezer,
  when(size, "!=", 0, [when(isFreezerV1, "!=", 0, writeFreezer("THAWED"), writeFreezer("0"))]),
];

/** `st_nlink` of `struct stat`. stat(2) */
const LINKS_AT = 16;

/** A directory of cgroup v1 without others below it has two links. */
const needNoCgroupsBelow: readonly Op[] = [
  ...findText("freezerCgroup", path, size),
  when(size, "!=", 0, [
    call("newfstatat", [AT_FDCWD, path, stat, 0], { out: result, tolerate: ["ENOENT"] }),
    when(result, "==", 0, [load(at(stat, LINKS_AT), 8, found), need(found, 2)]),
  ]),
];

/** 200 times 1 ms: a process has to run to be frozen. If it takes longer, the snapshot's way is needed. */
const FREEZE_TRIES = 200, FREEZE_PAUSE_MS = 1;
const tries = slot("tries");

/** Nothing stays half frozen when the snapshot begins again. */
const thawAndLeave: readonly Op[] = [...writeFreezer("THAWED"), leave];

const freezeV1: readonly Op[] = [
  ...findFreezer,
  set(tries, 0),
  repeatUntil(
    [
      ...writeFreezer("FROZEN", writeFreezer("THAWED")),
      ...readShortFile(path, {
        words: [first, second],
        missing: [leave],
        failed: thawAndLeave,
        then: whenWord(first, "FROZEN\n", [set(tries, FREEZE_TRIES)], [
          advance(tries, 1),
          when(tries, "==", FREEZE_TRIES, thawAndLeave),
          ...storeTimeout(FREEZE_PAUSE_MS),
          call("ppoll", [0, 0, timeout, 0, 0], { tolerate: ["*"] }),
        ]),
      }),
    ],
    tries,
    FREEZE_TRIES,
  ),
];

const ENTRIES = 2048;
const entries = buffer("directory entries", ENTRIES);
const count = slot("count"), length = slot("length of an entry");

/**
 * Checks that the directory has only the files that the front knows: a monitor, a restore or a notify socket leave more,
 * which is removed by the snapshot.
 */
const needKnownFiles: readonly Op[] = [
  call("getdents64", [directory, entries, ENTRIES], { out: size }),
  // `.`, `..`, state.json and resident, the fifo, and the execs that are known.
  add(hasFifo, 4, count),
  call("newfstatat", [directory, KNOWN, stat, AtFlag.AT_SYMLINK_NOFOLLOW], { out: found, tolerate: ["ENOENT"] }),
  when(found, "==", 0, [advance(count, 1)]),
  add(entries, size, size),
  set(place, entries),
  repeatUntil(
    [add(place, 16, found), load(found, 2, length), advance(place, length), sub(count, 1, count)],
    place,
    size,
  ),
  need(count, 0),
];

const unlink = (name: string): Op => call("unlinkat", [directory, name, 0], { tolerate: ["ENOENT"] });

/** Each verb. `signal`: the number to send. */
const performersWith = (signal: Operand): Performers => ({
  lockState: () => ({
    ops: [
      // The snapshot waits, if it has to.
      call("flock", [directory, Flock.LOCK_EX | Flock.LOCK_NB]),
      // The directory may have been removed and created again.
      call("newfstatat", [rootDirectory, id, stat, 0]),
      call("fstat", [directory, other]),
      ...[statAt.dev, statAt.ino].flatMap((offset) => [
        load(at(stat, offset), 8, found),
        load(at(other, offset), 8, wanted),
        need(found, wanted),
      ]),
      ...checkIdentity,
    ],
  }),
  // The end of the process releases it, too.
  unlockState: () => ({ ops: [call("flock", [directory, Flock.LOCK_UN], { tolerate: ["*"] })] }),
  readStatus: ({ allowed }) => ({
    ops: [
      ...findStatus,
      ...(allowed === undefined ? [] : [
        set(found, 0),
        ...allowed.flatMap((each) =>
          each === "creating" ? [] : [when(status, "==", statusNumber[each], [set(found, 1)])]
        ),
        need(found, 1),
      ]),
    ],
  }),
  // For a notify socket, which is left to the snapshot.
  tellCaller: () => ({ ops: [] }),
  readExecFifo: () => ({
    ops: [
      call("pidfd_open", [pid, 0], { out: init }),
      // From here on init is not blocked any more. The fifo stays open if the command is left to the snapshot:
      // init would be killed by SIGPIPE if it had no reader.
      call("openat", [directory, "exec.fifo", O.O_NONBLOCK | O.O_NOFOLLOW | O.O_CLOEXEC], { out: fifo }),
      call("fstat", [fifo, stat]),
      load(at(stat, statAt.mode), 4, found),
      and(found, FileType.S_IFMT, found),
      need(found, FileType.S_IFIFO),
      ...awaitReadable(fifo, init),
      // Only one of two starts gets the byte.
      call("read", [fifo, entries, 1], { out: result }),
      need(result, 1),
      // A fifo that stays would be waited for without end: nobody writes to it again.
      call("unlinkat", [directory, "exec.fifo", 0], {
        tolerate: ["ENOENT"],
        onError: [{ errnos: ["*"], ops: [call("pidfd_send_signal", [init, SIGKILL, 0, 0]), leave] }],
      }),
    ],
  }),
  openInit: () => ({ ops: openInit([]) }),
  signalInit: ({ optional = false }) => ({
    ops: [
      ...closeInit,
      ...openInit(optional ? [] : [leave]),
      when(init, "!=", 0, [
        call("pidfd_send_signal", [init, signal, 0, 0], optional ? { tolerate: ["ESRCH"] } : {}),
      ]),
    ],
  }),
  awaitInitEnd: () => ({ ops: [when(init, "!=", 0, [...awaitReadable(init), ...closeInit])] }),
  thawToKill: () => ({
    check: needNoCgroupsBelow,
    ops: [
      ...findFreezer,
      when(
        size,
        "!=",
        0,
        readShortFile(path, {
          words: [first, second],
          missing: [],
          // The signal is sent: it is better not to send it again.
          failed: thaw,
          then: whenWord(first, "THAWED\n", [], whenWord(first, "0\n", [], thaw)),
        }),
      ),
    ],
  }),
  freeze: () => ({
    check: [...findFreezer, when(size, "==", 0, [leave]), when(isFreezerV1, "==", 0, [leave])],
    ops: freezeV1,
  }),
  requireLiveInit: () => ({
    // What happens then is the snapshot's to say, which begins again.
    ops: needLiveInit([...thaw, leave]),
  }),
  thaw: () => ({ ops: thaw }),
  removeCgroups: () => ({
    ops: [
      ...findText("cgroups", path, size),
      load(path, 1, character),
      when(character, "!=", 0, [
        repeatUntil(
          [
            // A cgroup that is busy is left to the snapshot, which waits.
            call("unlinkat", [AT_FDCWD, path, AtFlag.AT_REMOVEDIR], { tolerate: ["ENOENT"] }),
            repeatUntil([load(path, 1, character), advance(path, 1)], character, 0),
            load(path, 1, character),
          ],
          character,
          0,
        ),
      ]),
    ],
  }),
  removeStateDirectory: () => ({
    ops: [
      ...needKnownFiles,
      unlink("exec.fifo"),
      unlink(KNOWN),
      unlink(RESIDENT),
      unlink("state.json"),
      // Whoever waits for the container's end may have left its record meanwhile, without the lock.
      call("unlinkat", [rootDirectory, id, AtFlag.AT_REMOVEDIR], {
        onError: [{
          errnos: ["ENOTEMPTY"],
          ops: [unlink(EXIT_RECORD), call("unlinkat", [rootDirectory, id, AtFlag.AT_REMOVEDIR])],
        }],
      }),
    ],
  }),
});

/** An act's conditions. No act of the front kills by the cgroup. */
function conditional(conditions: readonly Condition[], ops: readonly Op[]): readonly Op[] {
  return conditions.reduceRight((inner, { flag, is }): readonly Op[] => {
    if (flag === "cgroup killed") return is ? [] : inner;
    if (!(flag in statusNumber)) throw new RangeError(`the front does not know whether ${flag}`);
    return [when(status, is ? "==" : "!=", statusNumber[flag as keyof typeof statusNumber], inner)];
  }, ops);
}

/**
 * Compiles acts. `signal`: instead of that of the acts.
 *
 * @throws {RangeError} for a verb that the front cannot carry out, and for an act that would have to be undone.
 */
export function opsOf(acts: readonly Act[], signal?: Operand): readonly Op[] {
  const compiled = acts.map(({ label, does, undo = [], when = [] }, index) => {
    // Leaving the command to the snapshot releases the lock. What may fail after `freeze` thaws by itself.
    const hasUndo = undo.some(({ does }) => does.verb !== "unlockState" && does.verb !== "thaw");
    // A lock is released whatever happens.
    const isLast = acts.slice(index + 1).every(({ does }) => does.verb === "unlockState");
    if (hasUndo && !isLast) throw new RangeError(`cannot undo: ${label}`);
    const performers = performersWith(signal ?? ("signal" in does ? does.signal : 0));
    const perform = performers[does.verb] as ((does: Verb) => Performed) | undefined;
    if (perform === undefined) throw new RangeError(`the front cannot: ${label}`);
    const { check = [], ops } = perform(does);
    return { check, ops: conditional(when, ops) };
  });
  return [...compiled.flatMap(({ check }) => check), ...compiled.flatMap(({ ops }) => ops)];
}

/** The usual container: its paths are known when the command runs. */
const plain: Controlled = { id: "", bundle: "", directory: "", ownsPids: true, hooks: {}, cgroups: [] };
const hooks = [{ path: "/" }];

const withTrait: Readonly<Record<keyof typeof Trait, Controlled>> = {
  poststartHooks: { ...plain, hooks: { poststart: hooks } },
  poststopHooks: { ...plain, hooks: { poststop: hooks } },
  sharedPids: { ...plain, ownsPids: false },
};

/** Compiles the acts of a command. Containers with a trait for which there are other acts are left to the snapshot. */
export function commandOps(actsOf: (container: Controlled) => readonly Act[], signal?: Operand): readonly Op[] {
  const acts = actsOf(plain);
  const isOther = (name: keyof typeof Trait) => JSON.stringify(actsOf(withTrait[name])) !== JSON.stringify(acts);
  const others = (Object.keys(Trait) as (keyof typeof Trait)[]).filter(isOther);
  const mask = others.reduce((mask, name) => mask | Trait[name], 0);
  return [and(traits, mask, found), need(found, 0), ...opsOf(acts, signal)];
}
