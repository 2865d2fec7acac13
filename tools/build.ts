/**
 * `deno task build`: makes dist/runc.js and dist/runc, the launcher that callers use.
 *
 * @module
 */

import { existsSync } from "@std/fs";
import { join } from "@std/path";
import { RuncError } from "../lib/errors.ts";
import { Kernel } from "../lib/ffi/kernel.ts";
import { bundle, bundleSnapshot, distDir, giveUp, projectDir, runTool } from "./bundle.ts";
import { settleAll, writeWholeText } from "./durable.ts";
import { freezeProgram } from "./snapshot/snapshot.ts";
import { makeRehearsalBundles } from "./snapshot/rehearsal.ts";

/** What every start of the program is given; bench/startup.ts measures with the same. */
export const denoFlags: readonly string[] = [
  "--allow-all",
  "--quiet",
  "--no-config",
  "--no-lock",
  "--no-npm",
  "--no-remote",
  "--no-check",
  "--cached-only",
];

const v8Flags: readonly string[] = [
  "--single-threaded",
  "--no-rehash-snapshot",
  // The program has ended before optimising anything pays off.
  "--max-opt=0",
  // Megabytes: room for all that a command allocates, instead of three collections of 1 ms each.
  "--min-semi-space-size=8",
];

/** Without a code cache: V8 compiles each function when it is first called. */
export const coldFlags: readonly string[] = ["--no-code-cache", `--v8-flags=${v8Flags.join(",")}`];

/**
 * With the code cache that the build fills. The flags are part of its key, so that it is filled and used with the same ones.
 * `--no-lazy` compiles all functions, so that all are in the cache: Deno saves it before any function has been called.
 *
 * Measured for `run true`, CPU time: 63 ms without the cache, 58 with one of what V8 compiles of its own accord, 44 so.
 */
export const warmFlags: readonly string[] = [`--v8-flags=${[...v8Flags, "--no-lazy"].join(",")}`];

/** The Deno that the launcher runs: the one that npm brought, else the one that runs this. */
export function findDeno(): string {
  const arch = Deno.build.arch === "aarch64" ? "arm64" : "x64";
  const fromNpm = join(projectDir, `node_modules/@deno/linux-${arch}-glibc/deno`);
  return existsSync(fromNpm) ? fromNpm : Deno.realPathSync(Deno.execPath());
}

/** `text` as one word of a shell script. */
function shellQuote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** The script that runs the runc.js in `directory`, where it lies itself. */
export function launcher(deno: string, directory: string = distDir): string {
  const built = shellQuote(directory);
  return `#!/bin/sh
# Runs runc.js, which lies beside this file, with Deno. Made by tools/build.ts.
deno=${shellQuote(deno)}
case $0 in
  */*) self=$0 ;;
  *) self=./$0 ;;
esac
# Asking readlink costs a millisecond, so the usual answer is tried first.
if [ -L "$self" ]; then
  if [ ${built}/runc -ef "$self" ]; then self=${built}/runc
  else self=$(readlink -f -- "$self")
  fi
fi
if ! [ -x "$deno" ]; then
  echo "runc: Deno is no longer at $deno; run 'deno task build' again" >&2
  exit 1
fi
script="\${self%/*}/runc.js"
# Deno runs an empty script, and succeeds.
if ! [ -s "$script" ]; then
  echo "runc: $script is missing or empty; run 'deno task build' or 'deno task install' again" >&2
  exit 1
fi
# V8 reserves addresses, more than it will ever use, and dies where it may not.
addresses=$(ulimit -v) data=$(ulimit -d)
if [ "$addresses" != unlimited ] && [ "$addresses" -lt 20000000 ]; then
  echo "runc: the caller's limit of addresses (RLIMIT_AS, ulimit -v) of $addresses KiB is too small: cannot allocate memory" >&2
  exit 1
fi
if [ "$data" != unlimited ] && [ "$data" -lt 1000000 ]; then
  echo "runc: the caller's limit of data (RLIMIT_DATA, ulimit -d) of $data KiB is too small: cannot allocate memory" >&2
  exit 1
fi
# Deno raises the limit of open files for itself; containers are to have the caller's.
RUNC_NOFILE_SOFT=$(ulimit -Sn)
export RUNC_NOFILE_SOFT
# The code cache knows runc.js by its path, and is of use to those only who may write to it: it is a database.
if [ "\${self%/*}" -ef ${built} ] && [ -w ${built}/cache ]; then
  export RUNC_DENO_DIR="$DENO_DIR" DENO_DIR=${built}/cache
  exec "$deno" run ${denoFlags.join(" ")} ${warmFlags.join(" ")} ${built}/runc.js "$@"
fi
exec "$deno" run ${denoFlags.join(" ")} ${coldFlags.join(" ")} "$script" "$@"
`;
}

/** What is used of Node's `DatabaseSync`. */
interface Database {
  exec(sql: string): void;
  close(): void;
}

/** Fills the code cache of the runc.js in `directory`. Deno saves it at the natural end of a program only, and runc.js ends by Deno.exit; imported, it does nothing. */
export async function fillCache(deno: string, directory: string = distDir): Promise<void> {
  const cache = join(directory, "cache");
  if (existsSync(cache)) Deno.removeSync(cache, { recursive: true });
  Deno.mkdirSync(cache);
  const importer = join(cache, "fill.js");
  Deno.writeTextFileSync(importer, `import ${JSON.stringify(join(directory, "runc.js"))};\n`);
  const { success, stderr } = runTool(deno, ["run", ...denoFlags, ...warmFlags, importer], { DENO_DIR: cache });
  if (!success) giveUp(`the code cache could not be filled: ${stderr.trim()}`);
  for (const { name } of Deno.readDirSync(cache)) if (name.endsWith("_cache_v2")) await settle(join(cache, name));
}

/**
 * Moves what is still in the database's log to its place. Deno leaves the log as it is, and SQLite would read and check all of it at each
 * start, for nobody else has the database open: 1.5 ms. https://sqlite.org/wal.html#recovery
 */
async function settle(path: string): Promise<void> {
  // By a name that the type checker does not follow: it would want the types of Node's modules from npm.
  const sqlite: string = "node:sqlite";
  const { DatabaseSync } = await import(sqlite) as { DatabaseSync: new (path: string) => Database };
  const database = new DatabaseSync(path);
  database.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  database.close();
}

/** What a program is frozen with: V8 keeps all that it has compiled, and lets its garbage be collected before. */
const frozenFlags: readonly string[] = [
  "--no-code-cache",
  `--v8-flags=${[...v8Flags, "--no-lazy", "--no-flush-bytecode", "--expose-gc"].join(",")}`,
];

/**
 * How often the program rehearses before it is frozen: from the second time on V8 remembers what it has seen. More make it remember more than is
 * worth the memory.
 */
const REHEARSALS = 2;

/** Freezes the program into `directory`; see freeze/freeze.ts. Returns why not, where that is not possible. */
async function freezeInto(directory: string, deno: string): Promise<string | undefined> {
  if (Deno.build.arch !== "x86_64") {
    return `a started program can be kept on x86_64 only, and this is ${Deno.build.arch}`;
  }
  const work = Deno.makeTempDirSync({ prefix: "runc-freeze-" });
  try {
    const script = bundleSnapshot(work);
    await makeRehearsalBundles(work);
    const output = join(directory, "runc");
    freezeProgram(new Kernel(), {
      deno,
      args: ["run", ...denoFlags, ...frozenFlags, script, work, String(REHEARSALS)],
      sample: ["--root", join(work, "state"), "run", "--bundle", join(work, "usual"), "rehearsal"],
      output,
      launcher: join(directory, "runc.sh"),
    });
    // It must be the one that goes on, and not what it starts where it cannot.
    const { success, stdout, stderr } = runTool(output, ["--version"]);
    return success && stdout.includes("\nprogram: snapshot\n")
      ? undefined
      : `what was frozen does not go on: ${stderr.trim()}`;
  } catch (error) {
    if (!(error instanceof RuncError)) throw error;
    return error.message;
  } finally {
    Deno.removeSync(work, { recursive: true });
  }
}

/** Whether a started program is kept, as an executable file. */
export interface BuildOptions {
  /** Yes, unless this says no: then `runc` is the launcher, and every command starts Deno. */
  readonly freeze?: boolean;
}

/** Makes the program in `directory`, to be run there with `deno`; returns the path to call. Says so where it could not be frozen. */
export async function buildProgram(
  directory: string,
  deno: string,
  { freeze = true }: BuildOptions = {},
): Promise<string> {
  bundle(directory);
  await fillCache(deno, directory);
  const path = join(directory, "runc");
  settleAll(directory);
  writeWholeText(join(directory, "runc.sh"), 0o755, launcher(deno, directory));
  const whyNot = freeze ? await freezeInto(directory, deno) : "";
  if (whyNot !== undefined) {
    if (whyNot !== "") console.error(`warning: commands start Deno each time: ${whyNot}`);
    Deno.renameSync(join(directory, "runc.sh"), path);
  }
  const { success, stderr } = runTool(path, ["--version"]);
  if (!success) giveUp(`${path} was built and does not run: ${stderr.trim()}`);
  return path;
}

if (import.meta.main) {
  const path = await buildProgram(distDir, findDeno(), { freeze: !Deno.args.includes("--no-freeze") });
  console.log(`${path}: is built`);
}
