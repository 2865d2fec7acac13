/**
 * What /proc tells of a process: whether it is still the one recorded in state.json, and its capabilities.
 *
 * @module
 */

import { capabilityNames } from "../../ffi/constants.ts";
import { Errno } from "../../ffi/errno.ts";
import { fileError } from "../../ffi/file_error.ts";

/** Fields of /proc/PID/stat. @see proc(5) */
export interface ProcessStat {
  /** Name of the program, or the name that the process has set: at most 15 bytes. */
  readonly name: string;
  /** `R`, `S`, `Z`, … */
  readonly state: string;
  readonly parent: number;
  /** Field 22, in clock ticks since boot: together with the pid it identifies a process for good. */
  readonly startTime: number;
  /** Field 31: signals pending for its first thread, the lowest bit for signal 1. */
  readonly pendingSignals: number;
  /** Field 52, of a zombie: as wait4(2) returns it. 0 for readers without the right to see it. */
  readonly exitStatus: number;
}

/**
 * Reads /proc/PID/stat. Undefined if there is no such process.
 *
 * @throws {RuncError} if that is not known, for example for lack of descriptors. A process taken for ended could be one
 * of a container that is then removed.
 */
export function processStat(pid: number): ProcessStat | undefined {
  let text: string;
  try {
    text = Deno.readTextFileSync(`/proc/${pid}/stat`);
  } catch (error) {
    const known = fileError(error);
    // ESRCH: it ends during the read.
    if (known?.errno === Errno.ENOENT || known?.errno === Errno.ESRCH) return undefined;
    throw known ?? error;
  }
  return parseStat(text);
}

/** Parses /proc/PID/stat. Pure. */
export function parseStat(text: string): ProcessStat {
  // The name in parentheses may contain any character, so fields are counted from the last parenthesis.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const name = text.slice(text.indexOf("(") + 1, text.lastIndexOf(")"));
  return {
    name,
    state: fields[0]!,
    parent: Number(fields[1]),
    startTime: Number(fields[19]),
    pendingSignals: Number(fields[28] ?? 0),
    exitStatus: Number(fields[49]),
  };
}

/** The error message of `exec` for a stopped container. */
export const EXEC_IN_STOPPED = "cannot exec in a stopped container";

/** Whether the process `pid` that began at `startTime` is alive: it exists, is the same process, and is no zombie. */
export function isAlive(pid: number, startTime: number): boolean {
  return livingStat(pid, startTime) !== undefined;
}

/** Bit of SIGKILL in {@link ProcessStat.pendingSignals}. */
const KILLED = 1 << 8;

/** Whether the process is alive, and no SIGKILL is on its way. A frozen process of cgroup v1 does not end of that. */
export function livesOn(pid: number, startTime: number): boolean {
  const stat = livingStat(pid, startTime);
  return stat !== undefined && (stat.pendingSignals & KILLED) === 0;
}

function livingStat(pid: number, startTime: number): ProcessStat | undefined {
  if (pid <= 0) return undefined;
  const stat = processStat(pid);
  return stat?.startTime === startTime && stat.state !== "Z" && stat.state !== "X" ? stat : undefined;
}

/**
 * The capabilities of one set in the text of /proc/PID/status, such as `CapEff`; undefined if the text does not have it.
 * Pure. @see proc_pid_status(5)
 */
export function capabilitiesIn(status: string, set: string): readonly string[] | undefined {
  const [, hex] = new RegExp(`^${set}:\\s*([0-9a-f]+)$`, "m").exec(status) ?? [];
  if (hex === undefined) return undefined;
  const bits = BigInt(`0x${hex}`);
  return capabilityNames.filter((_, number) => (bits >> BigInt(number)) & 1n);
}
