/**
 * Gives a program whose snapshot will be taken a stack at an address of our choice, and no vDSO.
 *
 * The kernel places each process's stack and vDSO near the top of the address space, on some kernels nearly at the same
 * address: those of a snapshot may then be where the resuming process has its own. Without a vDSO, libc makes system
 * calls.
 *
 * @see execve(2), ptrace(2), proc_pid_mem(5), System V ABI, AMD64, figure 3.9
 * @module
 */

import { RuncError } from "../../lib/errors.ts";
import { open } from "../../lib/ffi/files.ts";
import { alloc, type Kernel } from "../../lib/ffi/kernel.ts";
import { parseMaps } from "./memory.ts";
import { PTRACE_SYSCALL, readRegisters, type Registers, waitStop, writeRegisters } from "./ptrace.ts";

/** Unused, as {@link GATHERED_AT}, and below it. */
const STACK_END = 0x1fff_ff00_0000n;
/** The usual limit, ulimit -s. */
const STACK_SIZE = 8n << 20n;

const SYS_mmap = 9n, PROT_READ_WRITE = 3n, MAP_PRIVATE_ANONYMOUS_NORESERVE = 0x4022n, MAP_FIXED_NOREPLACE = 0x100000n;
/** Types of the auxiliary vector. getauxval(3), linux/auxvec.h */
const AT_NULL = 0n, AT_IGNORE = 1n, AT_SYSINFO_EHDR = 33n;
/** fcntl.h */
const O_RDWR = 2;
/** `syscall` */
const SYSCALL = new Uint8Array([0x0f, 0x05]);

/**
 * Moves the stack of a child that has just executed a program, and that is traced: it is stopped by PTRACE_EVENT_EXEC.
 * Its arguments, environment and auxiliary vector are copied. Afterwards it is stopped before its first instruction.
 *
 * @throws {RuncError} if the child ends meanwhile, or the addresses are in use.
 */
export function moveStack(kernel: Kernel, pid: number): void {
  // The end of execve(2).
  goOn(kernel, pid);
  using memory = open(kernel, `/proc/${pid}/mem`, O_RDWR);
  const read = (address: bigint, length: number) => {
    const bytes = alloc(length);
    const count = kernel.must("read of the child's memory", "pread64", memory.number, bytes, length, address);
    return bytes.subarray(0, count);
  };
  const write = (address: bigint, bytes: Uint8Array<ArrayBuffer>) =>
    void kernel.must("write to the child's memory", "pwrite64", memory.number, bytes, bytes.length, address);
  const registers = readRegisters(kernel, pid);
  const { rip, rsp } = registers;
  const first = read(rip, SYSCALL.length);
  write(rip, SYSCALL);
  reserve(kernel, pid, registers);
  write(rip, first);
  const stack = parseMaps(Deno.readTextFileSync(`/proc/${pid}/maps`)).find(({ start, end }) =>
    rsp >= start && rsp < end
  );
  if (stack === undefined) throw new RuncError("internal", "the child has no stack");
  const moved = movedStack(read(rsp, Number(stack.end - rsp)), rsp, STACK_END - stack.end);
  write(STACK_END - BigInt(moved.length), moved);
  writeRegisters(kernel, pid, { ...registers, rsp: STACK_END - BigInt(moved.length) });
}

/** Makes the child call mmap(2) by the instruction that it is at. */
function reserve(kernel: Kernel, pid: number, registers: Registers): void {
  writeRegisters(kernel, pid, {
    ...registers,
    rax: SYS_mmap,
    // Not within a call, so that none is begun again.
    orig_rax: (1n << 64n) - 1n,
    rdi: STACK_END - STACK_SIZE,
    rsi: STACK_SIZE,
    rdx: PROT_READ_WRITE,
    r10: MAP_PRIVATE_ANONYMOUS_NORESERVE | MAP_FIXED_NOREPLACE,
    r8: (1n << 64n) - 1n,
    r9: 0n,
  });
  // Before the call, and after it.
  goOn(kernel, pid);
  goOn(kernel, pid);
  const { rax } = readRegisters(kernel, pid);
  if (rax !== STACK_END - STACK_SIZE) throw new RuncError("internal", "the addresses for the stack are in use");
}

/** To the next system call's beginning or end. */
function goOn(kernel: Kernel, pid: number): void {
  kernel.must("ptrace(PTRACE_SYSCALL)", "ptrace", PTRACE_SYSCALL, pid, 0, 0);
  waitStop(kernel, pid);
}

/**
 * A new program's stack, from the stack pointer `at` up, as it has to be `distance` further up, without the vDSO's
 * address. Pure.
 *
 * argc, argv, NULL, envp, NULL, and pairs of the auxiliary vector, of which some point to what follows.
 */
export function movedStack(bytes: Uint8Array<ArrayBuffer>, at: bigint, distance: bigint): Uint8Array<ArrayBuffer> {
  const moved = bytes.slice();
  const view = new DataView(moved.buffer);
  const isOnStack = (value: bigint) => value >= at && value < at + BigInt(bytes.length);
  const move = (offset: number): bigint => {
    const value = view.getBigUint64(offset, true);
    if (isOnStack(value)) view.setBigUint64(offset, value + distance, true);
    return value;
  };
  let offset = 8;
  for (let lists = 0; lists < 2; offset += 8) if (move(offset) === 0n) lists++;
  for (let type = view.getBigUint64(offset, true); type !== AT_NULL; type = view.getBigUint64(offset, true)) {
    if (type === AT_SYSINFO_EHDR) view.setBigUint64(offset, AT_IGNORE, true);
    move(offset + 8);
    offset += 16;
  }
  return moved;
}
