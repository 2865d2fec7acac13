/**
 * Reads what execve(2) looks at in the first bytes of a program. Pure.
 *
 * @see elf(5), execve(2), include/uapi/linux/elf.h
 * @module
 */

/** Bytes to read: the kernel reads 256 for scripts; program headers and interpreter of ELF files are in the first page. */
export const HEAD_SIZE = 4096;

/** What the first bytes say. */
export interface ProgramHead {
  /** `e_machine`. */
  readonly machine?: number;
  /** PT_INTERP, or the program of a `#!` line. */
  readonly interpreter?: string;
  /** Neither an ELF file nor a script. */
  readonly isUnknown?: boolean;
}

const PT_INTERP = 3;

/** Offsets of the fields, for 32 and 64 bits. */
const layouts = {
  1: { phoff: 28, phentsize: 42, phnum: 44, offset: 4, filesz: 16, wide: false },
  2: { phoff: 32, phentsize: 54, phnum: 56, offset: 8, filesz: 32, wide: true },
} as const;

/** `head`: the first bytes of the file, up to {@link HEAD_SIZE}. */
export function readProgramHead(head: Uint8Array): ProgramHead {
  const text = (from: number, to: number) => new TextDecoder().decode(head.subarray(from, to));
  if (text(0, 2) === "#!") {
    const [interpreter = ""] = text(2, head.length).split("\n", 1)[0]!.trim().split(/[ \t]/);
    return interpreter === "" ? { isUnknown: true } : { interpreter };
  }
  if (head.length < 64 || text(0, 4) !== "\x7fELF") return { isUnknown: true };
  const view = new DataView(head.buffer, head.byteOffset, head.length);
  const little = head[5] === 1;
  const machine = view.getUint16(18, little);
  const layout = head[4] === 1 ? layouts[1] : head[4] === 2 ? layouts[2] : undefined;
  if (layout === undefined) return { isUnknown: true };
  const number = (at: number) => layout.wide ? Number(view.getBigUint64(at, little)) : view.getUint32(at, little);
  const [first, size] = [number(layout.phoff), view.getUint16(layout.phentsize, little)];
  for (let index = 0; index < view.getUint16(layout.phnum, little); index++) {
    const at = first + index * size;
    // A table elsewhere is legal; then nothing is known about the interpreter.
    if (at + layout.filesz + 8 > head.length) break;
    if (view.getUint32(at, little) !== PT_INTERP) continue;
    const [offset, length] = [number(at + layout.offset), number(at + layout.filesz)];
    if (length < 2 || offset + length > head.length) break;
    return { machine, interpreter: text(offset, offset + length - 1) };
  }
  return { machine };
}
