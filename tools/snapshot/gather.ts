/**
 * Places V8's memory in one contiguous range in a program whose snapshot will be taken.
 *
 * V8 requests each of its 256 KiB chunks at a random address. In a resumed snapshot, each chunk would need its own
 * calls and three pages of page tables, more than its content. So this module traces the program and changes the
 * address of each request. The address is only a hint, like V8's own.
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

/** This range is unused: programs and libraries are at the top or the bottom of the address space. */
const GATHERED_AT = 0x2000_0000_0000n;
const CHUNK = 256n * 1024n;
/** The excess that V8 requests and then unmaps, because its chunks must be aligned to their size. */
const SPARE = CHUNK - 4096n;

const PTRACE_GETREGS = 12, PTRACE_SETREGS = 13;
/** `struct user_regs_struct` of x86_64. rdi has a system call's first argument. sys/user.h */
const USER_REGS_SIZE = 27 * 8, RDI_AT = 14 * 8;
const SYS_mmap = 9n, PROT_READ_WRITE = 3n, MAP_PRIVATE_ANONYMOUS = 0x22n;
const SIGSTOP = 19, SIGCONT = 18;

/**
 * Resumes a child that has stopped itself and traces it until it stops itself again. The stop then looks like an
 * untraced one. If this process may not trace, V8's addresses stay as they are.
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
    // The child has ended. The caller will notice.
    if (signal === undefined) return;
    if (isSyscallStop(status)) next = place(kernel, pid, next);
    // A ptrace event, such as the end of the previous stop, is not a signal.
    const isReal = !isSyscallStop(status) && status >> 16 === 0;
    if (isReal && signal === SIGSTOP) {
      kernel.call("ptrace", PTRACE_DETACH, pid, 0, SIGSTOP);
      return;
    }
    kernel.call("ptrace", PTRACE_SYSCALL, pid, 0, isReal ? signal : 0);
  }
}

/** If the child is entering mmap(2) for a chunk, sets the address to `next`. Returns the next free address. */
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
