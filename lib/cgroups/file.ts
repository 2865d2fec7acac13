/**
 * Operations on files and directories of a cgroup file system. A failure is a RuncError with its errno.
 *
 * Runs in: parent. path.ts explains why plain paths are safe here.
 *
 * @module
 */

import { dirname } from "../std/path.ts";
import { RuncError } from "../errors.ts";
import { openFlag } from "../ffi/constants.ts";
import { Errno, type ErrnoName, errnoName, errnoText } from "../ffi/errno.ts";
import { type Argument, cString, hostArch } from "../ffi/kernel.ts";
import { callAll, callBlocking, callQuick, pause, TURN, type Waits } from "../ffi/waits.ts";

/** The content of `directory`'s file `name`. */
export function readCgroupFile(directory: string, name: string): string {
  const path = `${directory}/${name}`;
  return attempt("read", path, () => Deno.readTextFileSync(path));
}

/** The content of `directory`'s file `name`, or `undefined` if the file does not exist (any more). */
export function readIfThere(directory: string, name: string): string | undefined {
  try {
    return readCgroupFile(directory, name);
  } catch (error) {
    if (isErrno(error, ...gone)) return undefined;
    throw error;
  }
}

/** Writes `text` in one write(2) to `directory`'s file `name`. */
export function writeCgroupFile(directory: string, name: string, text: string): void {
  const path = `${directory}/${name}`;
  // O_CREAT would turn a missing file into EACCES, which explains less.
  attempt(`write ${JSON.stringify(text)} to`, path, () => Deno.writeTextFileSync(path, text, { create: false }));
}

/**
 * Like {@link writeCgroupFile}, for writes that may take long: to limits, because the kernel may have to free memory
 * first, and to files of the cgroup core, whose lock other cgroups' changes hold for milliseconds.
 */
export function* writeWaits(directory: string, name: string, text: string): Waits<void> {
  const path = `${directory}/${name}`;
  const errno = yield* writeErrno(path, new TextEncoder().encode(text));
  if (errno !== 0) throw cgroupError(`write ${JSON.stringify(text)} to`, path, errno);
}

function* writeErrno(path: string, bytes: Uint8Array<ArrayBuffer>): Waits<number> {
  const { O_WRONLY, O_TRUNC, O_CLOEXEC } = openFlag(hostArch());
  // Only the write waits: the others need no lock of the cgroup core.
  const fd = yield* retried(callQuick, "open", cString(path), O_WRONLY | O_TRUNC | O_CLOEXEC);
  if (fd < 0) return -fd;
  try {
    return Math.max(0, -(yield* retried(callBlocking, "write", fd, bytes, bytes.length)));
  } finally {
    yield* callQuick("close", fd);
  }
}

/** A text to write to a file of a cgroup. */
export interface CgroupWrite {
  /** Absolute. */
  readonly directory: string;
  /** The file. */
  readonly file: string;
  /** One write(2). */
  readonly value: string;
}

/**
 * Makes several writes, in order, whatever becomes of each: as {@link writeWaits}, in one wait. Returns which of them
 * have failed; a repeated one tells why.
 */
export function* writeAllWaits<Write extends CgroupWrite>(writes: readonly Write[]): Waits<readonly Write[]> {
  const { O_WRONLY, O_TRUNC, O_CLOEXEC } = openFlag(hostArch());
  const opened: { readonly write: Write; readonly fd: number; readonly bytes: Uint8Array<ArrayBuffer> }[] = [];
  const failed: Write[] = [];
  try {
    for (const write of writes) {
      const path = cString(`${write.directory}/${write.file}`);
      const fd = yield* retried(callQuick, "open", path, O_WRONLY | O_TRUNC | O_CLOEXEC);
      if (fd < 0) failed.push(write);
      else opened.push({ write, fd, bytes: new TextEncoder().encode(write.value) });
    }
    const calls = opened.map(({ fd, bytes }) => ({ call: "write", args: [fd, bytes, bytes.length] }));
    const results = yield* callAll(calls);
    failed.push(...opened.filter((_, index) => results[index]! < 0).map(({ write }) => write));
  } finally {
    for (const { fd } of opened) yield* callQuick("close", fd);
  }
  return writes.filter((write) => failed.includes(write));
}

/** A call that a signal does not end. Returns its result, or −errno. */
function* retried(how: typeof callQuick, call: string, ...args: readonly Argument[]): Waits<number> {
  for (;;) {
    const result = yield* how(call, ...args);
    if (result !== -Errno.EINTR) return result;
  }
}

/** Writes each of `lines` in its own write(2), for files that accept one entry per write. */
export function writeCgroupLines(directory: string, name: string, lines: readonly string[]): void {
  const path = `${directory}/${name}`;
  const encoder = new TextEncoder();
  using file = attempt("open", path, () => Deno.openSync(path, { write: true }));
  for (const line of lines) {
    attempt(`write ${JSON.stringify(line)} to`, path, () => file.writeSync(encoder.encode(line)));
  }
}

/**
 * Moves `pid` and its threads into the cgroup.
 *
 * The kernel answers EINVAL for a task whose fork has not finished. The write is tried 5 times, 30 ms apart, as runc
 * does.
 */
export function* writeProcess(directory: string, pid: number): Waits<void> {
  for (let triesLeft = 4;; triesLeft--) {
    try {
      return yield* writeWaits(directory, "cgroup.procs", String(pid));
    } catch (error) {
      if (triesLeft === 0 || !isErrno(error, "EINVAL")) throw error;
      yield* pause(30);
    }
  }
}

/**
 * Creates `directory` and its missing ancestors. Returns whether it is new. Appends every new directory to `made`,
 * topmost first.
 *
 * It tries the directory itself first: the parent nearly always exists, so one call is enough. `first`: what this call
 * has returned already.
 */
export function* makeCgroup(directory: string, made: string[], first?: number): Waits<boolean> {
  const mkdir = () => callBlocking("mkdir", cString(directory), MODE);
  let result = first ?? (yield* mkdir());
  if (result === -Errno.ENOENT && directory !== "/") {
    yield* makeCgroup(dirname(directory), made);
    result = yield* mkdir();
  }
  if (result === -Errno.EEXIST) return false;
  if (result < 0) throw cgroupError("mkdir", directory, -result);
  made.push(directory);
  return true;
}

/**
 * Tries to create each of `directories`. Returns 0 or −errno for each, for {@link makeCgroup}. Appends every new one to
 * `made`.
 */
export function* tryMakeCgroups(directories: readonly string[], made: string[]): Waits<readonly number[]> {
  const results = yield* callAll(
    directories.map((directory) => ({ call: "mkdir", args: [cString(directory), MODE] })),
  );
  made.push(...directories.filter((_, index) => results[index] === 0));
  return results;
}

/** Tries to remove each of `directories`. Returns those that are left, for {@link removeCgroup}. */
export function* tryRemoveCgroups(directories: readonly string[]): Waits<readonly string[]> {
  const results = yield* callAll(directories.map((directory) => ({ call: "rmdir", args: [cString(directory)] })));
  return directories.filter((_, index) => results[index]! < 0 && results[index] !== -Errno.ENOENT);
}

/**
 * Like {@link makeCgroup}, for a file system of groups that no other lock protects: creating one does not wait. The
 * ancestors must exist.
 */
export function makeDirectory(directory: string, made: string[]): boolean {
  const errno = errnoFrom(() => Deno.mkdirSync(directory, { mode: MODE }));
  if (errno === Errno.EEXIST) return false;
  if (errno !== 0) throw cgroupError("mkdir", directory, errno);
  made.push(directory);
  return true;
}

/**
 * Removes `directory` and the cgroups below it. A missing directory is not an error.
 *
 * Processes that were killed a moment ago still count. EBUSY is retried 10 times, after 1 ms, 2 ms, ... (a second in
 * all), as runc does.
 *
 * @throws {RuncError} `cgroup-failed`; EBUSY while the cgroup has processes.
 */
export function* removeCgroup(directory: string): Waits<void> {
  let errno = yield* rmdirErrno(directory);
  if (errno === 0) return;
  for (const child of childrenOf(directory)) yield* removeCgroup(child);
  yield TURN;
  errno = yield* rmdirErrno(directory);
  for (let delayMs = 1; errno === Errno.EBUSY && delayMs <= 512; delayMs *= 2) {
    yield* pause(delayMs);
    errno = yield* rmdirErrno(directory);
  }
  if (errno !== 0) throw cgroupError("rmdir", directory, errno);
}

/**
 * Removes a directory that {@link makeDirectory} can make; the kernel removes its files with it. A missing directory is
 * not an error. @throws {RuncError}
 */
export function removeDirectory(directory: string): void {
  const errno = errnoFrom(() => Deno.removeSync(directory));
  if (errno !== 0 && errno !== Errno.ENOENT) throw cgroupError("rmdir", directory, errno);
}

/** Removes `directory` if it has no processes and no cgroups below it. Tries once. */
export function* removeIfUnused(directory: string): Waits<void> {
  // Any failure means that somebody uses the cgroup, so it stays.
  yield* rmdirErrno(directory);
}

/** The child cgroups of `directory`. Empty if it does not exist. */
export function childrenOf(directory: string): readonly string[] {
  try {
    return attempt("read", directory, () => Array.from(Deno.readDirSync(directory)))
      .filter((entry) => entry.isDirectory).map((entry) => `${directory}/${entry.name}`);
  } catch (error) {
    if (isErrno(error, ...gone)) return [];
    throw error;
  }
}

/** `directory` and all cgroups below it, parents first. */
export function withDescendants(directory: string): readonly string[] {
  return [directory, ...childrenOf(directory).flatMap(withDescendants)];
}

/** Whether `error` is a RuncError for one of these errnos. */
export function isErrno(error: unknown, ...names: readonly ErrnoName[]): boolean {
  return error instanceof RuncError && names.some((name) => Errno[name] === error.errno);
}

/** Reading an open file of a removed cgroup gives ENODEV. */
export const gone = ["ENOENT", "ENODEV"] as const satisfies readonly ErrnoName[];

/** The mode of new directories. */
const MODE = 0o755;

/** Returns the errno, 0 on success. ENOENT counts as success. */
function* rmdirErrno(directory: string): Waits<number> {
  const result = yield* callBlocking("rmdir", cString(directory));
  return result === -Errno.ENOENT ? 0 : -result;
}

function errnoFrom(action: () => void): number {
  try {
    action();
    return 0;
  } catch (error) {
    return osErrno(error);
  }
}

/** Deno gives the errno's number only in the message: `… (os error 16): …`. */
function osErrno(error: unknown): number {
  const number = error instanceof Error ? /\(os error (\d+)\)/.exec(error.message)?.[1] : undefined;
  if (number === undefined) throw error;
  return Number(number);
}

function attempt<Result>(verb: string, path: string, action: () => Result): Result {
  try {
    return action();
  } catch (error) {
    throw cgroupError(verb, path, osErrno(error));
  }
}

function cgroupError(verb: string, path: string, errno: number): RuncError {
  return new RuncError("cgroup-failed", `${verb} ${path}: ${errnoText(errno)}`, {
    errno,
    errnoName: errnoName(errno),
    hint: hintFor(verb, errno),
  });
}

/** mkdir: kernel/cgroup/cgroup.c, cgroup_check_hierarchy_limits(). */
function hintFor(verb: string, errno: number): string | undefined {
  if (errno === Errno.EACCES || errno === Errno.EPERM) {
    return "without root, use a delegated cgroup or leave out linux.cgroupsPath";
  }
  if (verb !== "mkdir" || errno !== Errno.EAGAIN) return undefined;
  return "a cgroup above has reached its cgroup.max.descendants or cgroup.max.depth";
}
