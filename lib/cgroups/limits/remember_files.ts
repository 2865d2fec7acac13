/**
 * Putting files of a cgroup back as they were, after a change that was refused half-way.
 *
 * Runs in: parent.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { readIfThere, writeCgroupFile } from "../file.ts";
import { linesOf } from "../stats/files.ts";

/** A file of a cgroup. */
export interface CgroupFile {
  readonly directory: string;
  readonly name: string;
}

/** A file with its content. */
interface Remembered extends CgroupFile {
  readonly text: string;
}

/** What takes the entry of a device out of a file that has one a line. Others show every device, or only one value. */
const removals: readonly (readonly [file: RegExp, value: string])[] = [
  [/^blkio\.(throttle\..*|.*weight_device)$/, "0"],
  [/^io\.max$/, "rbps=max wbps=max riops=max wiops=max"],
];

/**
 * Reads `files`, in the order in which they are going to be written. The function that is returned writes what has changed since, last
 * first; it throws what the kernel refuses to take back.
 */
export function rememberFiles(files: readonly CgroupFile[]): () => void {
  const known = new Map<string, Remembered>();
  for (const { directory, name } of files) {
    const text = known.has(`${directory}/${name}`) ? undefined : readIfThere(directory, name);
    if (text !== undefined) known.set(`${directory}/${name}`, { directory, name, text });
  }
  return () => {
    const refused = [...known.values()].toReversed().filter((file) => !tryToRestore(file));
    // A value may only fit one that was still to come, as a period its quota.
    refused.forEach(restore);
  };
}

function tryToRestore(file: Remembered): boolean {
  try {
    restore(file);
    return true;
  } catch (error) {
    if (error instanceof RuncError) return false;
    throw error;
  }
}

function restore({ directory, name, text }: Remembered): void {
  const now = readIfThere(directory, name);
  if (now === undefined || now === text) return;
  for (const line of linesBack(name, text, now)) writeCgroupFile(directory, name, line);
}

/** The writes that make `before` of `now`. Pure. */
export function linesBack(file: string, before: string, now: string): readonly string[] {
  // It shows more than it takes. Documentation/admin-guide/cgroup-v1/memory.rst, OOM Control
  if (file === "memory.oom_control") return [/^oom_kill_disable (\d)/.exec(before)?.[1] ?? "0"];
  const old = linesOf(before);
  const current = linesOf(now);
  const [, removal] = removals.find(([pattern]) => pattern.test(file)) ?? [];
  if (removal !== undefined) {
    const kept = new Set(old.map(keyOf));
    const added = current.map(keyOf).filter((key) => !kept.has(key));
    return [...old.filter((line) => !current.includes(line)), ...added.map((key) => `${key} ${removal}`)];
  }
  // An empty value, which v2's cpuset has, is a line of its own.
  return old.length === 0 ? ["\n"] : old.filter((line) => !current.includes(line));
}

function keyOf(line: string): string {
  return line.slice(0, line.indexOf(" "));
}
