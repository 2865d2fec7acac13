/**
 * The head of the executable file: everything in one segment, which is not writable.
 *
 * @see elf(5)
 * @module
 */

import { PAGE } from "./memory.ts";

const HEADER_SIZE = 64, PROGRAM_HEADER_SIZE = 56;

/** The address of the file's first pages. All addresses that Linux chooses are far above it, and so is all of Deno. */
export const BASE = 0x400000;
/** The file offset of the code, which is also the entry point. */
export const CODE_AT: number = HEADER_SIZE + 2 * PROGRAM_HEADER_SIZE;

const ET_EXEC = 2, EM_X86_64 = 62, PT_LOAD = 1, PT_GNU_STACK = 0x6474e551;
const PF_X = 1, PF_W = 2, PF_R = 4;

/** The headers, then `content` from {@link CODE_AT} on: the code, then its data. Padded to whole pages. */
export function executableHead(content: Uint8Array): Uint8Array<ArrayBuffer> {
  const head = new Uint8Array(Math.ceil((CODE_AT + content.length) / PAGE) * PAGE);
  head.set(content, CODE_AT);
  const view = new DataView(head.buffer);
  view.setUint32(0, 0x7f454c46); // "\x7fELF"
  view.setUint32(4, 0x02010100); // ELFCLASS64, ELFDATA2LSB, EV_CURRENT
  view.setUint16(16, ET_EXEC, true);
  view.setUint16(18, EM_X86_64, true);
  view.setUint32(20, 1, true); // e_version
  view.setUint32(24, BASE + CODE_AT, true); // e_entry
  view.setUint32(32, HEADER_SIZE, true); // e_phoff
  view.setUint16(52, HEADER_SIZE, true); // e_ehsize
  view.setUint16(54, PROGRAM_HEADER_SIZE, true); // e_phentsize
  view.setUint16(56, 2, true); // e_phnum
  const segment = HEADER_SIZE, stack = HEADER_SIZE + PROGRAM_HEADER_SIZE;
  view.setUint32(segment, PT_LOAD, true);
  view.setUint32(segment + 4, PF_R | PF_X, true);
  view.setUint32(segment + 16, BASE, true); // p_vaddr
  view.setUint32(segment + 24, BASE, true); // p_paddr
  view.setUint32(segment + 32, head.length, true); // p_filesz
  view.setUint32(segment + 40, head.length, true); // p_memsz
  view.setUint32(segment + 48, PAGE, true); // p_align
  view.setUint32(stack, PT_GNU_STACK, true);
  view.setUint32(stack + 4, PF_R | PF_W, true); // not executable
  return head;
}
