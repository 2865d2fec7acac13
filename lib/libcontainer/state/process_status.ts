/**
 * Whether a process is still the one that state.json means.
 *
 * @module
 */

/** What /proc/PID/stat says. @see proc(5) */
export interface ProcessStat {
  /** Of the program, or as the process calls itself: 15 bytes at most. */
  readonly name: string;
  /** `R`, `S`, `Z`, … */
  readonly state: string;
  readonly parent: number;
  /** Field 22, in clock ticks since boot: with the pid it names one process for ever. */
  readonly startTime: number;
}

/** Reads /proc/PID/stat. Undefined where there is no such process. */
export function processStat(pid: number): ProcessStat | undefined {
  let text: string;
  try {
    text = Deno.readTextFileSync(`/proc/${pid}/stat`);
  } catch {
    // ENOENT, or ESRCH when it goes away meanwhile: it is gone either way.
    return undefined;
  }
  // The name in parentheses may hold anything, so fields are counted from the last one.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const name = text.slice(text.indexOf("(") + 1, text.lastIndexOf(")"));
  return { name, state: fields[0]!, parent: Number(fields[1]), startTime: Number(fields[19]) };
}

/** What exec says where the container has ended. */
export const EXEC_IN_STOPPED = "cannot exec in a stopped container";

/** Whether the process `pid` that began at `startTime` is alive: not gone, not another one, not a zombie. */
export function isAlive(pid: number, startTime: number): boolean {
  if (pid <= 0) return false;
  const stat = processStat(pid);
  return stat !== undefined && stat.startTime === startTime && stat.state !== "Z" && stat.state !== "X";
}
