/**
 * `linux.resources.unified`: cgroup v2 files by name, for limits without a field in the specification.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import type { Waits } from "../../ffi/waits.ts";
import { isErrno, readIfThere, writeWaits } from "../file.ts";

/**
 * Writes each value to the file of its key, line by line.
 *
 * @throws {RuncError} `config-invalid` for a key with a slash, which would name another directory; `cgroup-failed` if
 * the kernel refuses, or if the controller is not available.
 */
export function* setUnified(directory: string, unified: Readonly<Record<string, string>>): Waits<void> {
  for (const [file, value] of Object.entries(unified)) {
    const name = JSON.stringify(file);
    if (file.includes("/")) {
      throw new RuncError("config-invalid", `unified resource ${name} must be a file name (no slashes)`);
    }
    try {
      for (const line of linesOf(value)) yield* writeWaits(directory, file, line);
    } catch (error) {
      if (isErrno(error, "EPERM", "EACCES", "ENOENT")) explainMissing(directory, file, error);
      throw error instanceof RuncError ? error.within(`unable to set unified resource ${name}`) : error;
    }
  }
}

/** @throws {RuncError} if the cause is that the cgroup does not have the controller. */
function explainMissing(directory: string, file: string, cause: unknown): void {
  const name = JSON.stringify(file);
  const [controller = "", parameter] = file.split(".");
  if (parameter === undefined) {
    throw new RuncError("config-invalid", `unified resource ${name} must be in the form CONTROLLER.PARAMETER`, {
      cause,
    });
  }
  const controllers = readIfThere(directory, "cgroup.controllers")?.trim().split(" ") ?? [];
  if (controller === "cgroup" || controllers.includes(controller)) return;
  throw new RuncError(
    "cgroup-failed",
    `unified resource ${name} can't be set: controller ${JSON.stringify(controller)} not available`,
    { cause },
  );
}

/** The lines, without the empty one after a final newline. */
function linesOf(text: string): readonly string[] {
  const lines = text.split("\n");
  return lines.at(-1) === "" ? lines.slice(0, -1) : lines;
}
