/**
 * Which newer system calls a sandbox around this program refuses: an engine's seccomp profile that does not know them answers EPERM or ENOSYS.
 *
 * @module
 */

import { Prctl } from "../constants.ts";
import { Errno } from "../errno.ts";
import type { Kernel } from "../kernel.ts";
import { type SyscallName, syscallNumber } from "../syscalls.ts";

/** What the kernel refuses with another errno before it looks at anything else: a flag or a size that there is not. */
const BAD = 0x40000000;

/** Arguments with which a call does nothing and fails, but neither with EPERM nor with ENOSYS; see {@link mountRights} for the exceptions. */
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

/** These look first whether the caller may mount, and say EPERM where it may not: all of them do so then. may_mount in fs/namespace.c */
const mountRights: readonly SyscallName[] = ["fsmount", "fsopen", "move_mount"];

/** Nothing is refused. */
const none: ReadonlySet<SyscallName> = new Set();

/** The calls that are refused. One call where no filter is in force, which is asked first. @see PR_GET_SECCOMP(2const) */
export function refusedCalls(kernel: Kernel): ReadonlySet<SyscallName> {
  if (kernel.call("prctl", Prctl.PR_GET_SECCOMP, 0, 0, 0, 0) === 0) return none;
  const answers = new Map(
    probes.map(([name, ...args]) => [name, kernel.call("syscall", syscallNumber(name, kernel.arch), ...args)] as const),
  );
  const lacksRight = mountRights.every((name) => answers.get(name) === -Errno.EPERM);
  const refused = [...answers].filter(([name, answer]) =>
    answer === -Errno.ENOSYS || (answer === -Errno.EPERM && !(lacksRight && mountRights.includes(name)))
  );
  return refused.length === 0 ? none : new Set(refused.map(([name]) => name));
}
