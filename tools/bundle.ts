/**
 * Bundles main.ts and everything that it imports into JavaScript, for the launcher and the compiled program. One file
 * has what every start needs. Code for single commands and rare parts of a config is in other files, which are loaded
 * on demand.
 *
 * @module
 */

import { ensureDirSync } from "@std/fs";
import { basename, dirname, join, resolve } from "@std/path";
import { merge } from "./merge.ts";

/** The project's directory. */
export const projectDir: string = resolve(import.meta.dirname ?? ".", "..");
/** The output directory of all builds. */
export const distDir: string = join(projectDir, "dist");

/** The placeholder of the commit in the source; see lib/cli/version.ts. */
const COMMIT_MARK = "@RUNC_COMMIT@";

/**
 * The maximum size of the code that `run` loads. Start-up time grows with it: 1 ms for 90 KB, 2 ms for 160 KB, 20 ms
 * for 650 KB. Each additional file costs 0.07 ms.
 */
const SIZE_LIMIT_BYTES = 270_000;

/** Ends the tool with one line that gives the reason. */
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

/**
 * Writes runc.js and the files that it imports into `directory`, after removing old scripts. Returns its path.
 *
 * `lazy`: hides files that are loaded on demand from Deno until then. Otherwise Deno reads every file that an
 * `import()` with a constant names: 0.1 ms per file. `deno compile` must see them to include them.
 */
export function bundle({ lazy, directory = distDir }: { lazy: boolean; directory?: string }): string {
  ensureDirSync(directory);
  for (const path of bundled(directory)) Deno.removeSync(path);
  runBundler(["--code-splitting", "--outdir", directory, join(projectDir, "main.ts")]);
  const entry = join(directory, "runc.js");
  // No other file imports main.js.
  Deno.renameSync(join(directory, "main.js"), entry);
  embedCommit(directory);
  mergeFiles(entry);
  for (const path of bundled(directory)) check(Deno.readTextFileSync(path));
  const size = sizeOf(loadedBy(entry, ["run", "creation"]));
  console.log(`${entry}: run loads ${size} bytes`);
  if (size > SIZE_LIMIT_BYTES) console.error(`warning: more than ${SIZE_LIMIT_BYTES} bytes slows down every start`);
  if (lazy) { for (const path of bundled(directory)) hideImports(path); }
  return entry;
}

/**
 * Bundles the program for the snapshot, lib/cli/frozen.ts with all of its imports, into one file in `directory`.
 * Returns its path.
 */
export function bundleFrozen(directory: string): string {
  runBundler(["--outdir", directory, join(projectDir, "lib/cli/frozen.ts")]);
  embedCommit(directory);
  const path = join(directory, "frozen.js");
  const script = Deno.readTextFileSync(path);
  check(script);
  const remembered = /Deno\.(?:pid|ppid|osRelease|exit|stdin|stdout|stderr)\b|performance\.now|setTimeout|crypto\./
    .exec(
      script,
    );
  if (remembered !== null) {
    giveUp(`the program uses ${remembered[0]}, which in a resumed snapshot belongs to the build's process`);
  }
  return path;
}

function runBundler(args: readonly string[]): void {
  const { success, stderr } = runTool(Deno.execPath(), ["bundle", "--quiet", "--minify", "--platform=deno", ...args]);
  if (!success) giveUp(`deno bundle failed (it needs esbuild, which it fetches from npm once): ${reason(stderr)}`);
}

/**
 * Merges files: one with the code that all of these commands need, one that `run` and `exec` share, and one that `run`
 * and `create` share.
 */
function mergeFiles(entry: string): void {
  const name = (path: string) => basename(path);
  const needed = (...modules: readonly string[]) => {
    const [, ...paths] = [...loadedBy(entry, modules)].map(name);
    return paths;
  };
  const base = needed("state");
  const exec = needed("exec", "exec_process");
  const run = needed("run", "create", "creation").filter((file) => !base.includes(file));
  const shared = run.filter((file) => exec.includes(file));
  const directory = dirname(entry);
  const files = new Map(bundled(directory).map((path) => [name(path), Deno.readTextFileSync(path)]));
  const merged = merge(files, [
    ["base.js", base],
    ["process.js", shared],
    ["launch.js", run.filter((file) => !shared.includes(file))],
  ], (file) => !file.startsWith("chunk-"));
  for (const path of bundled(directory)) Deno.removeSync(path);
  for (const [file, script] of merged) Deno.writeTextFileSync(join(directory, file), script);
}

function hideImports(path: string): void {
  const script = Deno.readTextFileSync(path);
  Deno.writeTextFileSync(path, script.replaceAll(/\bimport\(("[^"]*")\)/g, "import(String($1))"));
}

/** The JavaScript files of the last build or of a copy of it. */
export function bundled(directory: string = distDir): readonly string[] {
  return [...Deno.readDirSync(directory)].filter(({ name }) => name.endsWith(".js")).map(({ name }) =>
    join(directory, name)
  );
}

/** The files that are loaded for the entry and for `modules`, in that order, including the static imports of each. */
function loadedBy(entry: string, modules: readonly string[]): ReadonlySet<string> {
  const loaded = new Set<string>();
  const load = (path: string) => {
    if (loaded.has(path)) return;
    loaded.add(path);
    for (const [, name = ""] of Deno.readTextFileSync(path).matchAll(/(?:from|import)"\.\/([^"]+)"/g)) {
      load(join(dirname(entry), name));
    }
  };
  load(entry);
  for (const module of modules) {
    const own = bundled(dirname(entry)).find((path) => new RegExp(`/${module}-[^/]*$`).test(path));
    if (own === undefined) giveUp(`${module} is not a separate file: did its import() change?`);
    load(own);
  }
  return loaded;
}

function sizeOf(paths: Iterable<string>): number {
  return [...paths].reduce((sum, path) => sum + Deno.statSync(path).size, 0);
}

function embedCommit(directory: string): void {
  const path = bundled(directory).find((path) => Deno.readTextFileSync(path).includes(COMMIT_MARK));
  if (path === undefined) giveUp(`${COMMIT_MARK} is not in the bundle: did lib/cli/version.ts change?`);
  const commit = currentCommit();
  if (commit !== undefined) Deno.writeTextFileSync(path, Deno.readTextFileSync(path).replace(COMMIT_MARK, commit));
}

/** The commit as in `v1.0.0-3-gabcdef-dirty`: the hash, and whether files differ from it. Undefined without git. */
function currentCommit(): string | undefined {
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
