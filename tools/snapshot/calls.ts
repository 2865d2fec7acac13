/**
 * System calls of the code in a snapshot file.
 *
 * @module
 */

import { movImm, syscall } from "../../lib/plan/native/asm_x86_64.ts";
import type { Row } from "../../lib/plan/native/assembler.ts";

/** arch/x86/entry/syscalls/syscall_64.tbl */
export const Sys = {
  write: 1,
  open: 2,
  close: 3,
  lseek: 8,
  mmap: 9,
  rt_sigaction: 13,
  rt_sigreturn: 15,
  ioctl: 16,
  writev: 20,
  access: 21,
  mincore: 27,
  madvise: 28,
  getpid: 39,
  execve: 59,
  kill: 62,
  readlink: 89,
  getrlimit: 97,
  arch_prctl: 158,
  setrlimit: 160,
  gettid: 186,
  set_tid_address: 218,
  exit_group: 231,
  set_robust_list: 273,
  preadv2: 327,
  rseq: 334,
} as const;

/** Makes the call. Its arguments are in the registers. */
export const call = (name: keyof typeof Sys): readonly Row[] => [movImm("eax", Sys[name]), syscall()];
