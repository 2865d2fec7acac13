/**
 * Which seccomp(2) features the kernel has.
 *
 * @module
 */

import { SeccompFilterFlag, SeccompOperation } from "../constants.ts";
import { Errno } from "../errno.ts";
import type { Kernel } from "../kernel.ts";
import { syscallNumber } from "../syscalls.ts";

/**
 * Whether the kernel knows the flags. It checks flags before it reads the filter, whose address is NULL here: EFAULT
 * means that it knows them.
 */
export function supportsSeccompFlags(kernel: Kernel, names: readonly (keyof typeof SeccompFilterFlag)[]): boolean {
  // The kernel refuses WAIT_KILLABLE_RECV without NEW_LISTENER.
  const flags = names.reduce<number>(
    (bits, name) => bits | SeccompFilterFlag[name],
    SeccompFilterFlag.SECCOMP_FILTER_FLAG_NEW_LISTENER,
  );
  const number = syscallNumber("seccomp", kernel.arch);
  return kernel.call("syscall", number, SeccompOperation.SECCOMP_SET_MODE_FILTER, flags, null) === -Errno.EFAULT;
}
