/**
 * Puts V8's memory side by side while a program that is to be frozen runs.
 *
 * V8 asks for each of its chunks of 256 KiB at a place that it draws by lot. Put back by a process that goes on, each would cost calls of its own
 * and three pages of page tables, more than what is in it. So the program is traced, and where it asks for a chunk the address is changed:
 * a hint, as V8's own is.
 *
 * @see mmap(2), ptrace(2)
 * @module
 */

import { alloc, type Kernel } from "../../lib/ffi/kernel.ts";
import { kill } from "../../lib/ffi/process/process.ts";
import {
  isEntry,
  isSyscallStop,
  PTRACE_DETACH,
  PTRACE_O_EXITKILL,
  PTRACE_O_TRACESYSGOOD,
  PTRACE_SEIZE,
  PTRACE_SYSCALL,
  readSyscall,
  stopSignal,
  waitStop,
} from "./ptrace.ts";

/** Nothing is there: programs and libraries are at the top of a process's addresses or the bottom. */
const GATHERED_AT = 0x2000_0000_0000n;
const CHUNK = 256n * 1024n;
/** What V8 asks for beyond what it wants, to get rid of it again: its chunks begin at multiples of their size. */
const SPARE = CHUNK - 4096n;

const PTRACE_GETREGS = 12, PTRACE_SETREGS = 13;
/** `struct user_regs_struct` of x86_64; rdi is a system call's first argument. sys/user.h */
const USER_REGS_SIZE = 27 * 8, RDI_AT = 14 * 8;
const SYS_mmap = 9n, PROT_READ_WRITE = 3n, MAP_PRIVATE_ANONYMOUS = 0x22n;
const SIGSTOP = 19, SIGCONT = 18;

/**
 * Lets a child that has stopped itself go on until it stops itself again, which it then does as if nobody had looked on. Where this process may not
 * trace, V8 has its way.
 */
export function gatherUntilStop(kernel: Kernel, pid: number): void {
  if (kernel.call("ptrace", PTRACE_SEIZE, pid, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL) < 0) {
    kill(kernel, pid, SIGCONT);
    return;
  }
  let next = GATHERED_AT;
  kill(kernel, pid, SIGCONT);
  for (let status = waitStop(kernel, pid);; status = waitStop(kernel, pid)) {
    const signal = stopSignal(status);
    // It has ended, which the caller will see.
    if (signal === undefined) return;
    if (isSyscallStop(status)) next = place(kernel, pid, next);
    // What ptrace itself tells, such as the end of the stop from before, is no signal.
    const isReal = !isSyscallStop(status) && status >> 16 === 0;
    if (isReal && signal === SIGSTOP) {
      kernel.call("ptrace", PTRACE_DETACH, pid, 0, SIGSTOP);
      return;
    }
    kernel.call("ptrace", PTRACE_SYSCALL, pid, 0, isReal ? signal : 0);
  }
}

/** Where it enters mmap(2) for a chunk, puts that at `next`; returns what is next then. */
function place(kernel: Kernel, pid: number, next: bigint): bigint {
  const call = readSyscall(kernel, pid);
  if (!isEntry(call) || call.number !== SYS_mmap) return next;
  const [hint = 0n, length = 0n, prot, flags] = call.args;
  if (hint === 0n || prot !== PROT_READ_WRITE || flags !== MAP_PRIVATE_ANONYMOUS) return next;
  const registers = alloc(USER_REGS_SIZE);
  kernel.must("ptrace(PTRACE_GETREGS)", "ptrace", PTRACE_GETREGS, pid, 0, registers);
  new DataView(registers.buffer).setBigUint64(RDI_AT, next, true);
  kernel.must("ptrace(PTRACE_SETREGS)", "ptrace", PTRACE_SETREGS, pid, 0, registers);
  return next + (length - SPARE + CHUNK - 1n) / CHUNK * CHUNK;
}
