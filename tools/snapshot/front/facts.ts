/**
 * What the front knows of a container: the file `resident`, and what the kernel says. Nothing is believed that the
 * container could have changed: its first process is known by its pid and its start time.
 *
 * @module
 */

import { AT_FDCWD, AtFlag, FileType, openFlag, STAT_SIZE, statOffsets } from "../../../lib/ffi/constants.ts";
import { Errno } from "../../../lib/ffi/errno.ts";
import {
  IDENTITY_WORD,
  identityOffsets,
  RESIDENT,
  RESIDENT_LIMIT,
  RESIDENT_MAGIC,
  residentOffsets,
  type ResidentText,
  residentTexts,
} from "../../../lib/libcontainer/state/resident.ts";
import { at, buffer, call, load, set, slot, step, store, when } from "../../../lib/plan/build.ts";
import type { Buffer, Op, Slot, Step } from "../../../lib/plan/op.ts";
import type { Status } from "../../../lib/specs/state.ts";
import {
  add,
  advance,
  and,
  close,
  leave,
  need,
  needErrno,
  readShortFile,
  repeatUntil,
  sub,
  whenLess,
  whenWord,
  wordOf,
} from "./ops.ts";
import { id, root } from "./words.ts";

const O = openFlag("x86_64");
const statAt = statOffsets.x86_64;

/** Descriptors of the state directory, and of the container's directory in it. */
export const rootDirectory: Slot = slot("state directory"), directory: Slot = slot("container's directory");
/** Of init. */
export const pid: Slot = slot("pid"), traits: Slot = slot("traits");

const resident = buffer("resident", RESIDENT_LIMIT + 8);
export const stat: Buffer = buffer("struct stat", STAT_SIZE);
export const file: Slot = slot("file");
const length = slot("length of resident"),
  found = slot("found"),
  wanted = slot("wanted"),
  mask = slot("mask");
const result = slot("result");

const field = (name: keyof typeof residentOffsets) => at(resident, residentOffsets[name]);

const openDirectory: Step = step("open the container's directory", "", [
  call("openat", [AT_FDCWD, root, O.O_PATH | O.O_DIRECTORY | O.O_CLOEXEC], { out: rootDirectory }),
  // A standard stream is closed: files must not get its number.
  ...whenLess(rootDirectory, 3, [...close(rootDirectory), leave]),
  call("openat", [rootDirectory, id, O.O_DIRECTORY | O.O_CLOEXEC], { out: directory }),
]);

/**
 * Opens a file of the container's directory as {@link file}, with its `struct stat` in {@link stat}. Only this user can
 * have written it: the directory is nobody else's.
 */
export const openOwn = (name: string): readonly Op[] => [
  call("openat", [directory, name, O.O_NOFOLLOW | O.O_NONBLOCK | O.O_CLOEXEC], { out: file }),
  call("fstat", [file, stat]),
  load(at(stat, statAt.mode), 4, found),
  and(found, FileType.S_IFMT | 0o022, found),
  need(found, FileType.S_IFREG),
  load(at(stat, statAt.uid), 4, found),
  call("geteuid", [], { out: wanted }),
  need(found, wanted),
];

const readResident: Step = step("read what is known of the container", "", [
  ...openOwn(RESIDENT),
  call("read", [file, resident, RESIDENT_LIMIT], { out: length }),
  ...close(file),
  ...whenLess(length, residentOffsets.texts + 8 * residentTexts.length + 1, [leave]),
  load(field("magic"), 8, found),
  load(wordOf(RESIDENT_MAGIC), 8, wanted),
  need(found, wanted),
  load(field("length"), 4, found),
  need(found, length),
  load(field("pid"), 4, pid),
  load(field("traits"), 4, traits),
]);

/** A word of the identity of state.json. */
export const identityWord = (index: number, out: Slot): Op =>
  load(at(resident, residentOffsets.identity + IDENTITY_WORD * index), IDENTITY_WORD, out);

/** state.json must be the file that the facts were written for. Its directory may have been replaced, too. */
export const checkIdentity: readonly Op[] = [
  call("newfstatat", [directory, "state.json", stat, 0]),
  ...identityOffsets.flatMap((offset, index): Op[] => [
    load(at(stat, offset), IDENTITY_WORD, found),
    identityWord(index, wanted),
    need(found, wanted),
  ]),
];

/** Finds a text of the file. `address`, `size`: receive its address and its length in bytes. */
export function findText(name: ResidentText, address: Slot, size: Slot): readonly Op[] {
  const entry = residentOffsets.texts + 8 * residentTexts.indexOf(name);
  return [
    load(at(resident, entry), 4, address),
    load(at(resident, entry + 4), 4, size),
    add(address, size, found),
    // The NUL after it is in the file, too.
    ...whenLess(found, length, [set(mask, 1)]),
    need(mask, 1),
    set(mask, 0),
    add(resident, found, found),
    load(found, 1, found),
    need(found, 0),
    add(resident, address, address),
  ];
}

const STAT_TEXT = 1024;
const processStat = buffer("process's stat", STAT_TEXT + 16);
const path = slot("path"), size = slot("size"), place = slot("place"), character = slot("character");
const processState = slot("state of the process"), fields = slot("fields");

/** Whether init is alive: 1 or 0. */
export const isAlive: Slot = slot("init is alive");
/** Whether there is no process with init's pid and start time: 1 or 0. A zombie is neither alive nor gone. */
export const isGone: Slot = slot("init is gone");

/** Spaces between the state and the start time. proc_pid_stat(5) */
const FIELDS_BEFORE = 19;

/** Moves {@link place} behind so many spaces of the text. `failed`: what to do at the text's end. */
const skipFields = (count: number, failed: readonly Op[]): readonly Op[] => [
  set(fields, 0),
  repeatUntil(
    [
      load(place, 1, character),
      when(character, "==", 0, failed),
      when(character, "==", 0x20, [advance(fields, 1)]),
      advance(place, 1),
    ],
    fields,
    count,
  ),
];

/** Sets {@link isAlive} and {@link isGone}. `failed`: what to do where that is not known. */
const lookAtInitOr = (failed: readonly Op[]): readonly Op[] => [
  set(isAlive, 0),
  set(isGone, 0),
  ...findText("processFile", path, size),
  call("openat", [AT_FDCWD, path, O.O_CLOEXEC], {
    out: file,
    onError: [{
      errnos: ["ENOENT"],
      // Without /proc, nobody is known to be gone.
      ops: [
        set(isGone, 1),
        call("newfstatat", [AT_FDCWD, "/proc/self/stat", stat, 0], { onError: [{ errnos: ["*"], ops: failed }] }),
      ],
    }, { errnos: ["*"], ops: failed }],
  }),
  when(isGone, "==", 0, [
    call("read", [file, at(processStat, 8), STAT_TEXT], {
      out: size,
      onError: [{ errnos: ["ESRCH"], ops: [set(isGone, 1)] }, { errnos: ["*"], ops: failed }],
    }),
    ...close(file),
  ]),
  when(isGone, "==", 0, [
    add(at(processStat, 8), size, place),
    store(place, 1, 0),
    // The name in parentheses may contain any character, so fields are counted from the last parenthesis. The first
    // one stops the search, whatever the kernel says.
    store(at(processStat, 7), 1, 0x29),
    repeatUntil([advance(place, -1), load(place, 1, character)], character, 0x29),
    advance(place, 2),
    load(place, 1, processState),
    ...skipFields(FIELDS_BEFORE, failed),
    ...findText("startTime", path, size),
    repeatUntil(
      [
        load(path, 1, found),
        load(place, 1, character),
        when(found, "==", 0, [when(character, "!=", 0x20, [set(isGone, 1)])], [
          when(found, "!=", character, [set(isGone, 1), set(found, 0)]),
        ]),
        advance(path, 1),
        advance(place, 1),
      ],
      found,
      0,
    ),
    when(isGone, "==", 0, [
      when(processState, "!=", 0x5a, [when(processState, "!=", 0x58, [set(isAlive, 1)])]),
    ]),
  ]),
];

/** The same; what is not known is left to the snapshot. */
export const lookAtInit: readonly Op[] = lookAtInitOr([leave]);

/** Whether a SIGKILL is pending for init: 1 or 0. */
const isKilled = slot("init is killed");

/** Spaces between the start time and the pending signals, of which the first is read already. */
const FIELDS_BETWEEN = 8;
const pending = slot("pending signals"), twice = slot("twice"), tenfold = slot("tenfold");
/** Bit of SIGKILL. */
const KILLED = 1 << 8;

/** Does `failed` unless init is alive and no SIGKILL is pending for it. */
export const needLiveInit = (failed: readonly Op[]): readonly Op[] => [
  ...lookAtInitOr(failed),
  set(isKilled, 0),
  when(isAlive, "==", 1, [
    ...skipFields(FIELDS_BETWEEN, failed),
    set(pending, 0),
    load(place, 1, character),
    repeatUntil(
      [
        when(character, "==", 0, failed),
        // Ten times as much, and the digit.
        add(pending, pending, twice),
        add(twice, twice, tenfold),
        add(tenfold, tenfold, tenfold),
        add(tenfold, twice, tenfold),
        sub(character, 0x30, character),
        add(tenfold, character, pending),
        advance(place, 1),
        load(place, 1, character),
      ],
      character,
      0x20,
    ),
    and(pending, KILLED, found),
    when(found, "!=", 0, [set(isKilled, 1)]),
  ]),
  when(isAlive, "==", 0, failed),
  when(isKilled, "==", 1, failed),
];

const first = slot("first word of the file"), second = slot("second word of the file");
const isFrozen = slot("cgroup is frozen");

/** Sets {@link isFrozen}. */
const lookAtFreezer: readonly Op[] = [
  set(isFrozen, 0),
  ...findText("freezerFile", path, size),
  when(
    size,
    "!=",
    0,
    readShortFile(path, {
      words: [first, second],
      missing: [],
      then: [
        ...whenWord(first, "THAWED\n", [], [
          ...whenWord(first, "0\n", [], [
            // Frozen, freezing, or something new. Cgroup v2 is still freezing, perhaps.
            ...whenWord(first, "FROZEN\n", [], [leave]),
            ...findText("selfFreezingFile", path, size),
            when(size, "==", 0, [leave]),
            ...readShortFile(path, {
              words: [first, second],
              missing: [leave],
              then: [...whenWord(first, "0\n", [], [...whenWord(first, "1\n", [set(isFrozen, 1)], [leave])])],
            }),
            when(isFrozen, "==", 1, [
              ...findText("mainCgroup", path, size),
              call("newfstatat", [AT_FDCWD, path, stat, 0]),
            ]),
          ]),
        ]),
      ],
    }),
  ),
];

/** The container's status, a number of {@link statusNumber}. */
export const status: Slot = slot("status");
/** Whether there is an exec fifo: 1 or 0. */
export const hasFifo: Slot = slot("has a fifo");
/** Numbers of statuses. */
export const statusNumber = { created: 1, running: 2, paused: 3, stopped: 4 } as const satisfies Partial<
  Record<Status, number>
>;

/** Finds the status out, in the order of `readStatus` in container_world.ts. */
export const findStatus: readonly Op[] = [
  ...lookAtFreezer,
  ...lookAtInit,
  set(hasFifo, 1),
  call("newfstatat", [directory, "exec.fifo", stat, AtFlag.AT_SYMLINK_NOFOLLOW], {
    onError: [{ errnos: ["ENOENT"], ops: [set(hasFifo, 0)] }],
  }),
  when(hasFifo, "==", 1, [set(status, statusNumber.created)], [set(status, statusNumber.running)]),
  when(isAlive, "==", 0, [set(status, statusNumber.stopped)]),
  when(isFrozen, "==", 1, [set(status, statusNumber.paused)]),
];

/** There is no file of this name in the container's directory. */
export const needMissing = (name: string): readonly Op[] => [
  call("newfstatat", [directory, name, stat, AtFlag.AT_SYMLINK_NOFOLLOW], { out: result, tolerate: ["ENOENT"] }),
  needErrno(result, Errno.ENOENT),
];

/** Opens the container and reads its facts. */
export const readFacts: readonly Step[] = [
  openDirectory,
  readResident,
  step("check that state.json is the one that the facts are of", "", checkIdentity),
];

/** The descriptors that this file opens. */
export const opened: readonly Slot[] = [rootDirectory, directory, file];
