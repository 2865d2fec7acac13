/**
 * Sparse files in archives: only their data is there, and a map that says where it belongs. Pure.
 *
 * @see https://www.gnu.org/software/tar/manual/html_section/Sparse-Formats.html
 * @module
 */

import { RuncError } from "../../../errors.ts";
import { byteString } from "./byte_string.ts";
import { invalidArchive, parseNumber } from "./header.ts";
import type { Records } from "./pax.ts";

/** A part of the file that has data. */
export interface Segment {
  readonly offset: number;
  readonly size: number;
}

/** Where the data of a file belongs. */
export interface SparseMap {
  readonly segments: readonly Segment[];
  /** Of the whole file, in bytes. */
  readonly size: number;
}

/** A map is held in memory. A file with more parts is no image's. */
const MOST_SEGMENTS = 1_000_000;

/** The map, if it describes `stored` bytes of data. @throws {RuncError} `image-invalid` */
export function checkMap(map: SparseMap, stored: number): SparseMap {
  let end = 0, sum = 0;
  for (const { offset, size } of map.segments) {
    if (offset < end || size < 0) throw invalidArchive("the parts of a sparse file overlap");
    end = offset + size;
    sum += size;
  }
  if (end > map.size || sum !== stored) throw invalidArchive("the map of a sparse file is wrong");
  return map;
}

/** The parts in a block of GNU's old format, and whether another block follows. */
export function parseOldMap(block: Uint8Array, place: "header" | "extension"): {
  segments: readonly Segment[];
  isContinued: boolean;
} {
  const [start, count, flag] = place === "header" ? [386, 4, 482] : [0, 21, 504];
  const fields = Array.from({ length: count }, (_, index) => start + 24 * index);
  const segments = fields.filter((at) => block[at] !== 0).map((at) => ({
    offset: parseNumber(block.subarray(at, at + 12), "sparse offset"),
    size: parseNumber(block.subarray(at + 12, at + 24), "sparse size"),
  }));
  return { segments, isContinued: block[flag] === 1 };
}

/** The size of the whole file in a header of GNU's old format. */
export const parseOldSize = (block: Uint8Array): number => parseNumber(block.subarray(483, 495), "sparse file's size");

/** What a pax header says of a sparse file: its size, and its map unless that is before the data. */
export function paxSparse(records: Records): { size: number; segments?: readonly Segment[] } | undefined {
  const keys = [...records.keys()].filter((key) => key.startsWith("GNU.sparse."));
  if (keys.length === 0) return undefined;
  const get = (name: string) => records.get(`GNU.sparse.${name}`);
  const map = get("map");
  if (map !== undefined) return { size: integer(get("size")), segments: pairs(map.split(",").map(integer)) };
  if (get("major") === "1" && get("minor") === "0") return { size: integer(get("realsize")) };
  throw new RuncError("unsupported", "the archive has a sparse file in a format that is not known", {
    hint: "make the archive again without --sparse",
  });
}

/**
 * Reads the map that is before the data: decimal numbers, each with a line feed, in whole blocks.
 *
 * @param nextBlock The next block of the content.
 */
export async function readMap(nextBlock: () => Promise<Uint8Array>): Promise<readonly Segment[]> {
  let text = "";
  const numbers: number[] = [];
  for (let wanted = 1; numbers.length < wanted; wanted = 1 + 2 * (numbers[0] ?? 0)) {
    if ((numbers[0] ?? 0) > MOST_SEGMENTS) throw invalidArchive(`a sparse file has more than ${MOST_SEGMENTS} parts`);
    const end = text.indexOf("\n");
    if (end === -1) {
      // A number has 19 digits at most.
      if (text.length > 20) throw invalidArchive("the map of a sparse file is not a list of numbers");
      text += byteString(await nextBlock());
    } else {
      numbers.push(integer(text.slice(0, end)));
      text = text.slice(end + 1);
    }
  }
  return pairs(numbers.slice(1));
}

function integer(text: string | undefined): number {
  if (text === undefined || !/^\d{1,15}$/.test(text)) throw invalidArchive("a number of a sparse file is not one");
  return Number(text);
}

function pairs(numbers: readonly number[]): readonly Segment[] {
  if (numbers.length % 2 !== 0) throw invalidArchive("the map of a sparse file is not complete");
  return Array.from({ length: numbers.length / 2 }, (_, index) => {
    return { offset: numbers[2 * index]!, size: numbers[2 * index + 1]! };
  });
}
