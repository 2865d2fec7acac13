/**
 * Errors of Deno's own file functions as errors of this program: code, call, path and errno.
 *
 * @module
 */

import { RuncError } from "../errors.ts";
import { errnoName, errnoText } from "./errno.ts";

/** What Deno calls some of its functions, and what the system call is. */
const calls: Readonly<Record<string, string>> = {
  readfile: "read",
  writefile: "write",
  readdir: "open",
  remove: "unlink",
  realpath: "open",
};

/**
 * An error that the system gave to one of Deno's functions, worded as Go words it: `write /x: no space left on device`. Undefined for any other.
 *
 * Deno has all of it in the message alone: `No space left on device (os error 28): writefile '/x'`.
 */
export function fileError(cause: unknown): RuncError | undefined {
  if (!(cause instanceof Error) || cause instanceof RuncError) return undefined;
  const [, number, rest = ""] = /\(os error (\d+)\)(?:: ([^]*))?$/.exec(cause.message) ?? [];
  if (number === undefined) return undefined;
  const errno = Number(number);
  const [, name, path = ""] = /^(\w+) '([^]*)'$/.exec(rest) ?? [];
  const call = name === undefined ? undefined : calls[name] ?? name;
  const what = call === undefined ? rest : `${call} ${path.replace("' -> '", " ")}`;
  return new RuncError("syscall-failed", (what === "" ? "" : `${what}: `) + errnoText(errno), {
    call: call && `${call}(${path.split("' -> '").map((one) => JSON.stringify(one)).join(", ")})`,
    errno,
    errnoName: errnoName(errno),
    cause,
  });
}

/** Runs `action`, which calls one of Deno's file functions. @throws {RuncError} `syscall-failed` with the path and the errno. */
export function withFileErrors<Result>(action: () => Result): Result {
  try {
    return action();
  } catch (error) {
    throw fileError(error) ?? error;
  }
}
