/**
 * The output of `runc wait`. Pure.
 *
 * @module
 */

import type { Exit } from "../../libcontainer/state/exit_record.ts";

/** The exit status where the process's is unknown; also that of an error. */
export const UNKNOWN_STATUS = 255;

/** The exit status of `wait`: the process's, as a shell reports it. */
export function exitStatus({ status }: Exit): number {
  return status ?? UNKNOWN_STATUS;
}

/** One line. */
export function exitText({ source, code, signal, coreDumped = false, oomKills = 0, endedAt }: Exit): string {
  if (source === "unknown") return "ended; unknown how: nothing that watched it has left a record\n";
  const how = signal === undefined ? `exited with ${code}` : `killed by ${signal}`;
  const kills = `${oomKills} ${oomKills === 1 ? "process" : "processes"} of the container killed for lack of memory`;
  const details = [coreDumped && "core dumped", oomKills > 0 && kills, endedAt !== undefined && `at ${endedAt}`];
  return [how, ...details.filter((detail) => detail !== false)].join(", ") + "\n";
}

/** One JSON object. */
export function exitJson(id: string, exit: Exit): string {
  return `${JSON.stringify({ id, ...exit }, null, 2)}\n`;
}
