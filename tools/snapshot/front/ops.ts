/**
 * Short names for the ops of the front.
 *
 * @module
 */

import { at, buffer, bytes, call, fail, load, set, slot, store, struct, when } from "../../../lib/plan/build.ts";
import type { At, Buffer, Op, Operand, Slot } from "../../../lib/plan/op.ts";

/** Leaves the command to the snapshot, which repeats all of it. */
export const leave: Op = fail(0, "the snapshot carries out the command");

/** Leaves the command to the snapshot unless `left` equals `right`. */
export const need = (left: Operand, right: Operand): Op => when(left, "!=", right, [leave]);

/** `out = left + right`. */
export const add = (left: Operand, right: Operand, out: Slot): Op => ({ op: "add", left, right, out });

/** `out = left - right`. */
export const sub = (left: Operand, right: Operand, out: Slot): Op => ({ op: "sub", left, right, out });

/** `out = left & right`. */
export const and = (left: Operand, right: Operand, out: Slot): Op => ({ op: "and", left, right, out });

const sign = slot("sign");

/** Runs `then` if `left` is less than `right`. Both are below 2^63. */
export function whenLess(left: Operand, right: Operand, then: readonly Op[]): readonly Op[] {
  return [sub(left, right, sign), { op: "shr", left: sign, right: 63, out: sign }, when(sign, "!=", 0, then)];
}

/** Adds to a slot. */
export const advance = (value: Slot, by: Operand): Op => add(value, by, value);

const more = slot("more");

/** Repeats `body` while `left` and `right` are not as they must be. */
export const repeatUntil = (body: readonly Op[], left: Operand, right: Operand): Op => ({
  op: "repeat",
  body,
  until: { left, right },
});

/** Closes a descriptor and forgets it. Whatever close(2) says, it is closed. */
export const close = (fd: Slot): readonly Op[] => [call("close", [fd], { tolerate: ["*"] }), set(fd, 0)];

/** The last of the words that a short text takes, which has only zeroes in texts that are looked for. */
const SHORT_SIZE = 24, LONGEST = 16;
const short = buffer("short text", SHORT_SIZE);
const [from, to, byte, length] = [slot("from"), slot("to"), slot("byte"), slot("length")];
const words = [slot("first word"), slot("second word"), slot("third word")] as const;

/** Zeroes a buffer whose size is a multiple of 8. */
export const clear = (memory: Buffer): readonly Op[] =>
  Array.from({ length: memory.size / 8 }, (_, index) => store(at(memory, 8 * index), 8, 0));

/**
 * Reads the text at an address, for {@link choose}. `value`: receives the address after the first `=`, where the text
 * ends then; 0 if there is none. If it is absent, `=` is a character like any other.
 */
export function readShort(text: Slot, value?: Slot): readonly Op[] {
  return [
    ...clear(short),
    set(from, text),
    set(to, short),
    set(length, 0),
    ...(value === undefined ? [] : [set(value, 0)]),
    repeatUntil(
      [
        { op: "load", from, size: 1, out: byte },
        set(more, byte),
        ...(value === undefined ? [] : [when(byte, "==", 0x3d, [add(from, 1, value), set(more, 0)])]),
        when(more, "!=", 0, [
          store(to, 1, byte),
          advance(from, 1),
          advance(to, 1),
          advance(length, 1),
          when(length, "==", SHORT_SIZE, [set(more, 0)]),
        ]),
      ],
      more,
      0,
    ),
    ...words.map((word, index) => load(at(short, 8 * index), 8, word)),
  ];
}

const cursor = slot("cursor"), candidate = slot("candidate");

/** `choice` becomes the number of the text that {@link readShort} has read, or 0. No number is 0. */
export function choose(numbers: Readonly<Record<string, number>>, choice: Slot): readonly Op[] {
  const entries = Object.entries(numbers);
  const table = new Uint8Array(24 * entries.length);
  const view = new DataView(table.buffer);
  entries.forEach(([name, number], index) => {
    const encoded = new TextEncoder().encode(name);
    if (encoded.length > LONGEST) throw new RangeError(`${name} is longer than ${LONGEST} bytes`);
    table.set(encoded, 24 * index);
    view.setUint32(24 * index + LONGEST, number, true);
  });
  const data = bytes(table, Object.keys(numbers).join(" "));
  const end: At = at(data, table.length);
  return [
    set(choice, 0),
    when(words[2], "==", 0, [
      set(cursor, data),
      repeatUntil(
        [
          load(cursor, 8, candidate),
          when(candidate, "==", words[0], [
            add(cursor, 8, from),
            load(from, 8, candidate),
            when(candidate, "==", words[1], [add(cursor, LONGEST, from), load(from, 8, choice)]),
          ]),
          advance(cursor, 24),
        ],
        cursor,
        end,
      ),
    ]),
  ];
}

/** Leaves the command to the snapshot unless a call has failed with this errno. */
export const needErrno = (result: Slot, errno: number): Op => need(result, -errno);

/** A file's content, up to 15 bytes, as two words. */
export interface ShortFile {
  /** Receives the words. */
  readonly words: readonly [Slot, Slot];
  /** What to do where it does not exist. */
  readonly missing: readonly Op[];
  /** What to do once it is read. */
  readonly then: readonly Op[];
  /** What to do if it cannot be read, instead of leaving the command to the snapshot. */
  readonly failed?: readonly Op[];
}

const content = buffer("short file", 24), file = slot("short file's descriptor");

/** Reads the start of a file of a few bytes. ENODEV: its cgroup is being removed. */
export function readShortFile(path: Slot, { words: [first, second], missing, then, failed }: ShortFile): readonly Op[] {
  const O_CLOEXEC = 0o2000000, AT_FDCWD = -100;
  const isMissing = slot("is missing");
  const otherwise = failed === undefined ? [] : [{ errnos: ["*"] as const, ops: [set(isMissing, 2), ...failed] }];
  return [
    set(isMissing, 0),
    ...clear(content),
    call("openat", [AT_FDCWD, path, O_CLOEXEC], {
      out: file,
      onError: [{ errnos: ["ENOENT", "ENODEV"], ops: [set(isMissing, 1)] }, ...otherwise],
    }),
    when(isMissing, "==", 0, [
      call("read", [file, content, 16], {
        onError: [{ errnos: ["ENODEV"], ops: [set(isMissing, 1)] }, ...otherwise],
      }),
      ...close(file),
    ]),
    load(content, 8, first),
    load(at(content, 8), 8, second),
    when(isMissing, "==", 1, missing, [when(isMissing, "==", 0, then)]),
  ];
}

/** The first eight bytes of a short text, as a word in memory. */
export function wordOf(text: string): ReturnType<typeof bytes> {
  const word = new Uint8Array(8);
  word.set(new TextEncoder().encode(text));
  return bytes(word, JSON.stringify(text));
}

const expected = slot("expected");

/** Runs `then` if the word in a slot has the bytes of this text, of at most 8 bytes. */
export const whenWord = (word: Slot, text: string, then: readonly Op[], otherwise?: readonly Op[]): readonly Op[] => [
  load(wordOf(text), 8, expected),
  when(word, "==", expected, then, otherwise),
];

/** The descriptor to close if the command is left to the snapshot. */
export const shortFile: Slot = file;

const SIGPIPE = 13, SIGXFSZ = 25, SIG_IGN = 1, SIGACTION_SIZE = 32, SIGSET_SIZE = 8;

/** As in the snapshot: a write without a reader, and one beyond the limit of the file's size, are errors. */
export const ignoreSignals: readonly Op[] = [SIGPIPE, SIGXFSZ].map((signal) =>
  call("rt_sigaction", [
    signal,
    struct("{SIG_IGN}", SIGACTION_SIZE, [{ at: 0, size: 8, value: SIG_IGN }]),
    0,
    SIGSET_SIZE,
  ])
);

const digit = slot("digit"), value = slot("value of digits"), rest = slot("rest of it"), isLess = slot("is less");
const ZERO = 0x30;

/** Writes the decimal digits of a number below ten millions to `start`. `end`: receives the address behind the last. */
export const writeDigits = (number: Slot, start: Operand, end: Slot): readonly Op[] => [
  set(end, start),
  set(value, number),
  ...[1e6, 1e5, 1e4, 1e3, 100, 10, 1].flatMap((power): readonly Op[] => [
    set(digit, ZERO),
    repeatUntil(
      [
        sub(value, power, rest),
        { op: "shr", left: rest, right: 63, out: isLess },
        when(isLess, "==", 0, [set(value, rest), advance(digit, 1)]),
      ],
      isLess,
      1,
    ),
    // No zero comes first.
    when(digit, "==", ZERO, [when(end, "!=", start, [store(end, 1, digit), advance(end, 1)])], [
      store(end, 1, digit),
      advance(end, 1),
    ]),
  ]),
];
