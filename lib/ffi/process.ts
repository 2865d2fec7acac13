/**
 * System calls on processes.
 *
 * @module
 */

import { addressOf, alloc, cString, type Kernel, syscallError } from "./kernel.ts";
import { openFlag, Prctl, rlimitNames } from "./constants.ts";
import { Fd } from "./fd.ts";
import { POLLIN, type Watch } from "./poll.ts";

// spawn.h of glibc 2.36; both structs are opaque, these are their sizes on 64-bit.
const FILE_ACTIONS_SIZE = 80, ATTRIBUTES_SIZE = 336, SIGSET_SIZE = 128;
const POSIX_SPAWN_SETSIGDEF = 0x04, POSIX_SPAWN_SETSIGMASK = 0x08;

const RLIMIT_NOFILE = rlimitNames.indexOf("RLIMIT_NOFILE");

const EPERM = 1, ENOENT = 2, ESRCH = 3, ENOSYS = 38;
const P_PID = 1, WEXITED = 4, WNOHANG = 1, ECHILD = 10;

/** A child to start with posix_spawn. */
export interface SpawnOptions {
  readonly path: string;
  readonly argv: readonly string[];
  /** `NAME=value` entries. */
  readonly env: readonly string[];
  /** Descriptors: number in the child ← number here. Everything else that is close-on-exec is closed. */
  readonly fds: readonly { readonly to: number; readonly from: number }[];
  /** Descriptors from this number up are closed in the child, also those that are not close-on-exec. */
  readonly closeFrom?: number;
  /** Working directory of the child; absent: ours. */
  readonly cwd?: string;
  /** Its soft limit of open files; absent: ours. */
  readonly softFileLimit?: number;
}

/** A `char *[]` that ends with NULL: the pointers, then the strings, in one buffer. */
function stringArray(texts: readonly string[]): Uint8Array<ArrayBuffer> {
  const strings = texts.map(cString);
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

/**
 * posix_spawn(3) with every signal at its default and none blocked: Deno ignores SIGPIPE, and a child would inherit that.
 *
 * Returns the child's pid, or −errno: glibc's vfork-like clone reports a failed execve too.
 */
export function spawn(kernel: Kernel, options: SpawnOptions): number {
  const actions = alloc(FILE_ACTIONS_SIZE);
  kernel.call("posix_spawn_file_actions_init", actions);
  for (const { to, from } of options.fds) kernel.call("posix_spawn_file_actions_adddup2", actions, from, to);
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
  const start = () => kernel.call("posix_spawn", pid, cString(options.path), actions, attributes, argv, env);
  const { softFileLimit } = options;
  const errno = softFileLimit === undefined ? start() : withFileLimit(kernel, softFileLimit, start);
  kernel.call("posix_spawn_file_actions_destroy", actions);
  kernel.call("posix_spawnattr_destroy", attributes);
  return errno !== 0 ? -errno : new DataView(pid.buffer).getInt32(0, true);
}

/** Has this process the soft limit of open files that a child is to inherit while `action` makes that child: posix_spawn(3) sets none. */
function withFileLimit<Result>(kernel: Kernel, soft: number, action: () => Result): Result {
  const before = getRlimit(kernel, 0, RLIMIT_NOFILE);
  if (before.soft === BigInt(soft)) return action();
  setRlimit(kernel, 0, RLIMIT_NOFILE, { soft: BigInt(soft), hard: before.hard });
  try {
    return action();
  } finally {
    setRlimit(kernel, 0, RLIMIT_NOFILE, before);
  }
}

/**
 * Makes this process the program that `fd` is open on: same pid, same children, none of our memory, and of our descriptors those that are not
 * close-on-exec. Returns −errno where it cannot.
 *
 * @see fexecve(3)
 */
export function fexecve(kernel: Kernel, fd: Fd, argv: readonly string[], env: readonly string[]): number {
  const [args, entries] = [stringArray(argv), stringArray(env)];
  const result = kernel.call("fexecve", fd.number, args, entries);
  // execveat(2) is refused by a sandbox around us. glibc does the same for ENOSYS.
  if (result !== -EPERM) return result;
  return kernel.call("execve", cString(`/proc/self/fd/${fd.number}`), args, entries);
}

/** How a process ended: `code` after exit, `signal` after a signal. */
export type ExitStatus = { readonly code: number } | { readonly signal: number };

function exitStatus(status: number): ExitStatus {
  // WIFSIGNALED and WTERMSIG, wait(2).
  return (status & 0x7f) === 0 ? { code: (status >> 8) & 0xff } : { signal: status & 0x7f };
}

/** What a shell would report: the code, or 128 + the signal's number. */
export function shellStatus(status: ExitStatus): number {
  return "code" in status ? status.code : 128 + status.signal;
}

/** Waits for the child `pid` and reaps it. Undefined where it is not our child (any more). @see wait(2) */
export function waitChild(kernel: Kernel, pid: number): ExitStatus | undefined {
  const status = alloc(4);
  const result = kernel.retry("waitpid", pid, status, 0);
  if (result === -ECHILD) return undefined;
  if (result < 0) throw syscallError(`waitpid(${pid})`, -result);
  return exitStatus(new DataView(status.buffer).getInt32(0, true));
}

/** Reaps one child that has ended, if there is one. @see wait(2) */
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

/** A process's directory in /proc in place of its pidfd: pidfd_send_signal(2) takes it, poll(2) cannot wait for it. */
class ProcessDirectory extends Fd {}

/**
 * A pidfd of `pid`, close-on-exec. Undefined where there is no such process. Where a sandbox around us refuses pidfd_open(2) it is the process's
 * directory: {@link watchEnd} and the like wait for either.
 *
 * @throws {RuncError}
 */
export function pidfdOpen(kernel: Kernel, pid: number): Fd | undefined {
  const number = kernel.retry("syscall", 434, pid, 0);
  if (number === -ESRCH) return undefined;
  if (number === -EPERM || number === -ENOSYS) return processDirectory(kernel, pid);
  if (number < 0) throw syscallError(`pidfd_open(${pid})`, -number);
  return new Fd(kernel, number, `pidfd of ${pid}`);
}

function processDirectory(kernel: Kernel, pid: number): ProcessDirectory | undefined {
  const path = `/proc/${pid}`;
  const O = openFlag(kernel.arch);
  const number = kernel.retry("open", cString(path), O.O_DIRECTORY | O.O_CLOEXEC, 0);
  if (number === -ENOENT || number === -ESRCH) return undefined;
  if (number < 0) throw syscallError(`open(${JSON.stringify(path)})`, -number);
  return new ProcessDirectory(kernel, number, path);
}

/** What to poll for the end of a process that is open as `pidfd`, for {@link endTimeout}; {@link sawEnd} says what came of it. */
export function watchEnd(pidfd: Fd): Watch {
  // poll(2) ignores -1.
  return { fd: pidfd instanceof ProcessDirectory ? -1 : pidfd.number, events: POLLIN };
}

/** How often a process is looked at whose end cannot be waited for, in milliseconds. */
const LOOK_MS = 20;

/** How long to poll at most, where one would wait for `timeoutMs` (negative: without limit). */
export function endTimeout(pidfd: Fd, timeoutMs: number): number {
  if (!(pidfd instanceof ProcessDirectory)) return timeoutMs;
  return timeoutMs < 0 ? LOOK_MS : Math.min(timeoutMs, LOOK_MS);
}

/** Whether the process has ended. `ready`: what poll(2) said of {@link watchEnd}. */
export function sawEnd(kernel: Kernel, pidfd: Fd, ready: number | undefined): boolean {
  if (!(pidfd instanceof ProcessDirectory)) return ready !== 0;
  // proc(5): gone, or a zombie whose state is Z. The name before it may hold anything but is short.
  const file = kernel.retry("openat", pidfd.number, cString("stat"), openFlag(kernel.arch).O_CLOEXEC, 0);
  if (file < 0) return true;
  const bytes = alloc(512);
  const length = kernel.retry("read", file, bytes, bytes.length);
  kernel.call("close", file);
  const text = new TextDecoder().decode(bytes.subarray(0, Math.max(length, 0)));
  return length <= 0 || /^[ZX]/.test(text.slice(text.lastIndexOf(")") + 2));
}

/** A copy of another process's descriptor, close-on-exec. @see pidfd_getfd(2) @throws {RuncError} EPERM without the right to ptrace it. */
export function pidfdGetFd(kernel: Kernel, pidfd: Fd, fd: number): Fd {
  return new Fd(
    kernel,
    kernel.must(`pidfd_getfd(${pidfd.label}, ${fd})`, "syscall", 438, pidfd.number, fd, 0),
    pidfd.label,
  );
}

/** pidfd_send_signal(2). Returns 0 or −errno. */
export function pidfdSendSignal(kernel: Kernel, pidfd: Fd, signal: number): number {
  return kernel.call("syscall", 424, pidfd.number, signal, null, 0);
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

/** Sets a limit of another process. `resource`: index in rlimitNames. Returns 0 or −errno. @see prlimit(2) */
export function setRlimit(kernel: Kernel, pid: number, resource: number, limit: Rlimit): number {
  const buffer = alloc(16);
  const view = new DataView(buffer.buffer);
  view.setBigUint64(0, limit.soft, true);
  view.setBigUint64(8, limit.hard, true);
  return kernel.call("prlimit", pid, resource, buffer, null);
}

/** This process's or another one's limit. @see prlimit(2) */
export function getRlimit(kernel: Kernel, pid: number, resource: number): Rlimit {
  const buffer = alloc(16);
  kernel.must(`prlimit(${pid}, ${resource})`, "prlimit", pid, resource, null, buffer);
  const view = new DataView(buffer.buffer);
  return { soft: view.getBigUint64(0, true), hard: view.getBigUint64(8, true) };
}
