/**
 * Operations on files and directories of a cgroup file system. A failure is a RuncError with its errno.
 *
 * Runs in: parent. path.ts explains why plain paths are safe here.
 *
 * @module
 */

import { dirname } from "../std/path.ts";
import { RuncError } from "../errors.ts";
import { Errno, type ErrnoName, errnoName, errnoText } from "../ffi/errno.ts";

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
export function writeProcess(directory: string, pid: number): void {
  for (let triesLeft = 4;; triesLeft--) {
    try {
      return writeCgroupFile(directory, "cgroup.procs", String(pid));
    } catch (error) {
      if (triesLeft === 0 || !isErrno(error, "EINVAL")) throw error;
      sleepMs(30);
    }
  }
}

/**
 * Creates `directory` and its missing ancestors. Returns whether it is new. Appends every new directory to `made`,
 * topmost first.
 *
 * It tries the directory itself first: the parent nearly always exists, so one call is enough.
 */
export function makeCgroup(directory: string, made: string[]): boolean {
  let errno = mkdirErrno(directory);
  if (errno === Errno.ENOENT && directory !== "/") {
    makeCgroup(dirname(directory), made);
    errno = mkdirErrno(directory);
  }
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
export function removeCgroup(directory: string): void {
  let errno = rmdirErrno(directory);
  if (errno === 0) return;
  for (const child of childrenOf(directory)) removeCgroup(child);
  errno = rmdirErrno(directory);
  for (let delayMs = 1; errno === Errno.EBUSY && delayMs <= 512; delayMs *= 2) {
    sleepMs(delayMs);
    errno = rmdirErrno(directory);
  }
  if (errno !== 0) throw cgroupError("rmdir", directory, errno);
}

/**
 * Removes `directory`; the kernel removes its files with it. A missing directory is not an error. @throws {RuncError}
 */
export function removeDirectory(directory: string): void {
  const errno = rmdirErrno(directory);
  if (errno !== 0) throw cgroupError("rmdir", directory, errno);
}

/** Removes `directory` if it has no processes and no cgroups below it. Tries once. */
export function removeIfUnused(directory: string): void {
  // Any failure means that somebody uses the cgroup, so it stays.
  rmdirErrno(directory);
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

/** Blocks the thread: the waits are a few milliseconds, and nothing else may run meanwhile. */
export function sleepMs(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}

function mkdirErrno(directory: string): number {
  return errnoFrom(() => Deno.mkdirSync(directory, { mode: 0o755 }));
}

/** Returns the errno, 0 on success. ENOENT counts as success. */
function rmdirErrno(directory: string): number {
  const errno = errnoFrom(() => Deno.removeSync(directory));
  return errno === Errno.ENOENT ? 0 : errno;
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
    hint: errno === Errno.EACCES || errno === Errno.EPERM
      ? "without root, use a delegated cgroup or leave out linux.cgroupsPath"
      : undefined,
  });
}
