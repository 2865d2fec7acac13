/**
 * kcmp(2): whether two descriptors refer to the same open file.
 *
 * @module
 */

import type { Kernel } from "../kernel.ts";

/**
 * Source: arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h, Linux 6.1. glibc has no
 * wrapper.
 */
const SYS_kcmp = { x86_64: 312, aarch64: 272 } as const;

/** include/uapi/linux/kcmp.h */
const KCMP_FILE = 0;

/**
 * Whether two descriptors of this process refer to the same open file. Also false if the kernel was built without
 * CONFIG_KCMP.
 */
export function isSameFile(kernel: Kernel, one: number, other: number): boolean {
  const pid = kernel.pid;
  return kernel.call("syscall", SYS_kcmp[kernel.arch], pid, pid, KCMP_FILE, one, other) === 0;
}
