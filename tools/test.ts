/**
 * `deno task test`: everything that has to hold, from the form of the source to containers that run. One failure does not
 * hide the next.
 *
 * @module
 */

import { giveUp, projectDir } from "./bundle.ts";
import { ensureInstalled, testRequirements } from "./packages.ts";

/** Arguments for Deno, in order. */
const steps: readonly (readonly string[])[] = [
  ["fmt", "--check"],
  ["lint"],
  ["check"],
  ["doc", "--lint", "mod.ts"],
  // Without a permission: Deno itself proves that what is tested there is pure.
  ["test", "tests/unit"],
  ["task", "build"],
  ["test", "--allow-all", "tests/integration"],
  ["test", "--allow-all", "tests/security"],
  // Do those notice when a protection is missing?
  ["test", "--allow-all", "tests/mutations"],
];

function test(): void {
  const failed: string[] = [];
  for (const args of steps) {
    const line = `deno ${args.join(" ")}`;
    if (args.includes("tests/integration")) prepareIntegration();
    console.log(`$ ${line}`);
    if (run(args)) continue;
    failed.push(line);
    // What comes after would test an older program.
    if (args.includes("build")) break;
  }
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

function prepareIntegration(): void {
  if (Deno.uid() !== 0) giveUp("tests/integration and what follows start containers: run this as root, or with sudo");
  ensureInstalled(testRequirements());
}

if (import.meta.main) test();
