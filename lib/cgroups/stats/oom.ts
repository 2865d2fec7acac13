/**
 * Counts the processes of a cgroup that the OOM killer killed.
 *
 * @module
 */

import { readIfThere } from "../file.ts";

/** `file`: `memory.oom_control` on v1 (Linux 4.13), `memory.events` on v2. Returns 0 if there is no such file. */
export function oomKills(directory: string, file: "memory.oom_control" | "memory.events"): number {
  return Number(/^oom_kill (\d+)$/m.exec(readIfThere(directory, file) ?? "")?.[1] ?? 0);
}
