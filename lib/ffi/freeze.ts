/**
 * Stops this process at a point from which others, with the same memory, go on: how a started program is kept in a file (tools/freeze).
 *
 * What goes on there is this thread alone, with the memory of then, and with nothing of the process: no descriptor, no timer, no event loop.
 * Its arguments, its environment, its ids and limits are those of now.
 *
 * @module
 */

import { addressOf, alloc, type Kernel } from "./kernel.ts";
import { assemble, freezeListing } from "./machine_code.ts";

/** What has to be known of a stopped process to let another one go on in its place: addresses. */
export interface FreezePoint {
  /** The registers as {@link freezeListing} has put them down, and behind them a word for the initial stack of whoever goes on. */
  readonly registers: bigint;
  /** libc's variable `environ`. */
  readonly environ: bigint;
  /** The thread's control block, which the register fs points to. */
  readonly threadPointer: bigint;
  /** @see get_robust_list(2) */
  readonly robustList: bigint;
  /** The area of restartable sequences, which libc has registered; 0 where it has not. @see rseq(2) */
  readonly rseq: bigint;
}

const SYS_arch_prctl = 158, SYS_get_robust_list = 274, ARCH_GET_FS = 0x1003;
const REGISTERS = 7;

function pointTo(kernel: Kernel, registers: Uint8Array<ArrayBuffer>): FreezePoint {
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
 * Stops the process, after `announce` was told where to find everything. Returns the words of the command line, the program's name first, where
 * another process goes on from here; undefined where this one does. On x86_64 only.
 */
export function freeze(kernel: Kernel, announce: (point: FreezePoint) => void): readonly string[] | undefined {
  const registers = alloc(8 * (REGISTERS + 1));
  const code = kernel.mapCode(assemble(freezeListing));
  announce(pointTo(kernel, registers));
  if (kernel.callAt(code, registers) === 0) return undefined;
  return wordsOn(new DataView(registers.buffer).getBigUint64(8 * REGISTERS, true));
}

/** argc and argv, as the kernel lays them on the initial stack, whose address this is. @see System V ABI, AMD64, figure 3.9 */
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

/** Bytes that are no UTF-8 become U+FFFD, as in `Deno.args`. */
const readText = (address: bigint): string => at(address).getCString();
