/**
 * Functions that the v1 and v2 drivers share.
 *
 * @module
 */

import { dirname } from "../std/path.ts";
import { RuncError } from "../errors.ts";
import { isWritable } from "../ffi/files.ts";
import type { Kernel } from "../ffi/kernel.ts";
import type { Waits } from "../ffi/waits.ts";
import { isErrno, removeIfUnused } from "./file.ts";
import type { Freezer } from "./freezer.ts";
import { processesIn } from "./processes.ts";

/** @throws {RuncError} if a cgroup that existed before has processes: it belongs to somebody else. */
export function refuseProcesses(directory: string): void {
  const count = processesIn(directory).length;
  if (count > 0) {
    throw new RuncError("cgroup-failed", `container's cgroup is not empty: ${count} process(es) found`, {
      hint: `set another linux.cgroupsPath, or stop the processes in ${directory}`,
    });
  }
}

/** @throws {RuncError} if a cgroup that existed before is frozen: the container would never start. */
export function* refuseFrozen(freezer: Freezer, directory: string): Waits<void> {
  if ((yield* freezer.state(directory)) === "frozen") {
    throw new RuncError("cgroup-failed", "container's cgroup unexpectedly frozen");
  }
}

/** Whether `error` is a denied permission. Users get it for cgroups that are not delegated to them. */
export function isPermission(error: unknown): boolean {
  return isErrno(error, "EPERM", "EACCES", "EROFS");
}

/**
 * Removes the cgroups that a failed `create` made, deepest first. A cgroup stays if another container is being created
 * below it at the same time.
 */
export function* undoMade(made: readonly string[]): Waits<void> {
  for (const directory of made.toReversed()) yield* removeIfUnused(directory);
}

/**
 * Removes from `paths` the cgroups that this process may not create. The plan is made before `create` and needs to know
 * them. Returns whether there were any.
 */
export function leaveOutForbidden(kernel: Kernel, paths: Record<string, string>): boolean {
  const forbidden = Object.entries(paths).filter(([, path]) =>
    !isWritable(kernel, isThere(path) ? path : nearest(path))
  );
  for (const [controller] of forbidden) delete paths[controller];
  return forbidden.length > 0;
}

/** The nearest ancestor of `path` that exists. */
function nearest(path: string): string {
  const parent = dirname(path);
  return parent === "/" || isThere(parent) ? parent : nearest(parent);
}

/** Whether the directory exists. */
export function isThere(directory: string): boolean {
  try {
    return Deno.statSync(directory).isDirectory;
  } catch {
    // The directory is inaccessible for some reason, so it cannot be used.
    return false;
  }
}
