/**
 * Writes limits to a cgroup's files.
 *
 * Runs in: parent.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { TURN, type Waits } from "../../ffi/waits.ts";
import { inSpanWaits, type Tracer } from "../../trace/tracer.ts";
import { isErrno, readCgroupFile, writeAllWaits, writeWaits } from "../file.ts";
import { limitFields, type LimitWrite } from "./limit.ts";
import type { CgroupFile } from "./remember_files.ts";

/** The directory of a controller's cgroup, `undefined` if the container has no such cgroup. */
export type DirectoryOf = (controller: string) => string | undefined;

/**
 * Makes the `writes` in order. `tracer`: gets a span for each run of writes of one controller.
 *
 * @throws {RuncError} `cgroup-failed` for the first write that the kernel refuses or that has no cgroup.
 */
export function* setLimits(writes: readonly LimitWrite[], directoryOf: DirectoryOf, tracer?: Tracer): Waits<void> {
  if (tracer === undefined) return yield* setAll(writes, directoryOf);
  for (const group of byController(writes)) {
    const attributes = { "runc.cgroup.files": group.map(({ file, value }) => `${file}=${value}`).join(" ") };
    const name = `set the limits of ${group[0]!.controller}`;
    yield* inSpanWaits(tracer, name, () => setAll(group, directoryOf), { attributes });
  }
}

/** Runs of writes of one controller. A write to retry after others is retried at the end of its own run. */
export function byController(writes: readonly LimitWrite[]): readonly (readonly LimitWrite[])[] {
  const groups: LimitWrite[][] = [];
  for (const write of writes) {
    const last = groups.at(-1);
    if (last?.[0]?.controller === write.controller) last.push(write);
    else groups.push([write]);
  }
  return groups;
}

function* setAll(writes: readonly LimitWrite[], directoryOf: DirectoryOf): Waits<void> {
  const again: LimitWrite[] = [];
  for (const limit of yield* setAtOnce(writes, directoryOf)) {
    const directory = directoryOf(limit.controller);
    if (directory === undefined) {
      throw new RuncError(
        "cgroup-failed",
        `cannot set ${limit.controller} limit: container could not join or create cgroup`,
        { field: limitFields[limit.controller] },
      );
    }
    try {
      yield* setLimit(directory, limit);
    } catch (error) {
      if (!limit.againAfter || !isErrno(error, "EINVAL")) throw withField(error, limit);
      again.push({ ...limit, againAfter: false });
    }
    yield TURN;
  }
  if (again.length > 0) yield* setAll(again, directoryOf);
}

/**
 * Makes the writes in one wait, if there are several and each is alone: one that is refused changes nothing about the
 * others. Returns those that are left, or have failed.
 */
function* setAtOnce(writes: readonly LimitWrite[], directoryOf: DirectoryOf): Waits<readonly LimitWrite[]> {
  if (writes.length < 2 || writes.some(({ readBack }) => readBack)) return writes;
  const placed = writes.flatMap((limit) => {
    const directory = directoryOf(limit.controller);
    return directory === undefined ? [] : [{ ...limit, directory, limit }];
  });
  if (placed.length < writes.length) return writes;
  const failed = yield* writeAllWaits(placed);
  return failed.map(({ limit }) => limit);
}

function withField(error: unknown, { controller }: LimitWrite): unknown {
  if (!(error instanceof RuncError) || error.field !== undefined) return error;
  return new RuncError(error.code, error.message, { ...error, field: limitFields[controller], cause: error.cause });
}

/** The files that {@link setLimits} may write, in the same order. */
export function limitFiles(
  writes: readonly LimitWrite[],
  directoryOf: DirectoryOf,
): readonly CgroupFile[] {
  return writes.flatMap(({ controller, file, otherwise }) => {
    const directory = directoryOf(controller);
    if (directory === undefined) return [];
    const names = otherwise === undefined ? [file] : [file, otherwise.file];
    return names.map((name) => ({ directory, name }));
  });
}

function* setLimit(directory: string, limit: LimitWrite): Waits<void> {
  const { file, value, tolerate = [], otherwise, readBack } = limit;
  try {
    yield* writeWaits(directory, file, value);
  } catch (error) {
    if (isErrno(error, ...tolerate)) return;
    if (otherwise !== undefined && isErrno(error, "ENOENT")) {
      return yield* writeWaits(directory, otherwise.file, otherwise.value);
    }
    // The kernel could not free enough memory. The message has the numbers, to show how much is missing.
    if (file === "memory.limit_in_bytes" && isErrno(error, "EBUSY")) throw tooLow(directory, value, error);
    throw error;
  }
  if (readBack) refuseClamped(directory, file, BigInt(value));
}

function tooLow(directory: string, value: string, cause: unknown): RuncError {
  const usage = readCgroupFile(directory, "memory.usage_in_bytes").trim();
  const peak = readCgroupFile(directory, "memory.max_usage_in_bytes").trim();
  const message = `unable to set memory limit to ${value} (current usage: ${usage}, peak usage: ${peak})`;
  return new RuncError("cgroup-failed", message, { cause });
}

function refuseClamped(directory: string, file: string, wanted: bigint): void {
  const set = BigInt(readCgroupFile(directory, file).trim());
  if (set === wanted) return;
  const bound = wanted > set ? "maximum" : "minimum";
  throw new RuncError("cgroup-failed", `the ${bound} allowed ${file.replace(".", "-")} is ${set}`);
}
