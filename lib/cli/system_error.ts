/**
 * Converts errors of Deno's file functions to errors of this program.
 *
 * @module
 */

import { RuncError } from "../errors.ts";
import { fileError } from "../ffi/file_error.ts";
import { Errno, type ErrnoName, errnoText } from "../ffi/errno.ts";

/** Runs `action` and words its errors as Go does: `open /x: no such file or directory`. `call`: `open /x`. */
export function withSystemErrors<Result>(call: string, action: () => Result): Result {
  try {
    return action();
  } catch (error) {
    throw systemError(call, error);
  }
}

/** Converts an error to a {@link RuncError}: by its errno if it has one, otherwise by its message. */
export function systemError(call: string, cause: unknown): RuncError {
  const name = cause instanceof Error && "code" in cause ? String(cause.code) : "";
  if (!isErrnoName(name)) return toRuncError(cause);
  const errno = Errno[name];
  return new RuncError("syscall-failed", `${call}: ${errnoText(errno)}`, { errno, errnoName: name, cause });
}

function isErrnoName(name: string): name is ErrnoName {
  return Object.hasOwn(Errno, name);
}

/** Converts anything thrown to a {@link RuncError}. Anything else than a RuncError or a system error is a bug. */
export function toRuncError(error: unknown): RuncError {
  if (error instanceof RuncError) return error;
  const known = fileError(error);
  if (known !== undefined) return known;
  const message = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return new RuncError("internal", message, { cause: error });
}
