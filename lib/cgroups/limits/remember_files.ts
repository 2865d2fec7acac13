/**
 * Restores files of a cgroup after an update that failed half-way.
 *
 * Runs in: parent.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import type { Waits } from "../../ffi/waits.ts";
import { readIfThere, writeWaits } from "../file.ts";
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

/**
 * The values that remove a device's entry from a file with one entry per line. Other files list every device, or have
 * only one value.
 */
const removals: readonly (readonly [file: RegExp, value: string])[] = [
  [/^blkio\.(throttle\..*|.*weight_device)$/, "0"],
  [/^io\.max$/, "rbps=max wbps=max riops=max wiops=max"],
];

/**
 * Reads `files`, in the order in which they will be written. The returned function restores what has changed since, in
 * reverse order. It throws if the kernel refuses a value.
 */
export function rememberFiles(files: readonly CgroupFile[]): () => Waits<void> {
  const known = new Map<string, Remembered>();
  for (const { directory, name } of files) {
    const text = known.has(`${directory}/${name}`) ? undefined : readIfThere(directory, name);
    if (text !== undefined) known.set(`${directory}/${name}`, { directory, name, text });
  }
  return function* (): Waits<void> {
    const refused: Remembered[] = [];
    for (const file of [...known.values()].toReversed()) if (!(yield* tryToRestore(file))) refused.push(file);
    // The kernel may accept a value only after a later one is restored, such as a period only with its quota.
    for (const file of refused) yield* restore(file);
  };
}

function* tryToRestore(file: Remembered): Waits<boolean> {
  try {
    yield* restore(file);
    return true;
  } catch (error) {
    if (error instanceof RuncError) return false;
    throw error;
  }
}

function* restore({ directory, name, text }: Remembered): Waits<void> {
  const now = readIfThere(directory, name);
  if (now === undefined || now === text) return;
  for (const line of linesBack(name, text, now)) yield* writeWaits(directory, name, line);
}

/** The writes that change `now` back to `before`. Pure. */
export function linesBack(file: string, before: string, now: string): readonly string[] {
  // memory.oom_control shows more fields than it accepts. Documentation/admin-guide/cgroup-v1/memory.rst, OOM Control
  if (file === "memory.oom_control") return [/^oom_kill_disable (\d)/.exec(before)?.[1] ?? "0"];
  const old = linesOf(before);
  const current = linesOf(now);
  const [, removal] = removals.find(([pattern]) => pattern.test(file)) ?? [];
  if (removal !== undefined) {
    const kept = new Set(old.map(keyOf));
    const added = current.map(keyOf).filter((key) => !kept.has(key));
    return [...old.filter((line) => !current.includes(line)), ...added.map((key) => `${key} ${removal}`)];
  }
  // v2's cpuset files may be empty. An empty value is written as a newline.
  return old.length === 0 ? ["\n"] : old.filter((line) => !current.includes(line));
}

function keyOf(line: string): string {
  return line.slice(0, line.indexOf(" "));
}
