/**
 * The secrets by which glibc protects a process: the stack canary, and the guard that hides stored function pointers.
 * In the file they are zero. A resumed process draws its own.
 *
 * Both are in the thread control block. The canary is also in each frame of the stack that has one; a function that
 * returns compares the two. The guard is in no other place, but glibc stores pointers as rol(pointer ^ guard, 17), for
 * example those of atexit(3).
 *
 * @see sysdeps/unix/sysv/linux/dl-osinfo.h, sysdeps/unix/sysv/linux/x86_64/pointer_guard.h @ glibc 2.36
 * @module
 */

import { type Piece, Prot } from "./memory.ts";
import { Haystack } from "./search.ts";

/** Offsets in the thread control block, `tcbhead_t`. */
export const CANARY_AT = 0x28, POINTER_GUARD_AT = 0x30;
/** By how many bits glibc rotates a pointer to the left. */
export const ROTATION = 17;
const WORD = 8;

/** The words of memory that depend on the secrets. A resumed process applies its own by exclusive or. */
export interface GuardedWords {
  /** Addresses of canaries. */
  readonly canaries: readonly bigint[];
  /** Addresses of guards, not rotated. */
  readonly guards: readonly bigint[];
  /** Addresses of pointers. In the file they are stored as with a guard of zero. */
  readonly pointers: readonly bigint[];
}

/** What the search needs to know. */
export interface GuardSearch {
  /** The thread control block of the thread that will be resumed. */
  readonly threadPointer: bigint;
  /** The lowest used address of its stack. */
  readonly stackPointer: bigint;
  /** The end of its stack. */
  readonly stackEnd: bigint;
}

/**
 * Removes the secrets from the content of the pieces. Copies outside of the resumed thread's block and its live stack,
 * such as those of other threads, are zero afterwards and not listed.
 */
export function removeGuards(
  pieces: readonly Piece[],
  { threadPointer, stackPointer, stackEnd }: GuardSearch,
): GuardedWords {
  const block = contentAt(pieces, threadPointer);
  const canary = block.slice(CANARY_AT, CANARY_AT + WORD),
    guard = block.slice(POINTER_GUARD_AT, POINTER_GUARD_AT + WORD);
  const pointers = removeGuardOfPointers(pieces, new DataView(guard.buffer).getBigUint64(0, true));
  const canaries: bigint[] = [], guards: bigint[] = [];
  for (const { start, content, prot } of pieces) {
    if (content === undefined || (prot & Prot.EXEC) !== 0) continue;
    const haystack = new Haystack(content);
    // The kernel's random bytes, AT_RANDOM, are the canary and the guard, except that a canary's first byte is zero.
    for (const offset of haystack.offsetsOf(canary.subarray(1))) {
      const address = start + BigInt(offset - 1);
      const isLive = address === threadPointer + BigInt(CANARY_AT) || address >= stackPointer && address < stackEnd;
      if (isLive && isWord(content, offset - 1)) canaries.push(address);
      content.fill(0, offset - 1, offset - 1 + WORD);
    }
    for (const offset of haystack.offsetsOf(guard)) {
      if (start + BigInt(offset) === threadPointer + BigInt(POINTER_GUARD_AT)) guards.push(start + BigInt(offset));
      content.fill(0, offset, offset + WORD);
    }
  }
  return { canaries, guards, pointers };
}

/** A canary is aligned, and its first byte is zero. */
const isWord = (content: Uint8Array, offset: number) => offset % WORD === 0 && content[offset] === 0;

function contentAt(pieces: readonly Piece[], address: bigint): Uint8Array<ArrayBuffer> {
  for (const { start, content } of pieces) {
    if (content === undefined || address < start || address >= start + BigInt(content.length)) continue;
    return content.slice(Number(address - start));
  }
  throw new RangeError(`0x${address.toString(16)} is in no piece`);
}

/**
 * Finds every word that is a pointer into code if the guard is removed from it, and removes it. Any other word gives
 * random bits, which point into code in one of 2^37 cases.
 */
function removeGuardOfPointers(pieces: readonly Piece[], guard: bigint): readonly bigint[] {
  const code = pieces.filter(({ prot }) => (prot & Prot.EXEC) !== 0);
  const isCode = (address: bigint) =>
    code.some(({ start, length }) => address >= start && address < start + BigInt(length));
  const highs = new Set(code.map(({ start }) => Number(start >> 32n)));
  const guardLow = Number(guard & 0xffff_ffffn), guardHigh = Number(guard >> 32n);
  const found: bigint[] = [];
  for (const { start, prot, content } of pieces) {
    if (content === undefined || (prot & Prot.WRITE) === 0) continue;
    const words = new Uint32Array(content.buffer, content.byteOffset, content.length / 4);
    for (let index = 0; index < words.length; index += 2) {
      const low = words[index]!, high = words[index + 1]!;
      // The upper half of the word, rotated to the right by 17 bits.
      if (!highs.has(((high >>> ROTATION | low << 32 - ROTATION) ^ guardHigh) >>> 0)) continue;
      const pointer = BigInt(((low >>> ROTATION | high << 32 - ROTATION) ^ guardLow) >>> 0) |
        BigInt(((high >>> ROTATION | low << 32 - ROTATION) ^ guardHigh) >>> 0) << 32n;
      if (!isCode(pointer)) continue;
      new BigUint64Array(content.buffer, content.byteOffset + 4 * index, 1)[0] = rotate(pointer);
      found.push(start + BigInt(4 * index));
    }
  }
  return found;
}

/** Rotates a word to the left as glibc does. */
const rotate = (word: bigint) => BigInt.asUintN(64, word << BigInt(ROTATION)) | word >> BigInt(64 - ROTATION);
