/**
 * `deno run --allow-all tools/test_lanes.ts DIRECTORY...`: runs the test files below directories, some at the same time, each
 * in a process of its own. Prints what a file's tests have printed when they have ended.
 *
 * @module
 */

import { walkSync } from "@std/fs";
import { relative } from "@std/path";
import { giveUp, projectDir } from "./bundle.ts";
import { inLanes, ordered } from "./lanes.ts";

/** Runs a file's tests. Whoever runs this has checked the types of all files. */
async function runFile(file: string): Promise<boolean> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["test", "--allow-all", "--no-check", file],
    cwd: projectDir,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).output();
  console.log(`$ deno test ${file}`);
  for (const output of [stdout, stderr]) Deno.stdout.writeSync(output);
  return success;
}

async function main(directories: readonly string[]): Promise<void> {
  const files = directories.flatMap((directory) => [...walkSync(`${projectDir}/${directory}`, { includeDirs: false })])
    .map(({ path }) => relative(projectDir, path)).filter((path) => path.endsWith("_test.ts"));
  const { together, alone } = ordered(files);
  const failed = [
    ...await inLanes(together, navigator.hardwareConcurrency, runFile),
    ...await inLanes(alone, 1, runFile),
  ];
  if (failed.length > 0) giveUp(`failed: ${failed.join(", ")}`);
}

if (import.meta.main) await main(Deno.args);
