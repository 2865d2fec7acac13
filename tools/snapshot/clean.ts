/**
 * Removes from the memory what the program does not need and what would tell of the host that it was started on.
 *
 * @module
 */

import type { SnapshotPoint } from "../../lib/ffi/snapshot.ts";
import { type Piece, type ProcessMemory, Prot } from "./memory.ts";
import { Haystack } from "./search.ts";

/** Functions may use this many bytes below the stack pointer without moving it. System V ABI, AMD64, "red zone" */
const RED_ZONE = 128n;
/** The offset of rsp in the register block of lib/ffi/snapshot.ts. */
const STACK_POINTER_AT = 48n;

/** A stack. Only the part from `pointer` on is in use. */
export interface Stack {
  readonly start: bigint;
  readonly pointer: bigint;
  readonly end: bigint;
}

/** The stack of the thread that will be resumed. */
export function ownStack(memory: ProcessMemory, { registers }: SnapshotPoint): Stack {
  const pointer = new BigUint64Array(memory.read(registers + STACK_POINTER_AT, 8).buffer)[0]!;
  const { start, end } = memory.areas().find((area) => pointer >= area.start && pointer < area.end)!;
  return { start, pointer, end };
}

/**
 * The stacks of the process's other threads. A resumed process does not have these threads, but their control blocks,
 * which are above the stack pointers, are in lists of glibc.
 */
export function otherStacks(memory: ProcessMemory, pid: number): readonly Stack[] {
  const areas = memory.areas();
  const threads = [...Deno.readDirSync(`/proc/${pid}/task`)].filter(({ name }) => name !== String(pid));
  return threads.flatMap(({ name }): readonly Stack[] => {
    // The last two words are the stack pointer and the program counter. proc_pid_syscall(5)
    const pointer = Deno.readTextFileSync(`/proc/${pid}/task/${name}/syscall`).trim().split(" ").at(-2);
    if (pointer === undefined) return [];
    const area = areas.find(({ start, end }) => BigInt(pointer) >= start && BigInt(pointer) < end);
    return area === undefined ? [] : [{ start: area.start, pointer: BigInt(pointer), end: area.end }];
  });
}

/** Clears the unused parts of stacks. */
export function clearStacks(pieces: readonly Piece[], stacks: readonly Stack[]): void {
  for (const stack of stacks) {
    for (const { start, content } of pieces) {
      if (content === undefined || start < stack.start || start >= stack.end) continue;
      const end = Number(stack.pointer - RED_ZONE - start);
      if (end > 0) content.fill(0, 0, Math.min(end, content.length));
    }
  }
}

const ERASED = "x".charCodeAt(0);

/** Overwrites every occurrence of the texts in writable memory, in each of V8's and C's encodings. */
export function eraseTexts(pieces: readonly Piece[], texts: readonly string[]): void {
  const needles = texts.flatMap(encodingsOf);
  for (const { prot, content } of pieces) {
    if (content === undefined || (prot & Prot.WRITE) === 0) continue;
    const haystack = new Haystack(content);
    for (const needle of needles) {
      for (const offset of haystack.offsetsOf(needle)) erase(content, offset, needle);
    }
  }
}

/** Keeps zero bytes, so that a UTF-16 text stays one. */
function erase(content: Uint8Array, offset: number, needle: Uint8Array): void {
  needle.forEach((byte, index) => {
    if (byte !== 0) content[offset + index] = ERASED;
  });
}

/** UTF-8, and if that differs or is not enough, Latin-1 and UTF-16. */
function encodingsOf(text: string): readonly Uint8Array[] {
  const units = Uint16Array.from(text, (character) => character.charCodeAt(0));
  const utf16 = new Uint8Array(units.buffer);
  const utf8 = new TextEncoder().encode(text);
  const isLatin1 = units.every((unit) => unit <= 0xff);
  return utf8.length === units.length || !isLatin1 ? [utf8, utf16] : [utf8, utf16, Uint8Array.from(units)];
}
