/**
 * A note of what a creation makes before there is a state.json: if the runtime is killed meanwhile, `delete --force`
 * finds the container's cgroups by it, wherever they are. It is a small file in the container's directory, which other
 * runtimes ignore.
 *
 * Pure: {@link StateDirectory} reads and writes the file.
 *
 * @module
 */

import { resolve } from "../../std/path.ts";
import type { SystemdPath } from "../../cgroups/path.ts";

/** What a creation makes. */
export interface CreationNote {
  /** The stage. A pid alone may be another process's by now. */
  readonly stage: { readonly pid: number; readonly startTime: number };
  /** By controller on cgroup v1, under `""` on v2. */
  readonly cgroupPaths: Readonly<Record<string, string>>;
  /** Where systemd has the unit, if it makes the cgroups. */
  readonly systemd?: SystemdPath;
}

/** Larger than any note. */
export const NOTE_LIMIT = 64 * 1024;

/**
 * Parses a note. Undefined if it is broken, or if a path is not that of a cgroup: it is then as if there were none.
 * `mountPoints`: of the host's cgroup hierarchies, absolute.
 */
export function parseNote(text: string, mountPoints: readonly string[]): CreationNote | undefined {
  const note = parse(text);
  if (!isRecord(note) || !isRecord(note.stage) || !isRecord(note.cgroupPaths)) return undefined;
  const { pid, startTime } = note.stage;
  if (!isNatural(pid) || !isNatural(startTime)) return undefined;
  const { cgroupPaths, systemd } = note;
  if (!Object.values(cgroupPaths).every((path) => isCgroup(path, mountPoints))) return undefined;
  if (systemd !== undefined && !isSystemdPath(systemd)) return undefined;
  return { stage: { pid, startTime }, cgroupPaths: cgroupPaths as Record<string, string>, systemd };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    // The runtime was killed while it wrote the note, and has made no cgroup yet.
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function isCgroup(path: unknown, mountPoints: readonly string[]): boolean {
  return typeof path === "string" && path === resolve("/", path) &&
    mountPoints.some((mountPoint) => path.startsWith(`${mountPoint}/`));
}

function isSystemdPath(value: unknown): value is SystemdPath {
  return isRecord(value) && [value.slice, value.prefix, value.name].every((part) => typeof part === "string");
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isNatural(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
