/**
 * kcmp(2): whether two descriptors refer to the same open file.
 *
 * @module
 */

import type { Kernel } from "../kernel.ts";
import { syscallNumber } from "../syscalls.ts";

/** include/uapi/linux/kcmp.h */
const KCMP_FILE = 0;

/**
 * Whether two descriptors of this process refer to the same open file. Also false if the kernel was built without
 * CONFIG_KCMP.
 */
export function isSameFile(kernel: Kernel, one: number, other: number): boolean {
  const pid = kernel.pid;
  return kernel.call("syscall", syscallNumber("kcmp", kernel.arch), pid, pid, KCMP_FILE, one, other) === 0;
}
