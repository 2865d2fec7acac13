/**
 * Errors of Deno's own file functions as errors of this program: code, call, path and errno.
 *
 * @module
 */

import { RuncError } from "../errors.ts";
import { errnoName, errnoText } from "./errno.ts";

/** The system calls of some of Deno's functions, by the name in Deno's messages. */
const calls: Readonly<Record<string, string>> = {
  readfile: "read",
  writefile: "write",
  readdir: "open",
  remove: "unlink",
  realpath: "open",
};

/**
 * The error of a system call in one of Deno's functions, in Go's words: `write /x: no space left on device`. Undefined
 * for any other error.
 *
 * Deno gives the details only in the message: `No space left on device (os error 28): writefile '/x'`.
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

/**
 * Runs `action`, which calls one of Deno's file functions. @throws {RuncError} `syscall-failed` with the path and the
 * errno.
 */
export function withFileErrors<Result>(action: () => Result): Result {
  try {
    return action();
  } catch (error) {
    throw fileError(error) ?? error;
  }
}
