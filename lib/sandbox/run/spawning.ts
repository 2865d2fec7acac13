/**
 * A further process of a sandbox, from the options of `spawn`. Pure.
 *
 * @module
 */

import type { Process } from "../../specs/config.ts";
import { badOption, checkVariable } from "../config/units.ts";
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
export function spawnedProcess(process: Process, program: string, options: SandboxSpawnOptions): Process {
  const { args = [], env = {}, clearEnv = false, cwd = process.cwd } = options;
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
