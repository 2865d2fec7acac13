/**
 * How a container's first process ended: waits for it, and finds out. Runs in: parent.
 *
 * Three know it. The monitor was the process's parent and has left a record. The kernel tells the status of a zombie, in
 * /proc, and from Linux 6.15 on that of a process that somebody else has reaped, for those with a pidfd of it. Who learns
 * it from the kernel leaves a record too.
 *
 * @module
 */

import { FileType, Flock, openFlag } from "../../ffi/constants.ts";
import { monotonicMs, realTime } from "../../ffi/clock.ts";
import { endTimeout, OtherProcess } from "../../ffi/ending.ts";
import { Fd } from "../../ffi/fd.ts";
import { fileError } from "../../ffi/file_error.ts";
import { readUpTo } from "../../ffi/files.ts";
import { cString, type Kernel } from "../../ffi/kernel.ts";
import { pidfdExitStatus } from "../../ffi/process/process.ts";
import { fstat } from "../../ffi/stat.ts";
import { pause, readable, type Waits } from "../../ffi/waits.ts";
import { RuncError } from "../../errors.ts";
import type { CgroupManager } from "../../cgroups/manager.ts";
import type { Runtime } from "../runtime.ts";
import {
  decodeExit,
  encodeExit,
  type Exit,
  type ExitFacts,
  exitOf,
  RECORD_BY_KERNEL,
  RECORD_HEAD,
  RECORD_TEXT,
  UNKNOWN_EXIT,
} from "../state/exit_record.ts";
import { processStat } from "../state/process_status.ts";
import { initOf } from "../state/runc_state.ts";
import type { StateDirectory } from "../state/store.ts";
import type { ContainerParts } from "./container_world.ts";

/** How often a record that a monitor is about to write is looked at, in milliseconds. */
const LOOK_MS = 10;

/** The record's file, a regular one. Undefined if there is none. */
function openRecord(kernel: Kernel, { exit }: StateDirectory): Fd | undefined {
  const O = openFlag(kernel.arch);
  const number = kernel.retry("open", cString(exit), O.O_NONBLOCK | O.O_NOFOLLOW | O.O_CLOEXEC);
  if (number < 0) return undefined;
  const file = new Fd(kernel, number, exit);
  const status = fstat(kernel, number);
  if (typeof status !== "number" && (status.mode & FileType.S_IFMT) === FileType.S_IFREG) return file;
  file.close();
  return undefined;
}

function readRecord(kernel: Kernel, file: Fd): ExitFacts | undefined {
  kernel.call("lseek", file.number, 0, 0);
  return decodeExit(readUpTo(kernel, file, RECORD_HEAD + RECORD_TEXT));
}

/** How a process that has ended did so, as far as it is known without waiting. */
export function knownExit({ kernel }: Pick<Runtime, "kernel">, { directory, state, cgroup }: ContainerParts): Exit {
  using record = openRecord(kernel, directory);
  const facts = record === undefined ? undefined : readRecord(kernel, record);
  if (facts !== undefined) return exitOf(facts);
  const waitStatus = zombieStatus(initOf(state));
  return waitStatus === undefined ? UNKNOWN_EXIT : exitOf(fromKernel(waitStatus, cgroup));
}

function fromKernel(waitStatus: number, cgroup: CgroupManager): ExitFacts {
  const oomKills = cgroup.exists() ? cgroup.oomKills() : undefined;
  return { waitStatus, by: RECORD_BY_KERNEL, ...(oomKills === undefined ? {} : { oomKills }) };
}

/** The status of a process that its parent has not reaped. Undefined if it is no zombie, or the kernel hides it. */
function zombieStatus(
  { pid, startTime }: { readonly pid: number; readonly startTime: number },
): number | undefined {
  const stat = pid > 0 ? processStat(pid) : undefined;
  if (stat === undefined || stat.startTime !== startTime || stat.state !== "Z") return undefined;
  // The kernel shows 0 instead of the status to those that may not see it, and refuses them this file.
  if (stat.exitStatus === 0 && !isShown(pid)) return undefined;
  return stat.exitStatus;
}

/** Whether the kernel shows us all of a process: this file needs the same right (PTRACE_MODE_READ_FSCREDS). */
function isShown(pid: number): boolean {
  try {
    return Deno.readTextFileSync(`/proc/${pid}/io`) !== "";
  } catch {
    // EACCES; or it is gone, or the kernel is built without this file.
    return false;
  }
}

/**
 * Waits for the end of a container's first process. Returns how it ended; `unknown` if nobody knows.
 *
 * `timeoutMs`: absent without a limit. The container may be removed meanwhile.
 *
 * @throws {RuncError} `timeout` if it has not ended by then.
 */
export function* awaitingExit(runtime: Runtime, parts: ContainerParts, timeoutMs?: number): Waits<Exit> {
  const { kernel } = runtime;
  const { directory, state, cgroup } = parts;
  const init = initOf(state);
  const deadline = timeoutMs === undefined ? Infinity : monotonicMs(kernel) + timeoutMs;
  // The process is open before its start time is checked. If that is still init's, it is init.
  using found = init.pid > 0 ? OtherProcess.find(kernel, init.pid) : undefined;
  const process = found !== undefined && processStat(init.pid)?.startTime === init.startTime ? found : undefined;
  // Open now: a monitor writes it right before it removes the container.
  using early = openRecord(kernel, directory);
  const wasAlive = process !== undefined && !process.hasEnded;
  if (process !== undefined) yield* awaitEnd(kernel, process, { deadline, timeoutMs });
  const time = wasAlive ? realTime(kernel) : undefined;
  using late = early === undefined ? openRecord(kernel, directory) : undefined;
  const record = early ?? late;
  const recorded = record === undefined ? undefined : yield* awaitRecord(kernel, record, { deadline, timeoutMs });
  if (recorded !== undefined) return exitOf(recorded);
  const waitStatus = zombieStatus(init) ??
    (process?.pidfd === undefined ? undefined : pidfdExitStatus(kernel, process.pidfd));
  if (waitStatus === undefined) return UNKNOWN_EXIT;
  const facts: ExitFacts = { ...fromKernel(waitStatus, cgroup), ...(time === undefined ? {} : { time }) };
  yield* keep(runtime, parts, facts);
  return exitOf(facts);
}

interface Limit {
  readonly deadline: number;
  readonly timeoutMs?: number;
}

function* awaitEnd(kernel: Kernel, process: OtherProcess, { deadline, timeoutMs }: Limit): Waits<void> {
  const fds = process.pidfd === undefined ? [] : [process.pidfd.number];
  while (!process.hasEnded) {
    const leftMs = deadline - monotonicMs(kernel);
    if (leftMs <= 0) throw tooLate(timeoutMs);
    yield* readable(fds, endTimeout(process, leftMs === Infinity ? -1 : leftMs));
  }
}

function tooLate(timeoutMs: number | undefined): RuncError {
  return new RuncError("timeout", `the container has not ended after ${(timeoutMs ?? 0) / 1000} s`);
}

/** The record, as soon as the monitor has written it. Undefined if there is no monitor that is about to do so. */
function* awaitRecord(kernel: Kernel, record: Fd, { deadline, timeoutMs }: Limit): Waits<ExitFacts | undefined> {
  for (;;) {
    const facts = readRecord(kernel, record);
    if (facts !== undefined) return facts;
    // The monitor has the lock until it has written.
    if (kernel.retry("flock", record.number, Flock.LOCK_SH | Flock.LOCK_NB) >= 0) return readRecord(kernel, record);
    if (monotonicMs(kernel) >= deadline) throw tooLate(timeoutMs);
    yield* pause(LOOK_MS);
  }
}

/** Leaves a record for others, if the container still exists. Without the right to do so there is none. */
function* keep({ kernel, log }: Runtime, { directory, state }: ContainerParts, facts: ExitFacts): Waits<void> {
  using lock = yield* directory.lock(kernel);
  if (lock === undefined) return;
  try {
    const [there, known] = [initOf(directory.load(kernel)), initOf(state)];
    if (there.pid !== known.pid || there.startTime !== known.startTime) return;
    Deno.writeFileSync(directory.exit, encodeExit(facts), { mode: 0o600 });
  } catch (error) {
    const known = error instanceof RuncError ? error : fileError(error);
    if (known === undefined) throw error;
    log("debug", `how the container ended is not kept: ${known.message}`);
  }
}
