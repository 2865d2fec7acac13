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
import { elfHeaders, elfHeadersSize, type LoadedSegment, SegmentFlag } from "./elf_headers.ts";
import { CODE_BASE, PROGRAM_BASE } from "./format.ts";
import { exitOffset, interpreterCode } from "./interpreter_code.ts";

const SEGMENTS = 2;
const CODE_OFFSET = elfHeadersSize(SEGMENTS);

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
  const codeEnd = CODE_OFFSET + code.length;
  const { PF_R, PF_W, PF_X } = SegmentFlag;
  const segments: readonly LoadedSegment[] = [
    {
      flags: PF_R | PF_X,
      offset: 0,
      address: CODE_BASE,
      fileSize: codeEnd,
      memorySize: codeEnd,
      align: SEGMENT_ALIGN,
    },
    {
      flags: PF_R | PF_W,
      offset: programOffset,
      address: PROGRAM_BASE + programOffset,
      fileSize: program.length,
      memorySize: program.length + zeroLength,
      align: SEGMENT_ALIGN,
    },
  ];
  image.set(elfHeaders({ arch, entry: CODE_BASE + CODE_OFFSET, segments }));
  image.set(code, CODE_OFFSET);
  image.set(program, programOffset);
  image.set(trailer, programOffset + program.length);
  return { image, programOffset };
}

const programOffsetAfter = (codeLength: number) => Math.ceil((CODE_OFFSET + codeLength) / 16) * 16;
