/**
 * How many processes of a cgroup the kernel has killed because its memory was used up.
 *
 * @module
 */

import { readIfThere } from "../file.ts";

/** `file`: `memory.oom_control` on v1 (Linux 4.13), `memory.events` on v2. 0 where there is none. */
export function oomKills(directory: string, file: "memory.oom_control" | "memory.events"): number {
  return Number(/^oom_kill (\d+)$/m.exec(readIfThere(directory, file) ?? "")?.[1] ?? 0);
}
