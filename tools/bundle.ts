/**
 * Makes JavaScript of main.ts and all it imports: what the launcher and the compiled program run. One file has what every start needs;
 * what single commands and rare parts of a config need is loaded from others when it is asked for.
 *
 * @module
 */

import { ensureDirSync } from "@std/fs";
import { basename, dirname, join, resolve } from "@std/path";
import { merge } from "./merge.ts";

/** The project's directory. */
export const projectDir: string = resolve(import.meta.dirname ?? ".", "..");
/** Where everything that is built goes. */
export const distDir: string = join(projectDir, "dist");

/** What stands in the source in the place of the commit, see lib/cli/commands/version.ts. */
const COMMIT_MARK = "@RUNC_COMMIT@";

/** What `run` loads. Start-up grows with it: 1 ms for 90 KB, 2 ms for 160 KB, 20 ms for 650 KB. A file more costs 0.07 ms. */
const SIZE_LIMIT_BYTES = 270_000;

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

/**
 * Writes runc.js and the files that it imports beside it into `directory`; returns its path. Scripts that were there are gone.
 *
 * `lazy`: what is loaded on demand is not even looked at before. Deno otherwise reads every file that a constant names, wherever its
 * `import()` stands: 0.1 ms a file. `deno compile` has to see them, to take them along.
 */
export function bundle({ lazy, directory = distDir }: { lazy: boolean; directory?: string }): string {
  ensureDirSync(directory);
  for (const path of bundled(directory)) Deno.removeSync(path);
  runBundler(["--code-splitting", "--outdir", directory, join(projectDir, "main.ts")]);
  const entry = join(directory, "runc.js");
  // No other file imports it.
  Deno.renameSync(join(directory, "main.js"), entry);
  embedCommit(directory);
  mergeFiles(entry);
  for (const path of bundled(directory)) check(Deno.readTextFileSync(path));
  const size = sizeOf(loadedBy(entry, ["run", "creation"]));
  console.log(`${entry}: run loads ${size} bytes`);
  if (size > SIZE_LIMIT_BYTES) console.error(`warning: more than ${SIZE_LIMIT_BYTES} bytes: starts get slow`);
  if (lazy) { for (const path of bundled(directory)) hideImports(path); }
  return entry;
}

/**
 * Writes the program that is frozen, tools/snapshot/entry.ts and all that it imports at any time, as one file into `directory`; returns its path.
 */
export function bundleFrozen(directory: string): string {
  runBundler(["--outdir", directory, join(projectDir, "tools/snapshot/entry.ts")]);
  embedCommit(directory);
  const path = join(directory, "entry.js");
  const script = Deno.readTextFileSync(path);
  check(script);
  const remembered = /Deno\.(?:pid|ppid|osRelease|exit|stdin|stdout|stderr)\b|performance\.now|setTimeout|crypto\./
    .exec(
      script,
    );
  if (remembered !== null) {
    giveUp(`the frozen program has ${remembered[0]}, which is of the process that it was frozen in`);
  }
  return path;
}

function runBundler(args: readonly string[]): void {
  const { success, stderr } = runTool(Deno.execPath(), ["bundle", "--quiet", "--minify", "--platform=deno", ...args]);
  if (!success) giveUp(`deno bundle failed (it needs esbuild, which it fetches from npm once): ${reason(stderr)}`);
}

/** One file of what all of these commands need, one of what `run` and `exec` share, one of what is `run`'s and `create`'s. */
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

/** The JavaScript files of the last build, or of a copy of it. */
export function bundled(directory: string = distDir): readonly string[] {
  return [...Deno.readDirSync(directory)].filter(({ name }) => name.endsWith(".js")).map(({ name }) =>
    join(directory, name)
  );
}

/** The files that the entry loads when `modules` are asked for, one by the other: those that each imports by name are with it. */
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
    if (own === undefined) giveUp(`${module} is not loaded by itself: did an import() of it change?`);
    load(own);
  }
  return loaded;
}

function sizeOf(paths: Iterable<string>): number {
  return [...paths].reduce((sum, path) => sum + Deno.statSync(path).size, 0);
}

function embedCommit(directory: string): void {
  const path = bundled(directory).find((path) => Deno.readTextFileSync(path).includes(COMMIT_MARK));
  if (path === undefined) giveUp(`${COMMIT_MARK} is not in the bundle: did lib/cli/commands/version.ts change?`);
  const commit = currentCommit();
  if (commit !== undefined) Deno.writeTextFileSync(path, Deno.readTextFileSync(path).replace(COMMIT_MARK, commit));
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
}

/** The line of an error output that says most: the first that calls itself an error, else the last. */
export function reason(stderr: string): string {
  const lines = stderr.split("\n").map((line) => line.trim()).filter((line) => line !== "");
  const error = lines.find((line) => /^(error|E):/.test(line)) ?? lines.at(-1) ?? "it said nothing";
  return error.replace(/^(error|E): */, "");
}
