import { assertEquals, assertThrows } from "@std/assert";
import { assemble, formatListing, littleEndian, type Row } from "../../../../lib/plan/native/assembler.ts";

const one = { text: "one", bytes: [1] };
/** A jump of two bytes that holds its distance. */
const jump = (label: string) => ({ text: "go", label, size: 2, encode: (distance: number) => [0xee, distance & 0xff] });

const rows: readonly Row[] = [
  [one, "why"],
  "back:",
  "also_back:",
  jump("on"),
  jump("also_back"),
  "on:",
  one,
];

Deno.test("assemble() counts a jump's distance from its own start, both ways", () => {
  const { code, labels } = assemble(rows);
  assertEquals([...code], [1, 0xee, 4, 0xee, 0xfe, 1]);
  assertEquals([...labels], [["back", 1], ["also_back", 1], ["on", 5]]);
});

Deno.test("formatListing() shows labels, offsets, bytes, texts with the label's name, and comments", () => {
  const expected = `  0000  01     one           ; why
back:
also_back:
  0001  ee 04  go on
  0003  ee fe  go also_back
on:
  0005  01     one
`;
  assertEquals(formatListing(assemble(rows).lines), expected);
});

Deno.test("assemble() refuses a label that is missing or stands twice", () => {
  assertThrows(() => assemble([jump("nowhere")]), RangeError, "nowhere");
  assertThrows(() => assemble(["here:", one, "here:", one]), RangeError, "here");
});

Deno.test("littleEndian() takes signed and unsigned numbers that fit", () => {
  assertEquals(littleEndian(-2, 4), [0xfe, 0xff, 0xff, 0xff]);
  assertEquals(littleEndian(0xfffffffe, 4), [0xfe, 0xff, 0xff, 0xff]);
  assertEquals(littleEndian(0x1234, 2), [0x34, 0x12]);
  assertEquals(littleEndian(255, 1), [255]);
  for (const [value, size] of [[256, 1], [-129, 1], [2 ** 32, 4], [0x10000, 2]] as const) {
    assertThrows(() => littleEndian(value, size), RangeError);
  }
});
