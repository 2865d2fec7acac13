/**
 * The headers of an ELF executable without sections: the file's header and one program header for each segment.
 *
 * @see elf(5); System V ABI, chapters 4 and 5
 * @module
 */

import type { Arch } from "../../ffi/syscalls.ts";

const ELF_HEADER_SIZE = 64, PROGRAM_HEADER_SIZE = 56;

/** include/uapi/linux/elf-em.h */
const machine: Record<Arch, number> = { x86_64: 62, aarch64: 183 };
/** include/uapi/linux/elf.h */
const ET_EXEC = 2, PT_LOAD = 1, PT_GNU_STACK = 0x6474e551;
/** Permissions of a segment: bits of {@link LoadedSegment.flags}. */
export const SegmentFlag = { PF_X: 1, PF_W: 2, PF_R: 4 } as const;

/** A part of the file that the kernel maps. Offset, address and sizes are below 2^32. */
export interface LoadedSegment {
  /** PF_* */
  readonly flags: number;
  /** In the file, in bytes. */
  readonly offset: number;
  readonly address: number;
  readonly fileSize: number;
  /** The memory after the file's part is zeroed. */
  readonly memorySize: number;
  readonly align: number;
}

/** The size of {@link elfHeaders} for a number of segments, in bytes. */
export const elfHeadersSize = (segments: number): number => ELF_HEADER_SIZE + (segments + 1) * PROGRAM_HEADER_SIZE;

/** The start of a file that is executed at `entry` with the segments, and with a stack that is not executable. */
export function elfHeaders(
  { arch, entry, segments }: { arch: Arch; entry: number; segments: readonly LoadedSegment[] },
): Uint8Array<ArrayBuffer> {
  const headers = new Uint8Array(elfHeadersSize(segments.length));
  const view = new DataView(headers.buffer);
  const stack: LoadedSegment = {
    flags: SegmentFlag.PF_R | SegmentFlag.PF_W,
    offset: 0,
    address: 0,
    fileSize: 0,
    memorySize: 0,
    align: 16,
  };
  writeElfHeader(view, { arch, entry, count: segments.length + 1 });
  segments.forEach((segment, index) => writeProgramHeader(view, index, PT_LOAD, segment));
  // arch/x86/include/asm/elf.h says what happens without this header.
  writeProgramHeader(view, segments.length, PT_GNU_STACK, stack);
  return headers;
}

/** `Elf64_Ehdr`. Fields that are not set are 0. */
function writeElfHeader(
  view: DataView,
  { arch, entry, count }: { arch: Arch; entry: number; count: number },
): void {
  view.setUint32(0, 0x7f454c46); // "\x7fELF"
  view.setUint8(4, 2); // ELFCLASS64
  view.setUint8(5, 1); // ELFDATA2LSB
  view.setUint8(6, 1); // EV_CURRENT
  view.setUint16(16, ET_EXEC, true); // e_type
  view.setUint16(18, machine[arch], true); // e_machine
  view.setUint32(20, 1, true); // e_version
  view.setUint32(24, entry, true); // e_entry, low half
  view.setUint32(32, ELF_HEADER_SIZE, true); // e_phoff, low half
  view.setUint16(52, ELF_HEADER_SIZE, true); // e_ehsize
  view.setUint16(54, PROGRAM_HEADER_SIZE, true); // e_phentsize
  view.setUint16(56, count, true); // e_phnum
}

/** `Elf64_Phdr`. Every number fits into the low half of its 64 bits. */
function writeProgramHeader(view: DataView, index: number, type: number, segment: LoadedSegment): void {
  const at = ELF_HEADER_SIZE + index * PROGRAM_HEADER_SIZE;
  view.setUint32(at, type, true); // p_type
  view.setUint32(at + 4, segment.flags, true); // p_flags
  view.setUint32(at + 8, segment.offset, true); // p_offset
  view.setUint32(at + 16, segment.address, true); // p_vaddr
  view.setUint32(at + 24, segment.address, true); // p_paddr
  view.setUint32(at + 32, segment.fileSize, true); // p_filesz
  view.setUint32(at + 40, segment.memorySize, true); // p_memsz
  view.setUint32(at + 48, segment.align, true); // p_align
}
