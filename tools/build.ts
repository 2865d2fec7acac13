/**
 * `deno task build`: builds dist/runc.js, and dist/runc, the program that callers execute.
 *
 * @module
 */

import { existsSync } from "@std/fs";
import { join } from "@std/path";
import { RuncError } from "../lib/errors.ts";
import { Kernel } from "../lib/ffi/kernel.ts";
import { bundle, bundled, bundleFrozen, distDir, giveUp, projectDir, runTool } from "./bundle.ts";
import { settleAll, writeWholeText } from "./durable.ts";
import { freezeProgram } from "./freeze/freeze.ts";
import { makeRehearsalBundles } from "./freeze/rehearsal.ts";

/** The flags of every start of the program. bench/startup.ts measures with the same ones. */
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
  // The program ends before optimised code would pay off.
  "--max-opt=0",
  // In megabytes: enough for everything that a command allocates, instead of three garbage collections of 1 ms each.
  "--min-semi-space-size=8",
];

/** Flags without a code cache: V8 compiles each function on its first call. */
export const coldFlags: readonly string[] = ["--no-code-cache", `--v8-flags=${v8Flags.join(",")}`];

/**
 * Flags with the code cache that the build fills. They are part of the cache's key, so the cache must be filled and
 * used with the same flags. `--no-lazy` compiles all functions, so that all are in the cache: Deno saves it before any
 * function is called.
 *
 * Measured for `run true`, in CPU time: 63 ms without the cache, 58 ms with a cache of what V8 compiles by default, 44
 * ms with this one.
 */
export const warmFlags: readonly string[] = [`--v8-flags=${[...v8Flags, "--no-lazy"].join(",")}`];

/** The Deno that the launcher runs: the one from npm, otherwise the one that runs this script. */
export function findDeno(): string {
  const arch = Deno.build.arch === "aarch64" ? "arm64" : "x64";
  const fromNpm = join(projectDir, `node_modules/@deno/linux-${arch}-glibc/deno`);
  return existsSync(fromNpm) ? fromNpm : Deno.realPathSync(Deno.execPath());
}

/** Quotes `text` as one word of a shell script. */
function shellQuote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** The launcher script. It runs the runc.js in `directory`, where the script is also stored. */
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
  echo "runc: Deno not found at $deno: run 'deno task build' again" >&2
  exit 1
fi
script="\${self%/*}/runc.js"
# Deno runs an empty script, and succeeds.
if ! [ -s "$script" ]; then
  echo "runc: $script is missing or empty: run 'deno task build' or 'deno task install' again" >&2
  exit 1
fi
# V8 reserves addresses, more than it will ever use, and dies where it may not.
addresses=$(ulimit -v) data=$(ulimit -d)
if [ "$addresses" != unlimited ] && [ "$addresses" -lt 20000000 ]; then
  echo "runc: the limit of the address space (RLIMIT_AS, ulimit -v), $addresses KiB, is too small: cannot allocate memory" >&2
  exit 1
fi
if [ "$data" != unlimited ] && [ "$data" -lt 1000000 ]; then
  echo "runc: the limit of data memory (RLIMIT_DATA, ulimit -d), $data KiB, is too small: cannot allocate memory" >&2
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

/** The parts of Node's `DatabaseSync` that are used. */
interface Database {
  exec(sql: string): void;
  close(): void;
}

/**
 * Fills the code cache of the runc.js in `directory`. Deno saves the cache only when a program ends without Deno.exit,
 * which runc.js uses. So another script imports runc.js, which then does nothing.
 */
export async function fillCache(deno: string, directory: string = distDir): Promise<void> {
  const cache = join(directory, "cache");
  if (existsSync(cache)) Deno.removeSync(cache, { recursive: true });
  Deno.mkdirSync(cache);
  const importer = join(cache, "fill.js");
  Deno.writeTextFileSync(importer, bundled(directory).map((path) => `import ${JSON.stringify(path)};\n`).join(""));
  const { success, stderr } = runTool(deno, ["run", ...denoFlags, ...warmFlags, importer], { DENO_DIR: cache });
  if (!success) giveUp(`cannot fill the code cache: ${stderr.trim()}`);
  for (const { name } of Deno.readDirSync(cache)) if (name.endsWith("_cache_v2")) await settle(join(cache, name));
}

/**
 * Moves the content of the database's write-ahead log into the database. Deno leaves the log in place, and SQLite would
 * read and check all of it at each start, because no other process has the database open: 1.5 ms.
 * https://sqlite.org/wal.html#recovery
 */
async function settle(path: string): Promise<void> {
  // The type checker does not follow a variable. For a literal name it would need Node's types from npm.
  const sqlite: string = "node:sqlite";
  const { DatabaseSync } = await import(sqlite) as { DatabaseSync: new (path: string) => Database };
  const database = new DatabaseSync(path);
  database.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  database.close();
}

/**
 * The V8 flags for taking a snapshot: V8 keeps all compiled code, and the program can run the garbage collector before
 * the snapshot.
 */
const frozenFlags: readonly string[] = [
  "--no-code-cache",
  `--v8-flags=${[...v8Flags, "--no-lazy", "--no-flush-bytecode", "--expose-gc"].join(",")}`,
];

/**
 * How many times the program rehearses before the snapshot: from the second time on, V8 keeps type feedback. More
 * rehearsals make it keep more than is worth the memory.
 */
const REHEARSALS = 2;

/**
 * Takes a snapshot of the program into `directory`; see freeze/freeze.ts. If that is impossible, returns the reason.
 */
async function freezeInto(directory: string, deno: string): Promise<string | undefined> {
  if (Deno.build.arch !== "x86_64") {
    return `snapshots need x86_64, this machine is ${Deno.build.arch}`;
  }
  const work = Deno.makeTempDirSync({ prefix: "runc-freeze-" });
  try {
    const script = bundleFrozen(work);
    await makeRehearsalBundles(work);
    const output = join(directory, "runc");
    freezeProgram(new Kernel(), {
      deno,
      args: ["run", ...denoFlags, ...frozenFlags, script, work, String(REHEARSALS)],
      sample: ["--root", join(work, "state"), "run", "--bundle", join(work, "usual"), "rehearsal"],
      output,
      launcher: join(directory, "runc.sh"),
    });
    // The snapshot itself must resume, and not start the launcher as a fallback.
    const { success, stdout, stderr } = runTool(output, ["--version"]);
    return success && stdout.includes("\nprogram: snapshot\n")
      ? undefined
      : `the snapshot cannot be resumed: ${stderr.trim()}`;
  } catch (error) {
    if (!(error instanceof RuncError)) throw error;
    return error.message;
  } finally {
    Deno.removeSync(work, { recursive: true });
  }
}

/** Whether to take a snapshot of the started program. */
export interface BuildOptions {
  /** Default: yes. If false, `runc` is the launcher, and every command starts Deno. */
  readonly freeze?: boolean;
}

/**
 * Builds the program in `directory`, to be run there with `deno`. Returns the path to execute. Prints a warning if
 * there is no snapshot.
 */
export async function buildProgram(
  directory: string,
  deno: string,
  { freeze = true }: BuildOptions = {},
): Promise<string> {
  bundle({ lazy: true, directory });
  await fillCache(deno, directory);
  const path = join(directory, "runc");
  settleAll(directory);
  writeWholeText(join(directory, "runc.sh"), 0o755, launcher(deno, directory));
  const whyNot = freeze ? await freezeInto(directory, deno) : "";
  if (whyNot !== undefined) {
    if (whyNot !== "") console.error(`warning: no snapshot, every command starts Deno: ${whyNot}`);
    Deno.renameSync(join(directory, "runc.sh"), path);
  }
  const { success, stderr } = runTool(path, ["--version"]);
  if (!success) giveUp(`${path} was built but does not run: ${stderr.trim()}`);
  return path;
}

if (import.meta.main) {
  const path = await buildProgram(distDir, findDeno(), { freeze: !Deno.args.includes("--no-freeze") });
  console.log(`built ${path}`);
}
