/**
 * The directories of images and of CRIU's log, and what this program itself writes and reads there. Runs in: parent.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { openFlag } from "../../ffi/constants.ts";
import { Errno } from "../../ffi/errno.ts";
import type { Fd } from "../../ffi/fd.ts";
import { withFileErrors } from "../../ffi/file_error.ts";
import { open } from "../../ffi/files.ts";
import { cString, type Kernel } from "../../ffi/kernel.ts";
import type { Log } from "../runtime.ts";
import { firstError, quoteErrors } from "./criu_log.ts";

/** The targets of the standard streams, which a restore needs. runc's name. */
const DESCRIPTORS = "descriptors.json";

/** When the saved container was created. A file of this runtime's: runc does not write it, and ignores it. */
const CREATED = "created.json";
/** RFC 3339, UTC. */
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/;

/** Opens a directory. @throws {RuncError} */
export function openDirectory(kernel: Kernel, path: string): Fd {
  return open(kernel, path, openFlag(kernel.arch).O_DIRECTORY);
}

/** Opens a directory, which is made if it does not exist. The one that it is in must exist. @throws {RuncError} */
export function makeDirectory(kernel: Kernel, path: string): Fd {
  const made = kernel.retry("mkdir", cString(path), 0o700);
  if (made < 0 && made !== -Errno.EEXIST) kernel.must(`mkdir ${path}`, "mkdir", cString(path), 0o700);
  return openDirectory(kernel, path);
}

/** Opens the directory of new images, which is made with those above it. @throws {RuncError} */
export function makeImages(kernel: Kernel, path: string): Fd {
  withFileErrors(() => Deno.mkdirSync(path, { recursive: true, mode: 0o700 }));
  return openDirectory(kernel, path);
}

/** Writes the targets of the first process's standard streams into an image. `null`: not known. */
export function writeDescriptors(imagePath: string, descriptors: readonly string[] | null): void {
  const text = JSON.stringify(descriptors);
  withFileErrors(() => Deno.writeTextFileSync(`${imagePath}/${DESCRIPTORS}`, text, { mode: 0o600 }));
}

/** Reads the targets of the standard streams from an image. @throws {RuncError} */
export function readDescriptors(imagePath: string): readonly string[] {
  const path = `${imagePath}/${DESCRIPTORS}`;
  const text = withFileErrors(() => Deno.readTextFileSync(path));
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new RuncError("checkpoint-failed", `${path}: ${(cause as Error).message}`, { cause });
  }
  if (value === null) return [];
  if (Array.isArray(value) && value.every((each) => typeof each === "string")) return value;
  throw new RuncError("checkpoint-failed", `${path} is not a list of texts`);
}

/** Writes into an image when its container was created: RFC 3339, UTC. @throws {RuncError} */
export function writeCreated(imagePath: string, created: string): void {
  const text = JSON.stringify(created);
  withFileErrors(() => Deno.writeTextFileSync(`${imagePath}/${CREATED}`, text, { mode: 0o600 }));
}

/** Reads from an image when its container was created. undefined for an image of runc's, or if it is not a time. */
export function readCreated(imagePath: string): string | undefined {
  try {
    const value: unknown = JSON.parse(Deno.readTextFileSync(`${imagePath}/${CREATED}`));
    return typeof value === "string" && TIME.test(value) ? value : undefined;
  } catch {
    // The time of the restore does as well.
    return undefined;
  }
}

/** CRIU's failure, with the first error in its log as a hint. The lines around all errors go to `log`, as in runc. */
export function explainFailure(error: RuncError, path: string, log: Log): RuncError {
  const text = readLog(path);
  for (const line of quoteErrors(path, text)) log("warning", line);
  const first = firstError(text);
  const hint = first !== undefined ? `${path}: ${first}` : error.hint;
  return new RuncError(error.code, error.message, { ...error, cause: error.cause, hint });
}

function readLog(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    // CRIU has not begun, or its configuration names another file.
    return "";
  }
}
