/**
 * Changes of texts and of bytes.
 *
 * @module
 */

import type { Random } from "./random.ts";

/** Numbers at the edges of what programs store them in. */
export const numbers: readonly string[] = [
  ...["-1", "0", "00", "1", "127", "128", "255", "256", "4095", "4096", "65535", "65536", "2147483647", "2147483648"],
  ...["4294967295", "4294967296", "9007199254740991", "9007199254740993", "9223372036854775807"],
  ...["9223372036854775808", "18446744073709551615", "18446744073709551616", "-9223372036854775809", "1e400", "NaN"],
  ...["0x10", "1.5", "1e3", "+1", "max", "9".repeat(400)],
];

/** Pieces that readers stumble over. */
const oddities: readonly string[] = [
  ...[
    "\0",
    "\n",
    "\n\n",
    "\r\n",
    "\t",
    " ",
    "  ",
    ":",
    "::",
    ",",
    "=",
    "/",
    "//",
    "/../",
    "-",
    "--",
    '"',
    "'",
    "\\",
    "\\040",
  ],
  ...[
    "\\134",
    "\ud800",
    "\udfff",
    "\u00e9",
    "\u{1f600}",
    "\ufeff",
    "\u2028",
    "__proto__",
    "constructor",
    "{",
    "}",
    "[",
    "]",
  ],
  ...["(", ")", "a".repeat(300), "/".repeat(200), "\\".repeat(60)],
];

type TextChange = (text: string, random: Random, words: readonly string[]) => string;

const cut = (text: string, from: number, to: number, between = "") => text.slice(0, from) + between + text.slice(to);

/** A place in a text, and one a little further on. */
function range(text: string, random: Random): readonly [from: number, to: number] {
  const from = random.below(text.length + 1);
  return [from, Math.min(text.length, from + random.below(random.chance(80) ? 8 : 200))];
}

/** Changes one of the parts that `separator` leaves. */
function changePart(
  text: string,
  random: Random,
  separator: string,
  change: (part: string) => string | undefined,
): string {
  const parts = text.split(separator);
  const index = random.below(parts.length);
  const changed = change(parts[index]!);
  parts.splice(index, 1, ...(changed === undefined ? [] : [changed]));
  return parts.join(separator);
}

const textChanges: readonly TextChange[] = [
  (text, random) => cut(text, ...range(text, random)),
  (text, random, words) => cut(text, ...range(text, random), random.pick(words)),
  (text, random) => cut(text, ...range(text, random), random.pick(oddities)),
  (text, random) => {
    const at = random.below(text.length + 1);
    return cut(text, at, at, random.pick(oddities));
  },
  (text, random) => {
    const [from, to] = range(text, random);
    return cut(text, to, to, text.slice(from, to).repeat(random.chance(90) ? 1 : 50));
  },
  (text, random) => cut(text, random.below(text.length + 1), text.length),
  (text, random) => changePart(text, random, "\n", () => undefined),
  (text, random) => changePart(text, random, "\n", (line) => `${line}\n${line}`),
  (text, random, words) =>
    changePart(
      text,
      random,
      "\n",
      (line) => changePart(line, random, random.pick([" ", ":", ",", "="]), () => random.pick(words)),
    ),
  (text, random) =>
    changePart(text, random, "\n", (line) => changePart(line, random, random.pick([" ", ":", ","]), () => undefined)),
  (text, random) => text.replaceAll(/\d+/g, (number) => random.chance(10) ? random.pick(numbers) : number),
  (text, random) => {
    const found = [...text.matchAll(/\d+/g)];
    if (found.length === 0) return text + random.pick(numbers);
    const { index, 0: number } = random.pick(found);
    return cut(text, index, index + number.length, random.pick(numbers));
  },
  (text, random) => {
    const at = random.below(text.length + 1);
    return cut(text, at, at + 1, String.fromCharCode(random.below(random.chance(80) ? 128 : 65536)));
  },
];

/** A text longer than this is not made longer: what matters of long texts is seen at this length. */
const LONGEST = 200_000;

/** Changes a text a few times. `words`: what may stand in such a text. */
export function mutateText(text: string, random: Random, words: readonly string[] = numbers): string {
  let changed = text;
  for (let count = random.few(6); count > 0; count--) changed = random.pick(textChanges)(changed, random, words);
  return changed.slice(0, LONGEST);
}

type Bytes = Uint8Array<ArrayBuffer>;
type BytesChange = (bytes: Bytes, random: Random) => Bytes;

const edges = [0, 1, 2, 3, 7, 8, 127, 128, 255, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff];

const bytesChanges: readonly BytesChange[] = [
  (bytes, random) =>
    patched(bytes, random, (view, at) => view.setUint8(at, view.getUint8(at) ^ 1 << random.below(8)), 1),
  (bytes, random) => patched(bytes, random, (view, at) => view.setUint8(at, random.below(256)), 1),
  (bytes, random) => patched(bytes, random, (view, at) => view.setUint16(at, random.pick(edges), random.chance(80)), 2),
  (bytes, random) => patched(bytes, random, (view, at) => view.setUint32(at, random.pick(edges), random.chance(80)), 4),
  (bytes, random) =>
    patched(bytes, random, (view, at) => view.setUint32(at, view.getUint32(at, true) + random.below(9) - 4, true), 4),
  (bytes, random) => bytes.slice(0, random.below(bytes.length + 1)),
  (bytes, random) => {
    const at = random.below(bytes.length + 1);
    return joined(bytes.subarray(0, at), bytes.subarray(Math.min(bytes.length, at + random.few(16))));
  },
  (bytes, random) => {
    const at = random.below(bytes.length + 1);
    const added = Uint8Array.from({ length: random.few(16) }, () => random.pick([0, 255, random.below(256)]));
    return joined(bytes.subarray(0, at), added, bytes.subarray(at));
  },
  (bytes, random) => {
    const from = random.below(bytes.length + 1), at = random.below(bytes.length + 1);
    return joined(bytes.subarray(0, at), bytes.subarray(from, from + random.below(600)), bytes.subarray(at));
  },
];

/** A copy of the bytes in which `change` has changed `size` of them. */
function patched(bytes: Bytes, random: Random, change: (view: DataView, at: number) => void, size: number): Bytes {
  if (bytes.length < size) return bytes;
  const copy = bytes.slice();
  change(new DataView(copy.buffer), random.below(copy.length - size + 1));
  return copy;
}

/** The pieces in a row. */
export function joined(...pieces: readonly Uint8Array[]): Bytes {
  const all = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

/** Changes bytes a few times. */
export function mutateBytes(bytes: Bytes, random: Random): Bytes {
  let changed = bytes;
  for (let count = random.few(8); count > 0; count--) changed = random.pick(bytesChanges)(changed, random);
  return changed.slice(0, LONGEST);
}
