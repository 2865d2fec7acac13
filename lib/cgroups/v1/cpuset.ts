/**
 * The v1 cpuset controller. A new cgroup has no CPUs and no memory nodes, and accepts no process until both are set.
 *
 * @see cpuset(7)
 * @module
 */

import { dirname } from "../../std/path.ts";
import type { Waits } from "../../ffi/waits.ts";
import { readCgroupFile, writeWaits } from "../file.ts";

/** If one of these is empty, the kernel refuses processes with ENOSPC. */
const inherited = ["cpuset.cpus", "cpuset.mems"] as const;

/**
 * Sets the CPUs and memory nodes of `directory`, and of its ancestors that have none, to those of the nearest ancestor
 * that has some. The root of the hierarchy always has some.
 *
 * `fresh`: the cgroup was just created, so its files are known to be empty and are not read first.
 */
export function* inheritCpuset(directory: string, fresh: boolean): Waits<void> {
  for (const file of inherited) {
    if (fresh || isEmpty(readCgroupFile(directory, file))) {
      yield* writeWaits(directory, file, yield* nonEmpty(dirname(directory), file));
    }
  }
}

/** The value of `file`. If it is empty, it is first copied from the parent. */
function* nonEmpty(directory: string, file: string): Waits<string> {
  const value = readCgroupFile(directory, file);
  if (!isEmpty(value)) return value;
  const above = yield* nonEmpty(dirname(directory), file);
  yield* writeWaits(directory, file, above);
  return above;
}

function isEmpty(value: string): boolean {
  return value.trim() === "";
}
