/**
 * The v1 cpuset controller: a new cgroup has no CPUs and no memory nodes, and takes no process until it has.
 *
 * @see cpuset(7)
 * @module
 */

import { dirname } from "@std/path";
import { readCgroupFile, writeCgroupFile } from "../file.ts";

/** A process is refused (ENOSPC) where one of them is empty. */
const inherited = ["cpuset.cpus", "cpuset.mems"] as const;

/**
 * Gives `directory`, and the ones above it that lack them, the CPUs and memory nodes of the next one above that has some. The
 * hierarchy's top always has.
 *
 * `fresh`: it was just made, so it has none and is not read first.
 */
export function inheritCpuset(directory: string, fresh: boolean): void {
  for (const file of inherited) {
    if (fresh || isEmpty(readCgroupFile(directory, file))) {
      writeCgroupFile(directory, file, nonEmpty(dirname(directory), file));
    }
  }
}

/** The value of `file`, after filling it from above where it is empty. */
function nonEmpty(directory: string, file: string): string {
  const value = readCgroupFile(directory, file);
  if (!isEmpty(value)) return value;
  const above = nonEmpty(dirname(directory), file);
  writeCgroupFile(directory, file, above);
  return above;
}

function isEmpty(value: string): boolean {
  return value.trim() === "";
}
