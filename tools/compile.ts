/**
 * `deno task compile`: builds dist/runc-compiled, one binary that contains Deno.
 *
 * @module
 */

import { ensureDirSync, existsSync } from "@std/fs";
import { join } from "@std/path";
import { bundle, distDir, giveUp, type Outcome, reason, runTool } from "./bundle.ts";

/** The runtime in such a binary, under its name in Deno's releases. */
const runtime = `denort of Deno ${Deno.version.deno} for ${Deno.build.arch}-unknown-linux-gnu`;

function compile(): void {
  // Deno uses the runtime from the file named in DENORT_BIN, and downloads it if the variable is not set.
  const named = Deno.env.get("DENORT_BIN");
  if (named !== undefined && !existsSync(named)) giveUp(`DENORT_BIN: ${named} does not exist`);
  const output = join(distDir, "runc-compiled");
  const { success, stderr } = compileInto(output);
  if (!success) giveUp(explain(stderr));
  if (!runTool(output, ["--version"]).stdout.startsWith("runc version")) {
    Deno.removeSync(output);
    giveUp(`the compiled program does not run: is ${named ?? "the downloaded runtime"} the ${runtime}?`);
  }
  console.log("built dist/runc-compiled, which contains Deno");
}

/** Bundles the scripts into a temporary directory: those in dist/ belong to dist/runc. */
function compileInto(output: string): Outcome {
  ensureDirSync(distDir);
  const directory = Deno.makeTempDirSync({ prefix: "runc-compile-" });
  try {
    const flags = ["--quiet", "--allow-all", "--no-config", "--no-lock", "--no-check", "--output", output];
    return runTool(Deno.execPath(), ["compile", ...flags, bundle(directory)]);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

function explain(stderr: string): string {
  const missing = /https:\/\/dl\.deno\.land\/\S*denort\S*\.zip/.exec(stderr)?.[0];
  return missing === undefined
    ? `deno compile failed: ${reason(stderr)}`
    : `deno compile needs ${runtime}: cannot download ${missing}; unpack it yourself and set DENORT_BIN to the file`;
}

if (import.meta.main) compile();
