/**
 * Bundles main.ts and all its imports into one JavaScript file, which the launcher and the compiled program run.
 *
 * @module
 */

import { ensureDirSync, existsSync } from "@std/fs";
import { basename, join, resolve } from "@std/path";
import packages from "../package.json" with { type: "json" };

/** The project's directory. */
export const projectDir: string = resolve(import.meta.dirname ?? ".", "..");
/** The output directory of all builds. */
export const distDir: string = join(projectDir, "dist");

/** The placeholder for the commit in the source, see lib/cli/commands/version.ts. */
const COMMIT_MARK = "@RUNC_COMMIT@";

/** Ends the tool with an error message of one line. */
export function giveUp(why: string): never {
  console.error(`error: ${why}`);
  Deno.exit(1);
}

/** The result of a program: its whole output, and whether it succeeded. */
export interface Outcome {
  readonly success: boolean;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs a program in the project's directory, with our environment plus `environment`. A program that cannot be started
 * counts as failed.
 */
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

/** Bundles main.ts and all its imports into runc.js in `directory`. Returns its path. */
export function bundle(directory: string = distDir): string {
  ensureDirSync(directory);
  const made = bundleOf("main.ts", directory);
  const entry = join(directory, "runc.js");
  Deno.renameSync(made, entry);
  return entry;
}

/** Bundles the snapshot's program, tools/snapshot/entry.ts and all its imports, into `directory`. Returns its path. */
export function bundleSnapshot(directory: string): string {
  const path = bundleOf("tools/snapshot/entry.ts", directory);
  const remembered = /Deno\.(?:pid|ppid|osRelease|exit|stdin|stdout|stderr)\b|performance\.now|setTimeout|crypto\./
    .exec(Deno.readTextFileSync(path));
  if (remembered !== null) {
    giveUp(`the snapshot's program has ${remembered[0]}, which is of the process that it is taken in`);
  }
  return path;
}

/** Bundles a tool, a path in the project, for a machine that has not the source. Returns its path. */
export function bundleTool(source: string, directory: string): string {
  const path = bundleRaw(source, directory);
  // Each of the bundled files would be the main one.
  Deno.writeTextFileSync(path, Deno.readTextFileSync(path).replaceAll("import.meta.main", "false"));
  return path;
}

/** Bundles `source`, a path in the project, and all its imports into `NAME.js` in `directory`. Returns its path. */
function bundleRaw(source: string, directory: string): string {
  runBundler(["--outdir", directory, join(projectDir, source)]);
  const path = join(directory, basename(source).replace(/\.ts$/, ".js"));
  minify(path);
  embedCommit(path);
  return path;
}

/** Like {@link bundleRaw}, for a script that each command starts. */
function bundleOf(source: string, directory: string): string {
  const path = bundleRaw(source, directory);
  check(Deno.readTextFileSync(path));
  makeWhole(path);
  return path;
}

/**
 * Makes the script a single statement: a part of it is a syntax error then, and does not succeed after doing nothing.
 */
function makeWhole(path: string): void {
  Deno.writeTextFileSync(path, `{${Deno.readTextFileSync(path).trimEnd()}\n}\n`);
}

function runBundler(args: readonly string[]): void {
  const bundler = pinnedBundler();
  const environment: Record<string, string> = bundler === undefined ? {} : { DENO_DIR: bundler };
  const flags = ["bundle", "--quiet", "--platform=deno", ...args];
  const { success, stderr } = runTool(Deno.execPath(), flags, environment);
  if (!success) giveUp(`deno bundle failed (it needs esbuild, which it fetches from npm once): ${reason(stderr)}`);
  if (bundler === undefined) return;
  const other = [...Deno.readDirSync(join(bundler, "dl"))].find(({ name }) => name !== bundlerName());
  if (other !== undefined) giveUp(`deno bundle has used ${other.name}: pin this version in package.json`);
}

/**
 * Makes a script smaller: names and blanks only. esbuild before 0.28.1 also simplifies `using x = f(); g(x);` to
 * `g(f());`, which never disposes of `x`; so `deno bundle --minify` does not do.
 * https://github.com/evanw/esbuild/issues/4482
 */
export function minify(path: string): void {
  const before = usingsIn(path);
  const how = ["--minify-whitespace", "--minify-identifiers", "--format=esm", "--tree-shaking=true"];
  const { success, stderr } = runTool(bundlerFile(), [
    path,
    ...how,
    "--log-level=error",
    "--allow-overwrite",
    `--outfile=${path}`,
  ]);
  if (!success) giveUp(`esbuild failed: ${reason(stderr)}`);
  const after = usingsIn(path);
  if (after !== before) giveUp(`esbuild has removed ${before - after} of ${before} declarations with "using"`);
}

const usingsIn = (path: string) => [...Deno.readTextFileSync(path).matchAll(/\busing [\w$]+ ?=/g)].length;

/** The program esbuild: npm's, otherwise the one that Deno has just used. */
function bundlerFile(): string {
  const installed = installedBundler();
  if (existsSync(installed)) return installed;
  const { denoDir } = JSON.parse(runTool(Deno.execPath(), ["info", "--json"]).stdout);
  const found = join(denoDir, "dl", bundlerName(), `esbuild-${bundlerTarget}`);
  return existsSync(found)
    ? found
    : giveUp(`Deno has used another esbuild than ${found}: pin its version in package.json`);
}

const bundlerTarget = `linux-${Deno.build.arch === "aarch64" ? "arm64" : "x64"}`;
const installedBundler = () => join(projectDir, `node_modules/@esbuild/${bundlerTarget}/bin/esbuild`);

/** The name that Deno gives the directory of the esbuild of this version. */
const bundlerName = () => `esbuild-${packages.optionalDependencies["@esbuild/linux-x64"]}-1`;

/**
 * A directory of Deno's with the esbuild that package-lock.json pins, so that `deno bundle` fetches none. Undefined if
 * npm has not installed that esbuild, or if this user may not write there: Deno then uses its usual directory.
 */
function pinnedBundler(): string | undefined {
  const installed = installedBundler();
  const directory = join(projectDir, "node_modules/.cache/bundler"), place = join(directory, "dl", bundlerName());
  if (!existsSync(installed) || !mayMake(place)) return undefined;
  // Under another name first: another build may be running.
  const temporary = Deno.makeTempFileSync({ dir: directory });
  Deno.copyFileSync(installed, temporary);
  Deno.chmodSync(temporary, 0o755);
  Deno.renameSync(temporary, join(place, `esbuild-${bundlerTarget}`));
  return directory;
}

/** Makes a directory. Returns whether this user may, and may write to it. */
function mayMake(directory: string): boolean {
  try {
    ensureDirSync(directory);
    Deno.removeSync(Deno.makeTempFileSync({ dir: directory }));
    return true;
  } catch (error) {
    // EROFS has no class of its own.
    if (error instanceof Deno.errors.PermissionDenied || String(error).includes("os error 30")) return false;
    throw error;
  }
}

function embedCommit(path: string): void {
  const script = Deno.readTextFileSync(path);
  if (!script.includes(COMMIT_MARK)) {
    giveUp(`${COMMIT_MARK} is not in the bundle: did lib/cli/commands/version.ts change?`);
  }
  const commit = currentCommit();
  if (commit !== undefined) Deno.writeTextFileSync(path, script.replace(COMMIT_MARK, commit));
}

/** The hash of the commit, with `-dirty` if files differ from it. Undefined without git. */
export function currentCommit(): string | undefined {
  const head = runTool("git", ["rev-parse", "HEAD"]);
  if (!head.success) return undefined;
  const changes = runTool("git", ["status", "--porcelain", "--untracked-files=no"]).stdout;
  return head.stdout.trim() + (changes === "" ? "" : "-dirty");
}

/** Refuses code that would make every start slow. */
function check(script: string): void {
  const nodeImport = /(?:from|import)\s*\(?\s*["']node:[^"']*["']/.exec(script);
  if (nodeImport !== null) {
    giveUp(`the bundle contains ${nodeImport[0]}: a node: import adds 15 to 50 ms to every start`);
  }
  const notAscii = /.{0,20}[^\0-\x7f]/.exec(script);
  // deno_core passes an ASCII script to V8 as it is. Any other script is decoded and copied, and takes two bytes per
  // character.
  if (notAscii !== null) {
    giveUp(`the bundle contains the non-ASCII character ${notAscii[0]}, which adds 1 ms to every start: escape it`);
  }
}

/** The most informative line of an error output: the first that starts with "error:" or "E:", otherwise the last. */
export function reason(stderr: string): string {
  const lines = stderr.split("\n").map((line) => line.trim()).filter((line) => line !== "");
  const error = lines.find((line) => /^(error|E):/.test(line)) ?? lines.at(-1) ?? "no error output";
  return error.replace(/^(error|E): */, "");
}
