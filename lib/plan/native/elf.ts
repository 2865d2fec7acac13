/**
 * The image as a file: a static ELF executable that contains the interpreter and its program.
 *
 *     offset 0      ELF header, program headers ┐ mapped read-execute at CODE_BASE
 *     232           interpreter's code          ┘
 *     programBase   program                     mapped read-write at PROGRAM_BASE + its offset;
 *                                               zeroed memory follows it
 *     after it      trailer                     in the file only
 *
 * Source: elf(5); System V ABI, chapters 4 and 5.
 *
 * @module
 */

import type { Arch } from "../../ffi/syscalls.ts";
import { CODE_BASE, PROGRAM_BASE } from "./format.ts";
import { exitOffset, interpreterCode } from "./interpreter_code.ts";

const ELF_HEADER_SIZE = 64;
const PROGRAM_HEADER_SIZE = 56;
const PROGRAM_HEADERS = 3;
const CODE_OFFSET = ELF_HEADER_SIZE + PROGRAM_HEADERS * PROGRAM_HEADER_SIZE;

/** include/uapi/linux/elf-em.h */
const machine: Record<Arch, number> = { x86_64: 62, aarch64: 183 };
/** include/uapi/linux/elf.h */
const ET_EXEC = 2, PT_LOAD = 1, PT_GNU_STACK = 0x6474e551;
const PF_X = 1, PF_W = 2, PF_R = 4;
/** The largest page size, which some arm64 kernels use. It lets one page of the file serve both segments. */
const SEGMENT_ALIGN = 0x10000;

/** The parts of an image. */
export interface ImageParts {
  readonly arch: Arch;
  /** Header, instruction table and initialised data: the part that is mapped. */
  readonly program: Uint8Array;
  /** Size of the zeroed memory after the program, in bytes. */
  readonly zeroLength: number;
  /** Follows the program in the file and is not mapped. */
  readonly trailer: Uint8Array;
}

/** The address where programs for `arch` are mapped. The interpreter's code contains it. */
export const programBase = (arch: Arch): number => baseAfterCode(interpreterCode[arch].length / 2);

/** The same for an interpreter of `codeLength` bytes. */
export const baseAfterCode = (codeLength: number): number => PROGRAM_BASE + programOffsetAfter(codeLength);

/**
 * The absolute address of code that exits with status 1. It sets every register that it uses and needs no memory, so a
 * plan can install it as a signal handler.
 *
 * @see rt_sigaction(2)
 */
export const exitAddress = (arch: Arch): number => CODE_BASE + CODE_OFFSET + exitOffset[arch];

/** Builds the executable. `programOffset` is the program's offset in it, a multiple of 16. */
export function buildImage(parts: ImageParts): { image: Uint8Array<ArrayBuffer>; programOffset: number } {
  const { arch, program, zeroLength, trailer } = parts;
  const code = Uint8Array.fromHex(interpreterCode[arch]);
  const programOffset = programOffsetAfter(code.length);
  const image = new Uint8Array(programOffset + program.length + trailer.length);
  const view = new DataView(image.buffer);
  writeElfHeader(view, arch);
  const codeEnd = CODE_OFFSET + code.length;
  const segments: readonly Segment[] = [
    { type: PT_LOAD, flags: PF_R | PF_X, offset: 0, address: CODE_BASE, fileSize: codeEnd, memorySize: codeEnd },
    {
      type: PT_LOAD,
      flags: PF_R | PF_W,
      offset: programOffset,
      address: PROGRAM_BASE + programOffset,
      fileSize: program.length,
      memorySize: program.length + zeroLength,
    },
    // Requests a non-executable stack. arch/x86/include/asm/elf.h says what happens without this header.
    { type: PT_GNU_STACK, flags: PF_R | PF_W, offset: 0, address: 0, fileSize: 0, memorySize: 0 },
  ];
  segments.forEach((segment, index) => writeSegment(view, ELF_HEADER_SIZE + index * PROGRAM_HEADER_SIZE, segment));
  image.set(code, CODE_OFFSET);
  image.set(program, programOffset);
  image.set(trailer, programOffset + program.length);
  return { image, programOffset };
}

interface Segment {
  readonly type: number;
  readonly flags: number;
  readonly offset: number;
  readonly address: number;
  readonly fileSize: number;
  readonly memorySize: number;
}

const programOffsetAfter = (codeLength: number) => Math.ceil((CODE_OFFSET + codeLength) / 16) * 16;

/** `Elf64_Ehdr`. Fields that are not set are 0. */
function writeElfHeader(view: DataView, arch: Arch): void {
  view.setUint32(0, 0x7f454c46); // "\x7fELF"
  view.setUint8(4, 2); // ELFCLASS64
  view.setUint8(5, 1); // ELFDATA2LSB
  view.setUint8(6, 1); // EV_CURRENT
  view.setUint16(16, ET_EXEC, true); // e_type
  view.setUint16(18, machine[arch], true); // e_machine
  view.setUint32(20, 1, true); // e_version
  view.setUint32(24, CODE_BASE + CODE_OFFSET, true); // e_entry, low half
  view.setUint32(32, ELF_HEADER_SIZE, true); // e_phoff, low half
  view.setUint16(52, ELF_HEADER_SIZE, true); // e_ehsize
  view.setUint16(54, PROGRAM_HEADER_SIZE, true); // e_phentsize
  view.setUint16(56, PROGRAM_HEADERS, true); // e_phnum
}

/** `Elf64_Phdr`. Every number fits into the low half of its 64 bits. */
function writeSegment(view: DataView, at: number, segment: Segment): void {
  view.setUint32(at, segment.type, true); // p_type
  view.setUint32(at + 4, segment.flags, true); // p_flags
  view.setUint32(at + 8, segment.offset, true); // p_offset
  view.setUint32(at + 16, segment.address, true); // p_vaddr
  view.setUint32(at + 24, segment.address, true); // p_paddr
  view.setUint32(at + 32, segment.fileSize, true); // p_filesz
  view.setUint32(at + 40, segment.memorySize, true); // p_memsz
  view.setUint32(at + 48, segment.type === PT_LOAD ? SEGMENT_ALIGN : 16, true); // p_align
}
