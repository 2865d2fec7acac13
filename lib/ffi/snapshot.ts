/**
 * Stops this process at a point where a snapshot of its memory can be taken and later resumed in another process
 * (tools/freeze).
 *
 * The resumed process has this thread only and this process's memory. It has no descriptor, timer or event loop of this
 * process. Its arguments, environment, ids and limits are its own.
 *
 * @module
 */

import { addressOf, alloc, type Kernel } from "./kernel.ts";
import { listingBytes, snapshotListing } from "./machine_code.ts";

/** The addresses that are needed to resume a snapshot in another process. */
export interface SnapshotPoint {
  /**
   * The registers as {@link snapshotListing} saves them, then one word for the address of the resumed process's initial
   * stack.
   */
  readonly registers: bigint;
  /** libc's variable `environ`. */
  readonly environ: bigint;
  /** The thread control block, which the register fs points to. */
  readonly threadPointer: bigint;
  /** @see get_robust_list(2) */
  readonly robustList: bigint;
  /** The rseq area that libc has registered; 0 if it has not. @see rseq(2) */
  readonly rseq: bigint;
}

const SYS_arch_prctl = 158, SYS_get_robust_list = 274, ARCH_GET_FS = 0x1003;
const REGISTERS = 7;

function pointTo(kernel: Kernel, registers: Uint8Array<ArrayBuffer>): SnapshotPoint {
  const words = alloc(24);
  const view = new DataView(words.buffer);
  const word = (at: number) => view.getBigUint64(at, true);
  kernel.must("arch_prctl(ARCH_GET_FS)", "syscall", SYS_arch_prctl, ARCH_GET_FS, words);
  const threadPointer = word(0);
  kernel.must("get_robust_list(0)", "syscall", SYS_get_robust_list, 0, words.subarray(8), words.subarray(16));
  const offset = kernel.addressIfAny("__rseq_offset");
  return {
    registers: addressOf(registers),
    environ: kernel.addressIfAny("environ")!,
    threadPointer,
    robustList: word(8),
    rseq: offset === undefined ? 0n : threadPointer + readWord(offset),
  };
}

/**
 * Calls `announce` with the addresses, then stops the process. In a resumed process it returns the words of the command
 * line, the program's name first. If this process itself is continued, it returns undefined. x86_64 only.
 */
export function stopForSnapshot(
  kernel: Kernel,
  announce: (point: SnapshotPoint) => void,
): readonly string[] | undefined {
  const registers = alloc(8 * (REGISTERS + 1));
  const code = kernel.mapCode(listingBytes(snapshotListing));
  announce(pointTo(kernel, registers));
  if (kernel.callAt(code, registers) === 0) return undefined;
  return wordsOn(new DataView(registers.buffer).getBigUint64(8 * REGISTERS, true));
}

/**
 * argc and argv as the kernel puts them on the initial stack; `stack` is its address. @see System V ABI, AMD64, figure
 * 3.9
 */
export function wordsOn(stack: bigint): readonly string[] {
  return Array.from(
    { length: Number(readWord(stack)) },
    (_, index) => readText(readWord(stack + BigInt(8 * (index + 1)))),
  );
}

function at(address: bigint): Deno.UnsafePointerView {
  return new Deno.UnsafePointerView(Deno.UnsafePointer.create(address)!);
}

const readWord = (address: bigint): bigint => at(address).getBigUint64();

/** Invalid UTF-8 becomes U+FFFD, as in `Deno.args`. */
const readText = (address: bigint): string => at(address).getCString();
