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

import type { Kernel } from "../../lib/ffi/kernel.ts";
import { kill } from "../../lib/ffi/process/process.ts";
import { moveStack } from "./move_stack.ts";
import {
  isEntry,
  isSyscallStop,
  PTRACE_DETACH,
  PTRACE_EVENT_EXEC,
  PTRACE_O_EXITKILL,
  PTRACE_O_TRACEEXEC,
  PTRACE_O_TRACESYSGOOD,
  PTRACE_SEIZE,
  PTRACE_SYSCALL,
  readRegisters,
  readSyscall,
  stopSignal,
  waitStop,
  writeRegisters,
} from "./ptrace.ts";

/** This range is unused: programs and libraries are at the top or the bottom of the address space. */
const GATHERED_AT = 0x2000_0000_0000n;
const CHUNK = 256n * 1024n;
/** The excess that V8 requests and then unmaps, because its chunks must be aligned to their size. */
const SPARE = CHUNK - 4096n;

const SYS_mmap = 9n, PROT_READ_WRITE = 3n, MAP_PRIVATE_ANONYMOUS = 0x22n;
const SIGSTOP = 19, SIGCONT = 18;

/**
 * Resumes a child that has stopped itself and traces it until it stops itself again. The stop then looks like an
 * untraced one. If this process may not trace, V8's addresses stay as they are.
 */
export function gatherUntilStop(kernel: Kernel, pid: number): void {
  const options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
  if (kernel.call("ptrace", PTRACE_SEIZE, pid, 0, options) < 0) {
    kill(kernel, pid, SIGCONT);
    return;
  }
  let next = GATHERED_AT;
  kill(kernel, pid, SIGCONT);
  for (let status = waitStop(kernel, pid);; status = waitStop(kernel, pid)) {
    const signal = stopSignal(status);
    // The child has ended. The caller will notice.
    if (signal === undefined) return;
    if (status >> 16 === PTRACE_EVENT_EXEC) moveStack(kernel, pid);
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
  // A system call's first argument.
  writeRegisters(kernel, pid, { ...readRegisters(kernel, pid), rdi: next });
  return next + (length - SPARE + CHUNK - 1n) / CHUNK * CHUNK;
}
