/**
 * The newer system calls that a sandbox around this program refuses. An engine's seccomp profile answers EPERM or
 * ENOSYS to calls that it does not know.
 *
 * @module
 */

import { Prctl } from "../constants.ts";
import { Errno } from "../errno.ts";
import type { Kernel } from "../kernel.ts";
import { type SyscallName, syscallNumber } from "../syscalls.ts";

/** An invalid flag or size. The kernel refuses it with another errno before it makes other checks. */
const BAD = 0x40000000;

/**
 * Arguments with which a call does nothing and fails, but neither with EPERM nor with ENOSYS. {@link mountRights} has
 * the exceptions.
 */
const probes: readonly (readonly [call: SyscallName, ...args: readonly number[]])[] = [
  ["clone3", 0, 0],
  ["close_range", 1, 0, 0],
  ["execveat", -1, 0, 0, 0, BAD],
  ["faccessat2", -1, 0, 0, BAD],
  ["fsconfig", -1, 99, 0, 0, 0],
  ["fsmount", -1, BAD, 0],
  ["fsopen", 0, BAD],
  ["memfd_create", 0, BAD],
  ["mount_setattr", -1, 0, BAD, 0, 0],
  ["move_mount", -1, 0, -1, 0, BAD],
  ["open_tree", -1, 0, BAD],
  ["openat2", -1, 0, 0, 0],
  ["pidfd_open", -1, BAD],
  ["statx", -1, 0, BAD, 0, 0],
];

/**
 * These calls first check whether the caller may mount. If it may not, all of them fail with EPERM. may_mount in
 * fs/namespace.c
 */
const mountRights: readonly SyscallName[] = ["fsmount", "fsopen", "move_mount"];

/** No call is refused. */
const none: ReadonlySet<SyscallName> = new Set();

/** The refused calls. Checks first whether a filter is in force, with one call. */
export function refusedCalls(kernel: Kernel): ReadonlySet<SyscallName> {
  return isFiltered(kernel) ? unavailableCalls(kernel) : none;
}

/** Whether a seccomp filter is in force for this process. @see PR_GET_SECCOMP(2const) */
export function isFiltered(kernel: Kernel): boolean {
  return kernel.call("prctl", Prctl.PR_GET_SECCOMP, 0, 0, 0, 0) !== 0;
}

/** The calls that a filter refuses, or that the kernel does not have. */
export function unavailableCalls(kernel: Kernel): ReadonlySet<SyscallName> {
  const answers = new Map(
    probes.map(([name, ...args]) => [name, kernel.call("syscall", syscallNumber(name, kernel.arch), ...args)] as const),
  );
  const lacksRight = mountRights.every((name) => answers.get(name) === -Errno.EPERM);
  const refused = [...answers].filter(([name, answer]) =>
    answer === -Errno.ENOSYS || (answer === -Errno.EPERM && !(lacksRight && mountRights.includes(name)))
  );
  return refused.length === 0 ? none : new Set(refused.map(([name]) => name));
}
