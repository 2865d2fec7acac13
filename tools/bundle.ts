/**
 * Makes one JavaScript file of main.ts and all it imports: what the launcher and the compiled program run.
 *
 * @module
 */

import { ensureDirSync } from "@std/fs";
import { join, resolve } from "@std/path";

/** The project's directory. */
export const projectDir: string = resolve(import.meta.dirname ?? ".", "..");
/** Where everything that is built goes. */
export const distDir: string = join(projectDir, "dist");

/** What stands in the source in the place of the commit, see lib/cli/version.ts. */
const COMMIT_MARK = "@RUNC_COMMIT@";

/** Start-up grows with the script: 1 ms for 90 KB, 2 ms for 160 KB, 20 ms for 650 KB. */
const SIZE_LIMIT_BYTES = 160_000;

/** Ends the tool with one line that says why. */
export function giveUp(why: string): never {
  console.error(`error: ${why}`);
  Deno.exit(1);
}

/** What came of a program: everything it printed, and whether it succeeded. */
export interface Outcome {
  readonly success: boolean;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program in the project's directory, in our environment and what `environment` adds. One that cannot be started has not succeeded. */
export function runTool(program: string, args: readonly string[], environment: Record<string, string> = {}): Outcome {
  try {
    const env = { NO_COLOR: "1", ...environment };
    const { success, stdout, stderr } = new Deno.Command(program, { args: [...args], cwd: projectDir, env })
      .outputSync();
    const decoder = new TextDecoder();
    return { success, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return { success: false, stdout: "", stderr: `${program} is not installed` };
  }
}

/** Writes dist/runc.js and returns its path. */
export function bundle(): string {
  ensureDirSync(distDir);
  const path = join(distDir, "runc.js");
  const args = ["bundle", "--quiet", "--minify", "--platform=deno", "--output", path, join(projectDir, "main.ts")];
  const { success, stderr } = runTool(Deno.execPath(), args);
  if (!success) giveUp(`deno bundle failed (it needs esbuild, which it fetches from npm once): ${reason(stderr)}`);
  const script = embedCommit(Deno.readTextFileSync(path));
  check(script);
  Deno.writeTextFileSync(path, script);
  console.log(`dist/runc.js: ${new TextEncoder().encode(script).length} bytes`);
  return path;
}

function embedCommit(script: string): string {
  if (!script.includes(COMMIT_MARK)) giveUp(`${COMMIT_MARK} is not in the bundle: did lib/cli/version.ts change?`);
  const commit = currentCommit();
  return commit === undefined ? script : script.replace(COMMIT_MARK, commit);
}

/** As `v1.0.0-3-gabcdef-dirty` means it: the hash, and whether files differ from it. Undefined without git. */
function currentCommit(): string | undefined {
  const head = runTool("git", ["rev-parse", "HEAD"]);
  if (!head.success) return undefined;
  const changes = runTool("git", ["status", "--porcelain", "--untracked-files=no"]).stdout;
  return head.stdout.trim() + (changes === "" ? "" : "-dirty");
}

/** What would make every start slow. */
function check(script: string): void {
  const nodeImport = /(?:from|import)\s*\(?\s*["']node:[^"']*["']/.exec(script);
  if (nodeImport !== null) giveUp(`the bundle has ${nodeImport[0]}: a node: import costs 15 to 50 ms at every start`);
  const notAscii = /.{0,20}[^\0-\x7f]/.exec(script);
  // deno_core hands a script of ASCII to V8 as it is; any other one is decoded, copied, and takes two bytes a character.
  if (notAscii !== null) giveUp(`the bundle has a letter that is not ASCII: ${notAscii[0]}: escape it, it costs 1 ms`);
  if (script.length > SIZE_LIMIT_BYTES) console.error(`warning: more than ${SIZE_LIMIT_BYTES} bytes: starts get slow`);
}

/** The line of an error output that says most: the first that calls itself an error, else the last. */
export function reason(stderr: string): string {
  const lines = stderr.split("\n").map((line) => line.trim()).filter((line) => line !== "");
  const error = lines.find((line) => /^(error|E):/.test(line)) ?? lines.at(-1) ?? "it said nothing";
  return error.replace(/^(error|E): */, "");
}
