/**
 * `deno task test [--fast]`: everything that has to hold, from the form of the source to containers that run. `--fast` leaves out the
 * build and what needs root. One failure does not hide the next.
 *
 * @module
 */

import { giveUp, projectDir } from "./bundle.ts";
import { ensureInstalled, testRequirements } from "./packages.ts";
import { allParts, fastParts, runParts } from "./test_parts.ts";

function test(args: readonly string[]): void {
  const isFast = args.includes("--fast");
  const unknown = args.find((arg) => arg !== "--fast");
  if (unknown !== undefined) giveUp(`unknown argument ${JSON.stringify(unknown)}; usage: deno task test [--fast]`);
  if (!isFast) prepareIntegration();
  const failed = runParts(isFast ? fastParts : allParts, {
    run,
    nowMs: () => performance.now(),
    print: (line) => console.log(line),
  });
  if (failed.length > 0) giveUp(`failed: ${failed.join("; ")}`);
}

function run(args: readonly string[]): boolean {
  return new Deno.Command(Deno.execPath(), {
    args: [...args],
    cwd: projectDir,
    env: { DENO_NO_PROMPT: "1" },
    stdin: "null",
    stdout: "inherit",
    stderr: "inherit",
  }).outputSync().success;
}

/** Ends the tool before anything runs where tests/integration cannot be run. */
function prepareIntegration(): void {
  if (Deno.uid() !== 0) {
    giveUp(
      "tests/integration and what follows start containers: run this as root, or with sudo; --fast runs the parts that need no root",
    );
  }
  ensureInstalled(testRequirements());
}

if (import.meta.main) test(Deno.args);
