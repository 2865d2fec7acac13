/**
 * A further process of a sandbox, from the options of `spawn`. Pure.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { errnoText } from "../../ffi/errno.ts";
import type { Process } from "../../specs/config.ts";
import { badOption, checkVariable, pathText } from "../config/units.ts";
import type { SandboxOutputKind, SandboxSpawnOptions } from "./options.ts";

/** What becomes of its three streams. @throws {RuncError} `usage` */
export function stdioKinds(
  { stdin = "null", stdout = "inherit", stderr = "inherit" }: SandboxSpawnOptions,
): { stdin: "piped" | "null"; stdout: SandboxOutputKind; stderr: SandboxOutputKind } {
  if (stdin !== "piped" && stdin !== "null") throw badOption("stdin", stdin, '"piped" or "null"');
  for (const [name, kind] of Object.entries({ stdout, stderr })) {
    if (kind === "piped" || kind === "inherit" || kind === "null") continue;
    throw badOption(name, kind, '"piped", "inherit" or "null"');
  }
  return { stdin, stdout, stderr };
}

/** The process. `process`: the sandbox's. @throws {RuncError} `usage` */
export function spawnedProcess(process: Process, command: string | URL, options: SandboxSpawnOptions): Process {
  const { args = [], env = {}, clearEnv = false } = options;
  const [program, cwd] = [pathText(command), pathText(options.cwd ?? process.cwd)];
  for (const text of [program, ...args, cwd]) {
    if (text.includes("\0")) throw badOption("args", text, "a text without NUL bytes");
  }
  if (!cwd.startsWith("/")) throw badOption("cwd", cwd, "an absolute path in the sandbox");
  for (const [name, value] of Object.entries(env)) {
    checkVariable(name, value);
  }
  const kept = clearEnv ? [] : process.env ?? [];
  const others = kept.filter((variable) => !Object.hasOwn(env, variable.slice(0, variable.indexOf("="))));
  return {
    ...process,
    args: [program, ...args],
    env: [...others, ...Object.entries(env).map(([name, value]) => `${name}=${value}`)],
    cwd,
  };
}

/** The error of a process that could not be started, with the option that it is about. `cwd`: the process's. */
export function spawnError(error: unknown, cwd: string): unknown {
  if (!(error instanceof RuncError)) return error;
  const { errno, errnoName, field } = error;
  const said = (message: string) => new RuncError("command-failed", message, { ...error, cause: error });
  if (errnoName === "EAGAIN") return said("the sandbox has as many processes as its option pids allows");
  if (field !== "/process/cwd" || errno === undefined) return error;
  return said(`cwd: the sandbox cannot enter ${JSON.stringify(cwd)}: ${errnoText(errno)}`);
}

/** The error of a sandbox that could not be made, with the option that it is about. */
export function creationError(error: unknown): unknown {
  if (!(error instanceof RuncError) || error.errnoName !== "EROFS" || !error.field?.startsWith("/mounts/")) {
    return error;
  }
  return new RuncError(error.code, `mounts: ${error.message}`, {
    ...error,
    cause: error,
    hint: "where the root is read-only, the target of a mount has to exist",
  });
}
