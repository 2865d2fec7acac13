/**
 * Counts the processes of a cgroup that the OOM killer killed.
 *
 * @module
 */

import { readIfThere } from "../file.ts";

/** The file that counts them, for cgroup directories by controller on v1, or under `""` on v2. */
export function oomFileOf({ memory, "": unified }: Readonly<Record<string, string>>): string | undefined {
  if (memory !== undefined) return `${memory}/memory.oom_control`;
  return unified === undefined ? undefined : `${unified}/memory.events`;
}

/** `file`: `memory.oom_control` on v1 (Linux 4.13), `memory.events` on v2. Returns 0 if there is no such file. */
export function oomKills(directory: string, file: "memory.oom_control" | "memory.events"): number {
  return Number(/^oom_kill (\d+)$/m.exec(readIfThere(directory, file) ?? "")?.[1] ?? 0);
}
