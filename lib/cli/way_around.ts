/**
 * What to do about a bug: without the snapshot, the same command may work.
 *
 * @module
 */

import { RuncError } from "../errors.ts";
import type { Host } from "./host.ts";

/**
 * The same error; if it is a bug and the program is a snapshot, with a hint that names the launcher, which runs the
 * same program without the snapshot.
 */
export function withWayAround(
  error: RuncError,
  { programKind, reexec }: Pick<Host, "programKind" | "reexec">,
): RuncError {
  if (error.code !== "internal" || error.hint !== undefined || programKind() !== "snapshot") return error;
  const hint = `this is a bug; ${reexec().path}.sh runs the same command without the snapshot`;
  return new RuncError(error.code, error.message, { ...error, cause: error.cause, hint });
}
