/**
 * `deno task compile`: makes dist/runc-compiled, one binary with Deno in it.
 *
 * @module
 */

import { existsSync } from "@std/fs";
import { join } from "@std/path";
import { bundle, distDir, giveUp, reason, runTool } from "./bundle.ts";

/** The part of Deno that such a binary starts with, as Deno's releases call it. */
const runtime = `denort of Deno ${Deno.version.deno} for ${Deno.build.arch}-unknown-linux-gnu`;

function compile(): void {
  // Deno takes the runtime from the file named here, and fetches it where there is none.
  const named = Deno.env.get("DENORT_BIN");
  if (named !== undefined && !existsSync(named)) giveUp(`DENORT_BIN names ${named}, which is not there`);
  const output = join(distDir, "runc-compiled");
  const flags = ["--quiet", "--allow-all", "--no-config", "--no-lock", "--no-check", "--output", output];
  const { success, stderr } = runTool(Deno.execPath(), ["compile", ...flags, bundle({ lazy: false })]);
  if (!success) giveUp(explain(stderr));
  if (!runTool(output, ["--version"]).stdout.startsWith("runc version")) {
    Deno.removeSync(output);
    giveUp(`what deno compile made does not run: is ${named ?? "what it fetched"} the ${runtime}?`);
  }
  console.log("dist/runc-compiled: needs no Deno beside it");
}

function explain(stderr: string): string {
  const missing = /https:\/\/dl\.deno\.land\/\S*denort\S*\.zip/.exec(stderr)?.[0];
  return missing === undefined
    ? `deno compile failed: ${reason(stderr)}`
    : `deno compile lacks ${runtime}: ${missing} could not be fetched; unpack it by hand and name the file in DENORT_BIN`;
}

if (import.meta.main) compile();
