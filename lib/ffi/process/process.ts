/**
 * System calls on processes.
 *
 * @module
 */

import { addressOf, alloc, cString, type Kernel, syscallError } from "../kernel.ts";
import { Prctl } from "../constants.ts";
import { Errno } from "../errno.ts";
import { Fd } from "../fd.ts";
import { syscallNumber } from "../syscalls.ts";
import { callBlocking, runWaits, type Waits } from "../waits.ts";

// spawn.h of glibc 2.36. Both structs are opaque; these are their sizes on 64-bit.
const FILE_ACTIONS_SIZE = 80, ATTRIBUTES_SIZE = 336, SIGSET_SIZE = 128;
const POSIX_SPAWN_SETSIGDEF = 0x04, POSIX_SPAWN_SETSIGMASK = 0x08;

const P_PID = 1, WEXITED = 4, WNOHANG = 1;

/** `NAME=value`; if it is not UTF-8, its bytes with a final NUL. */
export type EnvironmentEntry = string | Uint8Array<ArrayBuffer>;

const at = (address: bigint) => new Deno.UnsafePointerView(Deno.UnsafePointer.create(address)!);

/** This process's environment, byte for byte as received. @see environ(7) */
export function processEnvironment(kernel: Kernel): readonly EnvironmentEntry[] {
  const entries: EnvironmentEntry[] = [];
  const list = at(kernel.addressIfAny("environ")!).getBigUint64();
  if (list === 0n) return entries;
  for (let offset = 0;; offset += 8) {
    const address = at(list).getBigUint64(offset);
    if (address === 0n) return entries;
    const text = at(address).getCString();
    // U+FFFD replaces bytes that are not UTF-8, unless the entry itself contains U+FFFD.
    entries.push(text.includes("\ufffd") ? exactEntry(kernel, address, text) : text);
  }
}

function exactEntry(kernel: Kernel, address: bigint, text: string): EnvironmentEntry {
  const bytes = alloc(kernel.call("strlen", address) + 1);
  at(address).copyInto(bytes);
  const encoded = cString(text);
  return encoded.length === bytes.length && encoded.every((byte, index) => byte === bytes[index]) ? text : bytes;
}

/** A child to start with posix_spawn. */
export interface SpawnOptions {
  readonly path: string;
  readonly argv: readonly string[];
  /** `NAME=value` entries. */
  readonly env: readonly EnvironmentEntry[];
  /** Descriptors: number in the child ← number here. All other close-on-exec descriptors are closed. */
  readonly fds: readonly { readonly to: number; readonly from: number }[];
  /** The child closes all descriptors from this number up, including those that are not close-on-exec. */
  readonly closeFrom?: number;
  /** The child's soft limit of open files; ours if absent. */
  readonly softFileLimit?: number;
  /** Working directory of the child; ours if absent. */
  readonly cwd?: string;
}

/** A `char *[]` that ends with NULL: the pointers, then the strings, in one buffer. */
function stringArray(texts: readonly EnvironmentEntry[]): Uint8Array<ArrayBuffer> {
  const strings = texts.map((text) => typeof text === "string" ? cString(text) : text);
  const tableSize = 8 * (texts.length + 1);
  const block = alloc(strings.reduce((sum, text) => sum + text.length, tableSize));
  const view = new DataView(block.buffer);
  const base = addressOf(block);
  let at = tableSize;
  strings.forEach((text, index) => {
    view.setBigUint64(8 * index, base + BigInt(at), true);
    block.set(text, at);
    at += text.length;
  });
  return block;
}

/** {@link spawning}, for a caller that blocks. */
export function spawn(kernel: Kernel, options: SpawnOptions): number {
  return runWaits({ kernel }, spawning(kernel, options));
}

/**
 * posix_spawn(3) with every signal at its default and none blocked. Deno ignores SIGPIPE, and a child would inherit
 * that. It waits until the child has executed its program.
 *
 * Returns the child's pid, or −errno. glibc uses a vfork-like clone, so this includes a failed execve. −EMFILE also
 * means that the limit of open files does not allow the number of a descriptor.
 */
export function* spawning(kernel: Kernel, options: SpawnOptions): Waits<number> {
  const actions = alloc(FILE_ACTIONS_SIZE);
  kernel.call("posix_spawn_file_actions_init", actions);
  for (const { to, from } of options.fds) {
    // EBADF: the limit of open files does not allow the number. EMFILE, too many open files, has the same cause.
    if (kernel.call("posix_spawn_file_actions_adddup2", actions, from, to) !== 0) return -Errno.EMFILE;
  }
  if (options.closeFrom !== undefined) {
    kernel.call("posix_spawn_file_actions_addclosefrom_np", actions, options.closeFrom);
  }
  if (options.cwd !== undefined) kernel.call("posix_spawn_file_actions_addchdir_np", actions, cString(options.cwd));
  const attributes = alloc(ATTRIBUTES_SIZE);
  kernel.call("posix_spawnattr_init", attributes);
  kernel.call("posix_spawnattr_setflags", attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
  const none = alloc(SIGSET_SIZE);
  const all = alloc(SIGSET_SIZE).fill(0xff);
  kernel.call("posix_spawnattr_setsigmask", attributes, none);
  kernel.call("posix_spawnattr_setsigdefault", attributes, all);
  const pid = alloc(4);
  const argv = stringArray(options.argv);
  const env = stringArray(options.env);
  const path = cString(options.path);
  const args = [pid, path, actions, attributes, argv, env];
  // The limit is the whole program's: nothing else may run while it is another one.
  const errno = options.softFileLimit === undefined
    ? yield* callBlocking("posix_spawn", ...args)
    : withFileLimit(kernel, options.softFileLimit, () => kernel.call("posix_spawn", ...args));
  kernel.call("posix_spawn_file_actions_destroy", actions);
  kernel.call("posix_spawnattr_destroy", attributes);
  return errno !== 0 ? -errno : new DataView(pid.buffer).getInt32(0, true);
}

/**
 * Executes the file open as `fd` in this process. The pid, the children and the descriptors that are not close-on-exec
 * stay. Returns −errno on failure.
 *
 * @see fexecve(3)
 */
export function fexecve(kernel: Kernel, fd: Fd, argv: readonly string[], env: readonly EnvironmentEntry[]): number {
  const [args, entries] = [stringArray(argv), stringArray(env)];
  const result = kernel.call("fexecve", fd.number, args, entries);
  // EPERM: a sandbox around us refuses execveat(2). For ENOSYS glibc has the same fallback.
  if (result !== -Errno.EPERM) return result;
  return kernel.call("execve", cString(`/proc/self/fd/${fd.number}`), args, entries);
}

/** How a process ended: `code` after exit, `signal` after a signal. */
export type ExitStatus = { readonly code: number } | { readonly signal: number };

function exitStatus(status: number): ExitStatus {
  // WIFSIGNALED and WTERMSIG, wait(2).
  return (status & 0x7f) === 0 ? { code: (status >> 8) & 0xff } : { signal: status & 0x7f };
}

/** The status that a shell would report: the exit code, or 128 + the signal's number. */
export function shellStatus(status: ExitStatus): number {
  return "code" in status ? status.code : 128 + status.signal;
}

/** Waits for the child `pid` and reaps it. Undefined if it is not, or no longer, our child. @see wait(2) */
export function waitChild(kernel: Kernel, pid: number): ExitStatus | undefined {
  const status = alloc(4);
  const result = kernel.retry("waitpid", pid, status, 0);
  if (result === -Errno.ECHILD) return undefined;
  if (result < 0) throw syscallError(`waitpid(${pid})`, -result);
  return exitStatus(new DataView(status.buffer).getInt32(0, true));
}

/** Reaps the child `pid` if it has ended. Returns false if it still runs. @see wait(2) */
export function reapIfEnded(kernel: Kernel, pid: number): boolean {
  return kernel.retry("waitpid", pid, alloc(4), WNOHANG) !== 0;
}

/** Reaps one child that has ended, if any. @see wait(2) */
export function reapAny(kernel: Kernel): { pid: number; status: ExitStatus } | undefined {
  const status = alloc(4);
  const pid = kernel.retry("waitpid", -1, status, WNOHANG);
  return pid <= 0 ? undefined : { pid, status: exitStatus(new DataView(status.buffer).getInt32(0, true)) };
}

/** Whether the child `pid` has ended, without reaping it. @see waitid(2) */
export function hasEnded(kernel: Kernel, pid: number): boolean {
  const info = alloc(128);
  const WNOWAIT = 0x01000000;
  const result = kernel.retry("waitid", P_PID, pid, info, WEXITED | WNOHANG | WNOWAIT);
  return result < 0 || new DataView(info.buffer).getInt32(0, true) !== 0;
}

/** kill(2). Returns 0 or −errno. */
export function kill(kernel: Kernel, pid: number, signal: number): number {
  return kernel.call("kill", pid, signal);
}

/**
 * A pidfd of `pid`, close-on-exec. Undefined if the process does not exist. OtherProcess in
 * ../ending.ts has a fallback. @see pidfd_open(2) @throws {RuncError}
 */
export function pidfdOpen(kernel: Kernel, pid: number): Fd | undefined {
  const number = kernel.retry("syscall", syscallNumber("pidfd_open", kernel.arch), pid, 0);
  if (number === -Errno.ESRCH) return undefined;
  if (number < 0) throw syscallError(`pidfd_open(${pid})`, -number);
  return new Fd(kernel, number, `pidfd of ${pid}`);
}

/**
 * A copy of another process's descriptor, close-on-exec. @see pidfd_getfd(2) @throws {RuncError} EPERM without
 * permission to ptrace the process.
 */
export function pidfdGetFd(kernel: Kernel, pidfd: Fd, fd: number): Fd {
  return new Fd(
    kernel,
    kernel.must(
      `pidfd_getfd(${pidfd.label}, ${fd})`,
      "syscall",
      syscallNumber("pidfd_getfd", kernel.arch),
      pidfd.number,
      fd,
      0,
    ),
    pidfd.label,
  );
}

/** `struct pidfd_info` of Linux 6.13, include/uapi/linux/pidfd.h: `u64 mask` is first, `s32 exit_code` last. */
const PIDFD_INFO_SIZE = 64, PIDFD_INFO_EXIT_CODE = 60;
/** _IOWR(0xFF, 11, struct pidfd_info) */
const PIDFD_GET_INFO = 0xc040ff0b;
const PIDFD_INFO_EXIT = 8n;

/**
 * The status of a process that has been reaped, as wait4(2) returned it to its parent. The kernel (6.15) keeps it for
 * those that had a pidfd open, whoever they are. Undefined if the process is not reaped, or on an older kernel.
 *
 * @see fs/pidfs.c, pidfs_exit
 */
export function pidfdExitStatus(kernel: Kernel, pidfd: Fd): number | undefined {
  const info = alloc(PIDFD_INFO_SIZE);
  const view = new DataView(info.buffer);
  view.setBigUint64(0, PIDFD_INFO_EXIT, true);
  if (kernel.call("ioctl", pidfd.number, PIDFD_GET_INFO, info) < 0) return undefined;
  return (view.getBigUint64(0, true) & PIDFD_INFO_EXIT) === 0n ? undefined : view.getInt32(PIDFD_INFO_EXIT_CODE, true);
}

/** pidfd_send_signal(2). Returns 0 or −errno. */
export function pidfdSendSignal(kernel: Kernel, pidfd: Fd, signal: number): number {
  return kernel.call("syscall", syscallNumber("pidfd_send_signal", kernel.arch), pidfd.number, signal, null, 0);
}

/** Makes this process the parent of its orphaned descendants. @see prctl(2), PR_SET_CHILD_SUBREAPER */
export function setSubreaper(kernel: Kernel): void {
  kernel.must("prctl(PR_SET_CHILD_SUBREAPER, 1)", "prctl", Prctl.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

/** A resource limit; RLIM_INFINITY is 2^64 − 1. */
export interface Rlimit {
  readonly soft: bigint;
  readonly hard: bigint;
}

/** Sets a resource limit of another process. `resource`: index in rlimitNames. Returns 0 or −errno. @see prlimit(2) */
export function setRlimit(kernel: Kernel, pid: number, resource: number, limit: Rlimit): number {
  const buffer = alloc(16);
  const view = new DataView(buffer.buffer);
  view.setBigUint64(0, limit.soft, true);
  view.setBigUint64(8, limit.hard, true);
  return kernel.call("prlimit", pid, resource, buffer, null);
}

/** A resource limit of this or another process. @see prlimit(2) */
export function getRlimit(kernel: Kernel, pid: number, resource: number): Rlimit {
  const buffer = alloc(16);
  kernel.must(`prlimit(${pid}, ${resource})`, "prlimit", pid, resource, null, buffer);
  const view = new DataView(buffer.buffer);
  return { soft: view.getBigUint64(0, true), hard: view.getBigUint64(8, true) };
}

/** Index in rlimitNames. asm-generic/resource.h */
const RLIMIT_NOFILE = 7;

/**
 * Raises this process's soft limit of open files to the hard limit if it is below `least`. Returns the old soft limit;
 * undefined if the limit did not change.
 *
 * @see getrlimit(2)
 */
export function raiseFileLimit(kernel: Kernel, least: number): number | undefined {
  const { soft, hard } = getRlimit(kernel, 0, RLIMIT_NOFILE);
  if (soft >= least || soft >= hard) return undefined;
  return setRlimit(kernel, 0, RLIMIT_NOFILE, { soft: hard, hard }) < 0 ? undefined : Number(soft);
}

/** Index in rlimitNames. */
const RLIMIT_FSIZE = 1;

/** The soft limit of a file's size, in bytes. A process that writes beyond it gets SIGXFSZ. @see getrlimit(2) */
export function fileSizeLimit(kernel: Kernel): bigint {
  return getRlimit(kernel, 0, RLIMIT_FSIZE).soft;
}

/** Runs `action`, which starts a program, with the soft limit `soft` of open files. Undefined: the current limit. */
export function withFileLimit<Result>(kernel: Kernel, soft: number | undefined, action: () => Result): Result {
  if (soft === undefined) return action();
  const own = getRlimit(kernel, 0, RLIMIT_NOFILE);
  if (own.soft === BigInt(soft)) return action();
  setRlimit(kernel, 0, RLIMIT_NOFILE, { soft: BigInt(soft), hard: own.hard });
  try {
    return action();
  } finally {
    setRlimit(kernel, 0, RLIMIT_NOFILE, own);
  }
}
