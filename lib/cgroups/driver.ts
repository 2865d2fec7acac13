/**
 * What the v1 and the v2 driver have in common.
 *
 * @module
 */

import { dirname } from "@std/path";
import { RuncError } from "../errors.ts";
import { isWritable } from "../ffi/files.ts";
import type { Kernel } from "../ffi/kernel.ts";
import { isErrno, removeIfUnused } from "./file.ts";
import type { Freezer } from "./freezer.ts";
import { processesIn } from "./processes.ts";

/** @throws {RuncError} where a cgroup that was there before has processes: it is somebody else's. */
export function refuseProcesses(directory: string): void {
  const count = processesIn(directory).length;
  if (count > 0) {
    throw new RuncError("cgroup-failed", `container's cgroup is not empty: ${count} process(es) found`, {
      hint: `give the container another linux.cgroupsPath, or end what runs in ${directory}`,
    });
  }
}

/** @throws {RuncError} where a cgroup that was there before is frozen: the container would never start. */
export function refuseFrozen(freezer: Freezer, directory: string): void {
  if (freezer.state(directory) === "frozen") {
    throw new RuncError("cgroup-failed", "container's cgroup unexpectedly frozen");
  }
}

/** Whether the kernel or the file system denied it, as it does to users whom nobody delegated the cgroup to. */
export function isPermission(error: unknown): boolean {
  return isErrno(error, "EPERM", "EACCES", "EROFS");
}

/**
 * Removes the cgroups that `create` made, deepest first, after it failed. One below which another container is being made meanwhile stays.
 */
export function undoMade(made: readonly string[]): void {
  made.toReversed().forEach(removeIfUnused);
}

/**
 * Leaves out of `paths` the cgroups that this process may not make, as `create` would find out: what is planned before it must
 * know. Whether there were any.
 */
export function leaveOutForbidden(kernel: Kernel, paths: Record<string, string>): boolean {
  const forbidden = Object.entries(paths).filter(([, path]) =>
    !isWritable(kernel, isThere(path) ? path : nearest(path))
  );
  for (const [controller] of forbidden) delete paths[controller];
  return forbidden.length > 0;
}

/** The directory above `path` that is there. */
function nearest(path: string): string {
  const parent = dirname(path);
  return parent === "/" || isThere(parent) ? parent : nearest(parent);
}

/** Whether there is a directory. */
export function isThere(directory: string): boolean {
  try {
    return Deno.statSync(directory).isDirectory;
  } catch {
    // Whatever hides it, nothing can be done with it.
    return false;
  }
}
