import { assert, assertEquals } from "@std/assert";
import { PAGE, type Piece } from "../../../tools/snapshot/memory.ts";
import { rangesToRead, scatter } from "../../../tools/snapshot/touched.ts";

const START = 0x2000_0000_0000n;
const address = (page: number) => START + BigInt(page * PAGE);

/** A piece whose pages hold their numbers. */
function piece(from: number, to: number): Piece {
  const content = new Uint8Array(new ArrayBuffer((to - from) * PAGE));
  for (let page = from; page < to; page++) content.fill(page, (page - from) * PAGE, (page - from + 1) * PAGE);
  return { start: address(from), length: (to - from) * PAGE, prot: 3, content };
}

Deno.test("scatter() keeps each page, and lets none of them follow the one before it", () => {
  const zeroes: Piece = { start: address(90), length: 10 * PAGE, prot: 3 };
  const scattered = scatter([piece(1, 5), zeroes, piece(7, 9)]);
  const pages = scattered.filter(({ content }) => content !== undefined);
  assertEquals(pages.map(({ start }) => start), [8, 7, 4, 3, 2, 1].map(address));
  for (const { start, content, length } of pages) {
    assertEquals([length, content!.length], [PAGE, PAGE]);
    assert(content!.every((byte) => address(byte) === start));
  }
  assertEquals(scattered.filter(({ content }) => content === undefined), [zeroes]);
});

Deno.test("scatter() leaves pieces alone that would be more areas than a process can have", () => {
  const large: Piece = { ...piece(0, 1), length: 60_001 * PAGE, content: new Uint8Array(60_001 * PAGE) };
  assertEquals(scatter([large]), [large]);
});

Deno.test("rangesToRead() has every used page, small gaps, and nothing across pieces or longer than 128 KiB", () => {
  const ranges = (pieces: readonly Piece[], pages: readonly number[]) =>
    rangesToRead(pieces, new Set(pages.map(address))).map(({ start, length }) => {
      const from = Number((start - START) / BigInt(PAGE));
      return [from, from + length / PAGE];
    });
  const one = [piece(0, 100)];
  assertEquals(ranges(one, []), []);
  assertEquals(ranges(one, [3, 4, 7, 11]), [[3, 8], [11, 12]]);
  assertEquals(ranges([{ ...piece(0, 100), prot: 5 }], [3, 4, 9, 15]), [[3, 10], [15, 16]]);
  assertEquals(ranges([piece(0, 4), piece(4, 8)], [3, 4]), [[3, 4], [4, 5]]);
  const all = Array.from({ length: 70 }, (_, page) => page);
  assertEquals(ranges(one, all), [[0, 32], [32, 64], [64, 70]]);
  // A range that would be longer with its gap ends before it.
  assertEquals(ranges(one, [...all.slice(0, 31), 33]), [[0, 31], [33, 34]]);
});
