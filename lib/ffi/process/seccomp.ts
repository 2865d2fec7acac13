/**
 * Which seccomp(2) features the kernel has, and the questions of a filter with a listener.
 *
 * @module
 */

import { SeccompFilterFlag, SeccompOperation } from "../constants.ts";
import { Errno } from "../errno.ts";
import type { Fd } from "../fd.ts";
import { alloc, type Kernel, syscallError } from "../kernel.ts";
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

/** include/uapi/linux/seccomp.h: _IOWR('!', 0, struct seccomp_notif), _IOWR('!', 1, struct seccomp_notif_resp) */
const SECCOMP_IOCTL_NOTIF_RECV = 0xc0502100, SECCOMP_IOCTL_NOTIF_SEND = 0xc0182101;
const SECCOMP_USER_NOTIF_FLAG_CONTINUE = 1;
/** `struct seccomp_notif`: id, pid, flags, and `struct seccomp_data`: nr, arch, instruction_pointer, args[6]. */
const notif = { size: 80, id: 0, pid: 8, number: 16, arch: 20, args: 32 } as const;
/** `struct seccomp_notif_resp`: id, val, error, flags. */
const response = { size: 24, id: 0, flags: 20 } as const;

/** A system call that waits for an answer. */
export interface Notification {
  readonly id: bigint;
  /** The process, in our pid namespace. */
  readonly pid: number;
  readonly number: number;
  /** AUDIT_ARCH_*. */
  readonly auditArch: number;
  readonly args: readonly bigint[];
}

/**
 * Takes the next question from a listener; blocks if there is none. Undefined if its process has been killed. @see
 * seccomp_unotify(2) @throws {RuncError}
 */
export function receiveNotification(kernel: Kernel, listener: Fd): Notification | undefined {
  // Zeroed, which the kernel requires.
  const bytes = alloc(notif.size);
  const result = kernel.retry("ioctl", listener.number, SECCOMP_IOCTL_NOTIF_RECV, bytes);
  if (result === -Errno.ENOENT) return undefined;
  if (result < 0) throw syscallError("ioctl(SECCOMP_IOCTL_NOTIF_RECV)", -result);
  const view = new DataView(bytes.buffer);
  return {
    id: view.getBigUint64(notif.id, true),
    pid: view.getUint32(notif.pid, true),
    number: view.getInt32(notif.number, true),
    auditArch: view.getUint32(notif.arch, true),
    args: [0, 1, 2, 3, 4, 5].map((index) => view.getBigUint64(notif.args + 8 * index, true)),
  };
}

/**
 * Lets the call go on as if there were no filter. This decides nothing about security: the process can change the
 * arguments meanwhile. An error is ignored: the process has been killed. @see seccomp_unotify(2), CONTINUE
 */
export function answerContinue(kernel: Kernel, listener: Fd, id: bigint): void {
  const bytes = alloc(response.size);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(response.id, id, true);
  view.setUint32(response.flags, SECCOMP_USER_NOTIF_FLAG_CONTINUE, true);
  kernel.retry("ioctl", listener.number, SECCOMP_IOCTL_NOTIF_SEND, bytes);
}
