/**
 * `deno task compile`: makes dist/runc-compiled, one binary with Deno in it.
 *
 * @module
 */

import { ensureDirSync, existsSync } from "@std/fs";
import { join } from "@std/path";
import { bundle, distDir, giveUp, type Outcome, reason, runTool } from "./bundle.ts";

/** The part of Deno that such a binary starts with, as Deno's releases call it. */
const runtime = `denort of Deno ${Deno.version.deno} for ${Deno.build.arch}-unknown-linux-gnu`;

function compile(): void {
  // Deno takes the runtime from the file named here, and fetches it where there is none.
  const named = Deno.env.get("DENORT_BIN");
  if (named !== undefined && !existsSync(named)) giveUp(`DENORT_BIN names ${named}, which is not there`);
  const output = join(distDir, "runc-compiled");
  const { success, stderr } = compileInto(output);
  if (!success) giveUp(explain(stderr));
  if (!runTool(output, ["--version"]).stdout.startsWith("runc version")) {
    Deno.removeSync(output);
    giveUp(`what deno compile made does not run: is ${named ?? "what it fetched"} the ${runtime}?`);
  }
  console.log("dist/runc-compiled: needs no Deno beside it");
}

/** The scripts are made aside: those in dist/ are dist/runc's. */
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
    : `deno compile lacks ${runtime}: ${missing} could not be fetched; unpack it by hand and name the file in DENORT_BIN`;
}

if (import.meta.main) compile();
