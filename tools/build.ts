/**
 * `deno task build`: makes dist/runc.js and dist/runc, the launcher that callers use.
 *
 * @module
 */

import { existsSync } from "@std/fs";
import { join } from "@std/path";
import { bundle, distDir, giveUp, projectDir, runTool } from "./bundle.ts";

/** Measured; see docs. `--no-code-cache`: the program ends by Deno.exit, after which Deno never writes that cache. */
export const denoFlags: readonly string[] = [
  "--allow-all",
  "--quiet",
  "--no-config",
  "--no-lock",
  "--no-npm",
  "--no-remote",
  "--no-check",
  "--cached-only",
  "--no-code-cache",
  "--v8-flags=--single-threaded,--no-rehash-snapshot",
];

/** The Deno that the launcher runs: the one that npm brought, else the one that runs this. */
function findDeno(): string {
  const arch = Deno.build.arch === "aarch64" ? "arm64" : "x64";
  const fromNpm = join(projectDir, `node_modules/@deno/linux-${arch}-glibc/deno`);
  return existsSync(fromNpm) ? fromNpm : Deno.realPathSync(Deno.execPath());
}

/** `text` as one word of a shell script. */
function shellQuote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function launcher(deno: string): string {
  return `#!/bin/sh
# Runs runc.js, which lies beside this file, with Deno. Made by tools/build.ts.
deno=${shellQuote(deno)}
case $0 in
  */*) self=$0 ;;
  *) self=./$0 ;;
esac
# Asking readlink costs a millisecond, so the usual answer is tried first.
if [ -L "$self" ]; then
  if [ ${shellQuote(join(distDir, "runc"))} -ef "$self" ]; then self=${shellQuote(join(distDir, "runc"))}
  else self=$(readlink -f -- "$self")
  fi
fi
if ! [ -x "$deno" ]; then
  echo "runc: Deno is no longer at $deno; run 'deno task build' again" >&2
  exit 1
fi
# Deno raises the limit of open files for itself; containers are to have the caller's.
RUNC_NOFILE_SOFT=$(ulimit -Sn)
export RUNC_NOFILE_SOFT
exec "$deno" run ${denoFlags.join(" ")} "\${self%/*}/runc.js" "$@"
`;
}

/** Builds both files and returns the launcher's path. */
export function build(): string {
  const script = bundle();
  const path = join(distDir, "runc");
  Deno.writeTextFileSync(path, launcher(findDeno()));
  Deno.chmodSync(path, 0o755);
  const { success, stderr } = runTool(path, ["--version"]);
  if (!success) giveUp(`${path} was built and does not run: ${stderr.trim()}`);
  console.log(`dist/runc: runs ${script} with ${findDeno()}`);
  return path;
}

if (import.meta.main) build();
