/**
 * What the kernel can do of seccomp(2).
 *
 * @module
 */

import { SeccompFilterFlag, SeccompOperation } from "./constants.ts";
import type { Kernel } from "./kernel.ts";
import { syscallNumber } from "./syscalls.ts";

const EFAULT = 14;

/** Whether the kernel knows flags. It looks at them before it looks for the filter, which is at no address here. */
export function supportsSeccompFlags(kernel: Kernel, names: readonly (keyof typeof SeccompFilterFlag)[]): boolean {
  // WAIT_KILLABLE_RECV is refused without a listener that it could be about.
  const flags = names.reduce<number>(
    (bits, name) => bits | SeccompFilterFlag[name],
    SeccompFilterFlag.SECCOMP_FILTER_FLAG_NEW_LISTENER,
  );
  const number = syscallNumber("seccomp", kernel.arch);
  return kernel.call("syscall", number, SeccompOperation.SECCOMP_SET_MODE_FILTER, flags, null) === -EFAULT;
}
