/**
 * How the front finds an exec in the file of lib/libcontainer/state/known_exec.ts: the file is mapped, everything that the
 * exec depends on is looked at again, and the request is compared byte by byte.
 *
 * @module
 */

import { AT_FDCWD, FileType, openFlag, Prctl, statOffsets } from "../../../lib/ffi/constants.ts";
import { globalOptions } from "../../../lib/cli/table.ts";
import { CAPABILITY_VERSION } from "../../../lib/libcontainer/config/facts.ts";
import { NULL_DEVICE } from "../../../lib/libcontainer/container/exec/keep.ts";
import {
  callersNamespaces,
  CAPABILITY_BYTES,
  ENTRY_HEAD,
  entryOffsets,
  KNOWN,
  KNOWN_LIMIT,
  KNOWN_MAGIC,
  KnownFlag,
  knownHead,
  type KnownSection,
  knownSections,
  REQUEST_LIMIT,
} from "../../../lib/libcontainer/state/known_exec.ts";
import { IDENTITY_WORD, identityOffsets } from "../../../lib/libcontainer/state/resident.ts";
import { at, buffer, call, load, set, slot, stack, step, store, text, when } from "../../../lib/plan/build.ts";
import type { Op, Slot, Step } from "../../../lib/plan/op.ts";
import { file, identityWord, openOwn, stat } from "./facts.ts";
import { add, advance, and, close, leave, need, repeatUntil, whenLess, wordOf } from "./ops.ts";
import { execCount, execWords, format, log, processFile, root } from "./words.ts";

const O = openFlag("x86_64");
const statAt = statOffsets.x86_64;
const PROT_READ = 1, MAP_PRIVATE = 2;

/** Where the file is mapped, and its length. */
export const known: Slot = slot("known execs"), knownLength: Slot = slot("length of known execs");
/** The address of the entry, and its length. */
const entry = slot("known exec"), entryLength = slot("length of the known exec");

const place = slot("place in known execs"), found = slot("found"), wanted = slot("wanted");

/** Reads 4 bytes of the entry. */
export const entryNumber = (name: keyof typeof entryOffsets, out: Slot): readonly Op[] => [
  add(entry, entryOffsets[name], place),
  load(place, 4, out),
];

/** Finds a section of the entry: its address and its length. */
export const findSection = (name: KnownSection, address: Slot, size: Slot): readonly Op[] => [
  add(entry, entryOffsets.sections + 8 * knownSections.indexOf(name), place),
  load(place, 4, address),
  add(place, 4, place),
  load(place, 4, size),
  add(address, size, found),
  ...whenLess(entryLength, found, [leave]),
  add(entry, address, address),
];

const mapFile: readonly Op[] = [
  ...openOwn(KNOWN),
  load(at(stat, statAt.size), 8, knownLength),
  ...whenLess(knownLength, knownHead.entries + 8, [leave]),
  ...whenLess(KNOWN_LIMIT, knownLength, [leave]),
  call("mmap", [0, knownLength, PROT_READ, MAP_PRIVATE, file, 0], { out: known }),
  ...close(file),
  add(known, knownHead.magic, place),
  load(place, 8, found),
  load(wordOf(KNOWN_MAGIC), 8, wanted),
  need(found, wanted),
  add(known, knownHead.length, place),
  load(place, 4, found),
  need(found, knownLength),
  // These end every text.
  add(known, knownLength, place),
  advance(place, -8),
  load(place, 8, found),
  need(found, 0),
];

const headWord = (offset: number, out: Slot): readonly Op[] => [add(known, offset, place), load(place, 8, out)];

const capabilities = buffer("capabilities", CAPABILITY_BYTES), capabilityHeader = buffer("capability header", 8);

/** The container, the program and the caller are those that the execs were kept for. */
const checkHead: readonly Op[] = [
  ...identityOffsets.flatMap((_, index) => [
    ...headWord(knownHead.identity + IDENTITY_WORD * index, found),
    identityWord(index, wanted),
    need(found, wanted),
  ]),
  call("newfstatat", [AT_FDCWD, "/proc/self/exe", stat, 0]),
  ...identityOffsets.flatMap((offset, index) => [
    ...headWord(knownHead.program + IDENTITY_WORD * index, found),
    load(at(stat, offset), IDENTITY_WORD, wanted),
    need(found, wanted),
  ]),
  ...callersNamespaces.flatMap((name, index) => [
    call("newfstatat", [AT_FDCWD, `/proc/self/ns/${name}`, stat, 0]),
    ...headWord(knownHead.namespaces + 8 * index, found),
    load(at(stat, statAt.ino), 8, wanted),
    need(found, wanted),
  ]),
  store(capabilityHeader, 4, CAPABILITY_VERSION),
  call("capget", [capabilityHeader, capabilities]),
  ...Array.from({ length: CAPABILITY_BYTES / 8 }, (_, index) => [
    ...headWord(knownHead.capabilities + 8 * index, found),
    load(at(capabilities, 8 * index), 8, wanted),
    need(found, wanted),
  ]).flat(),
  // A filter around this program may refuse what the image calls.
  call("prctl", [Prctl.PR_GET_SECCOMP, 0, 0, 0, 0], { out: found }),
  need(found, 0),
];

/** 1 while nothing differs. */
const isSame = slot("is the same");
const [one, other, left, right, count] = [slot("one"), slot("other"), slot("left"), slot("right"), slot("count")];

/** Compares the texts at {@link one} and {@link other}, and moves `one` behind its NUL. */
const compareTexts: readonly Op[] = repeatUntilEqual(1, left);

/** Compares `size` bytes at a time, until `until` is 0. */
function repeatUntilEqual(size: 1 | 8, until: Slot): readonly Op[] {
  return [
    repeatUntil(
      [
        ...(until === count ? [advance(count, -1)] : []),
        load(one, size, left),
        load(other, size, right),
        when(left, "!=", right, [set(isSame, 0), set(until, 0)]),
        advance(one, size),
        advance(other, size),
      ],
      until,
      0,
    ),
  ];
}

/** Compares a section with a word of the command line. `missing`: what a missing word means. */
const compareText = (name: KnownSection, word: Slot, missing = ""): readonly Op[] => [
  ...findSection(name, one, count),
  set(other, word),
  when(other, "==", 0, [set(other, text(missing))]),
  ...compareTexts,
];

const words = slot("words to compare"), word = slot("word to compare"), character = slot("character");
const argvEnd = slot("end of the known words");

/** Compares the words after `exec`. */
const compareArgv: readonly Op[] = [
  ...entryNumber("words", words),
  when(words, "!=", execCount, [set(isSame, 0)], [
    ...findSection("argv", one, count),
    add(one, count, argvEnd),
    set(word, execWords),
    repeatUntil(
      [
        advance(words, -1),
        advance(word, 8),
        set(isSame, 0),
        ...whenLess(one, argvEnd, [set(isSame, 1)]),
        load(one, 1, character),
        // A file's path may be any.
        when(character, "==", 1, [advance(one, 2)], [
          load(word, 8, other),
          ...compareTexts,
        ]),
        when(isSame, "==", 0, [set(words, 0)]),
      ],
      words,
      0,
    ),
  ]),
];

const request = buffer("request", REQUEST_LIMIT + 8);
/** How long the request is; 0 until it is read. No entry has an empty one. */
const requestLength = slot("length of the request");
export const requestFile: Slot = slot("file of the request");
const path = slot("path of the request");

/** Reads process.json or config.json. A fifo is not even opened: what it has can be read once. */
const readRequest: readonly Op[] = [
  set(path, processFile),
  when(path, "==", 0, [...findSection("requestPath", path, count), when(count, "==", 0, [leave])]),
  call("newfstatat", [AT_FDCWD, path, stat, 0]),
  load(at(stat, statAt.mode), 4, found),
  and(found, FileType.S_IFMT, found),
  need(found, FileType.S_IFREG),
  call("openat", [AT_FDCWD, path, O.O_NONBLOCK | O.O_CLOEXEC], { out: requestFile }),
  call("read", [requestFile, request, REQUEST_LIMIT + 1], { out: requestLength }),
  ...close(requestFile),
];

const compareRequest: readonly Op[] = [
  when(requestLength, "==", 0, readRequest),
  ...findSection("request", one, count),
  when(count, "!=", requestLength, [set(isSame, 0)], [
    set(other, request),
    // Both are filled up with zeroes.
    add(count, 7, count),
    { op: "shr", left: count, right: 3, out: count },
    when(count, "!=", 0, repeatUntilEqual(8, count)),
  ]),
];

/** What the entry does besides: {@link KnownFlag}. */
export const flags: Slot = slot("flags of the known exec");

/** Runs `then` if the entry has the flag, `otherwise` if it has not. */
export const whenFlag = (
  flag: keyof typeof KnownFlag,
  then: readonly Op[],
  otherwise?: readonly Op[],
): readonly Op[] => [
  and(flags, KnownFlag[flag], found),
  when(found, "!=", 0, then, otherwise),
];

/** The monitor was made for these words and these types of streams. */
const compareForeground: readonly Op[] = [
  ...compareText("root", root),
  ...compareText("log", log),
  ...compareText("format", format, globalOptions["log-format"].default),
  // The monitor finds its environment behind its arguments.
  load(stack, 8, left),
  ...entryNumber("arguments", right),
  when(left, "!=", right, [set(isSame, 0)]),
  ...(["stdin", "stdout", "stderr"] as const).flatMap((name, fd) => [
    call("fstat", [fd, stat]),
    load(at(stat, statAt.mode), 4, left),
    and(left, FileType.S_IFMT, left),
    ...entryNumber(name, right),
    when(left, "!=", right, [set(isSame, 0)]),
    when(left, "==", FileType.S_IFCHR, [
      load(at(stat, statAt.rdev), 8, left),
      when(left, "!=", NULL_DEVICE, [set(isSame, 0)]),
    ]),
  ]),
];

const entries = slot("known execs left"), isFound = slot("exec is known");

const whenSame = (ops: readonly Op[]): Op => when(isSame, "==", 1, ops);

const findEntry: readonly Op[] = [
  add(known, knownHead.count, place),
  load(place, 4, entries),
  when(entries, "==", 0, [leave]),
  add(known, knownHead.entries, entry),
  repeatUntil(
    [
      ...entryNumber("length", entryLength),
      add(entry, entryLength, found),
      add(known, knownLength, wanted),
      ...whenLess(wanted, found, [leave]),
      ...whenLess(entryLength, ENTRY_HEAD, [leave]),
      set(isSame, 1),
      ...compareArgv,
      whenSame(compareRequest),
      ...entryNumber("flags", flags),
      whenSame(whenFlag("detached", [], compareForeground)),
      when(isSame, "==", 1, [set(isFound, 1), set(entries, 0)], [
        advance(entries, -1),
        advance(entry, entryLength),
      ]),
    ],
    entries,
    0,
  ),
  need(isFound, 1),
];

/** Finds the exec. */
export const findKnown: readonly Step[] = [
  step("map the execs that are known", "", mapFile),
  step("check that container, program and caller are the same", "", checkHead),
  step("find the request", "", findEntry),
];

/** Unmaps the file: the snapshot may need the addresses. */
export const forgetKnown: readonly Op[] = [
  when(known, "!=", 0, [call("munmap", [known, knownLength], { tolerate: ["*"] })]),
];
