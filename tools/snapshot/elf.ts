/**
 * The head of the executable file: the code and its data in one segment, which is not writable, and
 * zeroed memory.
 *
 * @see elf(5)
 * @module
 */

import { elfHeaders, elfHeadersSize, type LoadedSegment, SegmentFlag } from "../../lib/plan/native/elf_headers.ts";
import { PAGE } from "./memory.ts";

/** The address of the file's first pages. All addresses that Linux chooses are far above it, and so is all of Deno. */
export const BASE = 0x400000;
/** The file offset of the code, which is also the entry point. */
export const CODE_AT: number = elfHeadersSize(2);
/** The address of zeroed memory, if the code needs some. */
export const ZEROED = BASE + (1 << 20);

/**
 * The headers, then `content` from {@link CODE_AT} on: the code, then its data. Padded to whole pages.
 * `zeroLength`: of the memory at {@link ZEROED} in bytes. @throws {RangeError} if the content reaches that memory.
 */
export function executableHead(content: Uint8Array, zeroLength = 0): Uint8Array<ArrayBuffer> {
  const head = new Uint8Array(Math.ceil((CODE_AT + content.length) / PAGE) * PAGE);
  if (zeroLength > 0 && BASE + head.length > ZEROED) {
    throw new RangeError(`${head.length} bytes of code and tables are too many`);
  }
  head.set(content, CODE_AT);
  const { PF_R, PF_W, PF_X } = SegmentFlag;
  const code: LoadedSegment = {
    flags: PF_R | PF_X,
    offset: 0,
    address: BASE,
    fileSize: head.length,
    memorySize: head.length,
    align: PAGE,
  };
  const zeroed: LoadedSegment = {
    flags: PF_R | PF_W,
    offset: 0,
    address: ZEROED,
    fileSize: 0,
    memorySize: zeroLength,
    align: PAGE,
  };
  const segments = zeroLength === 0 ? [code] : [code, zeroed];
  head.set(elfHeaders({ arch: "x86_64", entry: BASE + CODE_AT, segments }));
  return head;
}
