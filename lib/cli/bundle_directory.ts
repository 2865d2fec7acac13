/**
 * The bundle that a command line names.
 *
 * @module
 */

import { withSystemErrors } from "./system_error.ts";

/**
 * Enters the bundle, for hooks run there and the config's relative paths start there. `path`: of --bundle; without one it is where we are.
 *
 * Returns its path, absolute and without symlinks: callers reach bundles through some (/var/run), and a root file system must not be behind one.
 *
 * @throws {RuncError} `syscall-failed`.
 */
export function enterBundle(path = ""): string {
  if (path !== "") withSystemErrors(`chdir ${path}`, () => Deno.chdir(path));
  return withSystemErrors("getcwd", () => Deno.cwd());
}
