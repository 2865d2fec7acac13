/**
 * Errors of Deno's own file functions as errors of this program.
 *
 * @module
 */

import { RuncError } from "../errors.ts";
import { fileError } from "../ffi/file_error.ts";
import { Errno, type ErrnoName, errnoText } from "../ffi/errno.ts";

/** Runs `action`; what it throws is worded as Go words it: `open /x: no such file or directory`. `call`: `open /x`. */
export function withSystemErrors<Result>(call: string, action: () => Result): Result {
  try {
    return action();
  } catch (error) {
    throw systemError(call, error);
  }
}

/** `error` as a {@link RuncError}: by its errno where the system gave one, else by its message. */
export function systemError(call: string, cause: unknown): RuncError {
  const name = cause instanceof Error && "code" in cause ? String(cause.code) : "";
  if (!isErrnoName(name)) return toRuncError(cause);
  const errno = Errno[name];
  return new RuncError("syscall-failed", `${call}: ${errnoText(errno)}`, { errno, errnoName: name, cause });
}

function isErrnoName(name: string): name is ErrnoName {
  return Object.hasOwn(Errno, name);
}

/** Anything thrown, as a {@link RuncError}: one that is none, and that the system did not give, is a bug of ours. */
export function toRuncError(error: unknown): RuncError {
  if (error instanceof RuncError) return error;
  const known = fileError(error);
  if (known !== undefined) return known;
  const message = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return new RuncError("internal", message, { cause: error });
}
