/**
 * The head of the executable file: everything in one segment, which is not writable.
 *
 * @see elf(5)
 * @module
 */

import { elfHeaders, elfHeadersSize, SegmentFlag } from "../../lib/plan/native/elf_headers.ts";
import { PAGE } from "./memory.ts";

/** The address of the file's first pages. All addresses that Linux chooses are far above it, and so is all of Deno. */
export const BASE = 0x400000;
/** The file offset of the code, which is also the entry point. */
export const CODE_AT: number = elfHeadersSize(1);

/** The headers, then `content` from {@link CODE_AT} on: the code, then its data. Padded to whole pages. */
export function executableHead(content: Uint8Array): Uint8Array<ArrayBuffer> {
  const head = new Uint8Array(Math.ceil((CODE_AT + content.length) / PAGE) * PAGE);
  head.set(content, CODE_AT);
  const { PF_R, PF_X } = SegmentFlag;
  const segment = {
    flags: PF_R | PF_X,
    offset: 0,
    address: BASE,
    fileSize: head.length,
    memorySize: head.length,
    align: PAGE,
  };
  head.set(elfHeaders({ arch: "x86_64", entry: BASE + CODE_AT, segments: [segment] }));
  return head;
}
