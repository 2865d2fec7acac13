/**
 * The parts of ptrace(2) that are needed to trace a child's system calls. x86_64 only.
 *
 * @module
 */

import { alloc, type Kernel } from "../../lib/ffi/kernel.ts";

// linux/ptrace.h
export const PTRACE_CONT = 7, PTRACE_DETACH = 17, PTRACE_SYSCALL = 24, PTRACE_SEIZE = 0x4206;
export const PTRACE_O_TRACESYSGOOD = 1, PTRACE_O_TRACEEXIT = 0x40, PTRACE_EVENT_EXIT = 6;
export const PTRACE_O_TRACEEXEC = 0x10, PTRACE_EVENT_EXEC = 4;
/** Kills the child when this process ends. */
export const PTRACE_O_EXITKILL = 0x100000;
const PTRACE_GET_SYSCALL_INFO = 0x420e, PTRACE_SYSCALL_INFO_ENTRY = 1;
/** `struct ptrace_syscall_info`: the kind of stop and, on entry, the call's number and arguments. */
const syscallInfo = { size: 88, op: 0, number: 24, args: 32 } as const;
const SIGTRAP = 5, WUNTRACED = 2;

/** A child that is stopped before or after a system call. */
export interface SyscallStop {
  readonly op: number;
  /** On entry only. */
  readonly number: bigint;
  /** The six arguments, on entry only. */
  readonly args: readonly bigint[];
}

/** Waits until a child stops or ends; returns its wait status. @see wait(2) */
export function waitStop(kernel: Kernel, pid: number): number {
  const status = alloc(4);
  kernel.must(`waitpid(${pid})`, "waitpid", pid, status, WUNTRACED);
  return new DataView(status.buffer).getInt32(0, true);
}

/** The signal that stopped a child; undefined if it ended. WIFSTOPPED, WSTOPSIG, wait(2) */
export function stopSignal(status: number): number | undefined {
  return (status & 0xff) === 0x7f ? status >> 8 & 0xff : undefined;
}

/** Whether the child stopped before or after a system call. @see PTRACE_O_TRACESYSGOOD */
export const isSyscallStop = (status: number): boolean => stopSignal(status) === (SIGTRAP | 0x80);

/** The system call of the stop. @throws {RuncError} */
export function readSyscall(kernel: Kernel, pid: number): SyscallStop {
  const info = alloc(syscallInfo.size);
  kernel.must("ptrace(PTRACE_GET_SYSCALL_INFO)", "ptrace", PTRACE_GET_SYSCALL_INFO, pid, info.length, info);
  const view = new DataView(info.buffer);
  const word = (at: number) => view.getBigUint64(at, true);
  return {
    op: info[syscallInfo.op]!,
    number: word(syscallInfo.number),
    args: Array.from({ length: 6 }, (_, index) => word(syscallInfo.args + 8 * index)),
  };
}

/** Whether the call is about to be made. */
export const isEntry = ({ op }: SyscallStop): boolean => op === PTRACE_SYSCALL_INFO_ENTRY;

const PTRACE_GETREGS = 12, PTRACE_SETREGS = 13;

/** `struct user_regs_struct` of x86_64, in order. sys/user.h */
const registerNames = [
  ...["r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi"] as const,
  ...["orig_rax", "rip", "cs", "eflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs", "gs"] as const,
] as const;

/** The registers of a child. */
export type Registers = Readonly<Record<typeof registerNames[number], bigint>>;

/** The registers of a stopped child. @throws {RuncError} */
export function readRegisters(kernel: Kernel, pid: number): Registers {
  const words = new BigUint64Array(new ArrayBuffer(8 * registerNames.length));
  kernel.must("ptrace(PTRACE_GETREGS)", "ptrace", PTRACE_GETREGS, pid, 0, new Uint8Array(words.buffer));
  return Object.fromEntries(registerNames.map((name, index) => [name, words[index]!])) as Registers;
}

/** Sets the registers of a stopped child. @throws {RuncError} */
export function writeRegisters(kernel: Kernel, pid: number, registers: Registers): void {
  const words = BigUint64Array.from(registerNames, (name) => registers[name]);
  kernel.must("ptrace(PTRACE_SETREGS)", "ptrace", PTRACE_SETREGS, pid, 0, new Uint8Array(words.buffer));
}
