/**
 * The process that the program runs in: what main.ts, and a frozen program when it goes on, give it.
 *
 * @module
 */

import type { Kernel } from "../ffi/kernel.ts";
import { fexecve } from "../ffi/process/process.ts";
import { StandardStream } from "../ffi/stdio.ts";
import type { Runtime } from "../libcontainer/runtime.ts";
import type { Environment } from "./parse.ts";

/**
 * What runs: memory of a started program (`snapshot`), the bundle by the launcher and Deno (`launcher`), a binary with Deno in it (`compiled`), or
 * main.ts as it is (`source`).
 */
export type ProgramKind = "snapshot" | "launcher" | "compiled" | "source";

/** Everything that the program reaches of the process around it. */
export interface Surroundings {
  readonly kernel: Kernel;
  readonly programKind: () => ProgramKind;
  readonly environment: Environment;
  /** Where the system's programs keep what lasts until it is booted again. */
  readonly runDirectory: string;
  /** The caller's soft limit of open files, where this process has raised it. */
  readonly softFileLimit?: number;
  /** How this program is started again. */
  readonly reexec: () => Runtime["reexec"];
  /** How this process becomes another program. */
  readonly replace: typeof fexecve;
  readonly stdin: StandardStream;
  readonly stdout: StandardStream;
  readonly stderr: StandardStream;
}

/** Those of this process. */
export function surroundings(
  kernel: Kernel,
  { reexec, programKind }: Pick<Surroundings, "reexec" | "programKind">,
): Surroundings {
  return {
    kernel,
    programKind,
    environment: (name) => Deno.env.get(name),
    runDirectory: "/run",
    reexec,
    replace: fexecve,
    stdin: new StandardStream(kernel, 0),
    stdout: new StandardStream(kernel, 1),
    stderr: new StandardStream(kernel, 2),
  };
}

/** What Deno runs now. */
export function denoProgramKind(): ProgramKind {
  if (Deno.build.standalone) return "compiled";
  return Deno.mainModule.endsWith(".ts") ? "source" : "launcher";
}

/** How Deno is started with the script that it runs now: a compiled binary by itself, a script by the Deno that runs it. */
export function reexecDeno(): Runtime["reexec"] {
  const path = Deno.execPath();
  if (Deno.build.standalone) return { path, args: [] };
  const script = decodeURIComponent(new URL(Deno.mainModule).pathname);
  const flags = [
    "run",
    "--quiet",
    "--allow-all",
    "--no-code-cache",
    "--no-lock",
    "--cached-only",
    "--v8-flags=--single-threaded,--no-rehash-snapshot",
  ];
  // The bundle needs no import map; from source, deno.json beside main.ts has it.
  if (!script.endsWith(".ts")) flags.push("--no-config", "--no-npm", "--no-remote", "--no-check");
  return { path, args: [...flags, script] };
}
