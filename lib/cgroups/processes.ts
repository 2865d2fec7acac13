/**
 * Who is in a cgroup, and killing all of them.
 *
 * @module
 */

import { gone, isErrno, readCgroupFile, withDescendants, writeCgroupFile } from "./file.ts";

/** kill(2) by the caller. `signal`: a signal number. A process that has ended meanwhile is no error. */
export type SendSignal = (pid: number, signal: number) => void;

const SIGKILL = 9;

/** The ids of all processes in `directory` and the cgroups below it; none where it is gone. */
export function processesIn(directory: string): number[] {
  return withDescendants(directory).flatMap(processesOf);
}

/**
 * Kills everything in `directory` and below at once by its `cgroup.kill`, where it has one (cgroup2, Linux 5.14). Whether it could.
 *
 * @see Documentation/admin-guide/cgroup-v2.rst, cgroup.kill
 */
export function killByFile(directory: string): boolean {
  try {
    writeCgroupFile(directory, "cgroup.kill", "1");
    return true;
  } catch (error) {
    // A threaded cgroup has the file and refuses.
    if (isErrno(error, ...gone, "EOPNOTSUPP")) return false;
    throw error;
  }
}

/** What stops a cgroup's processes from forking while they are killed one by one. */
export interface Brake {
  readonly freeze: () => void;
  readonly thawToKill: () => void;
}

/** Sends SIGKILL to every process in `directory` and below, frozen meanwhile: one that forks could outrun the list. */
export function killEach(directory: string, brake: Brake, send: SendSignal): void {
  try {
    brake.freeze();
  } catch {
    // Killing unfrozen processes may miss one that forks just now; not killing misses all.
  }
  try {
    // cgroup2 shows one that is outside of our pid namespace as 0, and to kill(2) that is our own process group.
    for (const pid of processesIn(directory)) if (pid > 0) send(pid, SIGKILL);
  } finally {
    // On v1 a frozen process dies only when it is thawed.
    brake.thawToKill();
  }
}

/** The ids of the processes in `directory` itself, of threads where it is threaded; none where it is gone. */
export function processesOf(directory: string): number[] {
  try {
    return parseIds(readCgroupFile(directory, "cgroup.procs"));
  } catch (error) {
    if (isErrno(error, ...gone)) return [];
    // In a threaded cgroup only the threads can be read.
    if (isErrno(error, "EOPNOTSUPP")) return parseIds(readCgroupFile(directory, "cgroup.threads"));
    throw error;
  }
}

function parseIds(text: string): number[] {
  return text.split("\n").filter((line) => line !== "").map(Number);
}
