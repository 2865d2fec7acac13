/**
 * Lists and kills the processes of a cgroup.
 *
 * @module
 */

import { TURN, type Waits } from "../ffi/waits.ts";
import { gone, isErrno, readCgroupFile, withDescendants, writeWaits } from "./file.ts";

/** kill(2), called by the caller. `signal`: a signal number. A process that has already ended is not an error. */
export type SendSignal = (pid: number, signal: number) => void;

const SIGKILL = 9;

/** The ids of all processes in `directory` and the cgroups below it. Empty if it does not exist. */
export function processesIn(directory: string): number[] {
  return withDescendants(directory).flatMap(processesOf);
}

/**
 * Kills all processes in `directory` and below at once with `cgroup.kill` (cgroup2, Linux 5.14). Returns whether that
 * worked.
 *
 * @see Documentation/admin-guide/cgroup-v2.rst, cgroup.kill
 */
export function* killByFile(directory: string): Waits<boolean> {
  try {
    yield* writeWaits(directory, "cgroup.kill", "1");
    return true;
  } catch (error) {
    // A threaded cgroup has the file but refuses the write.
    if (isErrno(error, ...gone, "EOPNOTSUPP")) return false;
    throw error;
  }
}

/** Keeps a cgroup's processes from forking while they are killed one by one. */
export interface Brake {
  readonly freeze: () => Waits<void>;
  readonly thawToKill: () => Waits<void>;
}

/**
 * Sends SIGKILL to every process in `directory` and below. The cgroup is frozen meanwhile; otherwise a process could
 * fork faster than the list is read.
 */
export function* killEach(directory: string, brake: Brake, send: SendSignal): Waits<void> {
  try {
    yield* brake.freeze();
  } catch {
    // Killing without freezing may miss a process that forks at that moment. Not killing would miss all of them.
  }
  try {
    // cgroup2 shows a process outside our pid namespace as 0. For kill(2), 0 means our own process group.
    for (const pid of processesIn(directory)) {
      if (pid > 0) send(pid, SIGKILL);
      yield TURN;
    }
  } finally {
    // On v1 a frozen process dies only after it is thawed.
    yield* brake.thawToKill();
  }
}

/** The ids of the processes in `directory` itself, or of its threads if it is threaded. Empty if it does not exist. */
export function processesOf(directory: string): number[] {
  try {
    return parseIds(readCgroupFile(directory, "cgroup.procs"));
  } catch (error) {
    if (isErrno(error, ...gone)) return [];
    // In a threaded cgroup, only cgroup.threads can be read.
    if (isErrno(error, "EOPNOTSUPP")) return parseIds(readCgroupFile(directory, "cgroup.threads"));
    throw error;
  }
}

function parseIds(text: string): number[] {
  return text.split("\n").filter((line) => line !== "").map(Number);
}
