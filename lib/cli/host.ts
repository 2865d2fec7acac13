/**
 * What the program needs from its process. main.ts and a resumed snapshot provide it.
 *
 * @module
 */

import type { Kernel } from "../ffi/kernel.ts";
import { fexecve } from "../ffi/process/process.ts";
import { StandardStream } from "../ffi/stdio.ts";
import type { Runtime } from "../libcontainer/runtime.ts";
import type { Environment } from "./parse.ts";

/**
 * - `snapshot`: a resumed snapshot of the started program.
 * - `launcher`: the bundle, run by the launcher and Deno.
 * - `compiled`: a binary that contains Deno.
 * - `source`: main.ts.
 */
export type ProgramKind = "snapshot" | "launcher" | "compiled" | "source";

/** Everything that the program accesses of its process. */
export interface Host {
  readonly kernel: Kernel;
  readonly programKind: () => ProgramKind;
  readonly environment: Environment;
  /** The system's directory for data that lasts until reboot. */
  readonly runDirectory: string;
  /** The caller's soft limit of open files, if this process has raised it. */
  readonly softFileLimit?: number;
  /** How to start this program again. */
  readonly reexec: () => Runtime["reexec"];
  /** Replaces this process by another program. */
  readonly replace: typeof fexecve;
  readonly stdin: StandardStream;
  readonly stdout: StandardStream;
  readonly stderr: StandardStream;
}

/** The host of this process. */
export function hostOf(
  kernel: Kernel,
  { reexec, programKind }: Pick<Host, "reexec" | "programKind">,
): Host {
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

/** The kind of program that Deno is running. */
export function denoProgramKind(): ProgramKind {
  if (Deno.build.standalone) return "compiled";
  return Deno.mainModule.endsWith(".ts") ? "source" : "launcher";
}

/** How to start Deno again with the current script: a compiled binary alone, a script with the Deno that runs it. */
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
  // The bundle needs no import map. From source, deno.json next to main.ts has it.
  if (!script.endsWith(".ts")) flags.push("--no-config", "--no-npm", "--no-remote", "--no-check");
  return { path, args: [...flags, script] };
}
