/**
 * `deno task test [--fast]`: runs all checks and tests, from formatting to running containers. `--fast` skips the build
 * and the tests that need root. A failure does not stop the parts after it.
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

/** Ends the tool before any part runs if tests/integration cannot run. */
function prepareIntegration(): void {
  if (Deno.uid() !== 0) {
    giveUp(
      "the tests start containers, which needs root: run this as root or with sudo, or pass --fast to skip those tests",
    );
  }
  ensureInstalled(testRequirements());
}

if (import.meta.main) test(Deno.args);
