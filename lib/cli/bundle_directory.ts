/**
 * Enters the bundle directory that the command line names.
 *
 * @module
 */

import { withSystemErrors } from "./system_error.ts";

/**
 * Changes to the bundle directory: hooks run in it, and relative paths in the config start from it. `path`: the value
 * of --bundle; empty means the current directory.
 *
 * Returns its absolute path without symlinks. Callers reach bundles through symlinks such as /var/run, but the path of
 * a root file system must not contain one.
 *
 * @throws {RuncError} `syscall-failed`.
 */
export function enterBundle(path = ""): string {
  if (path !== "") withSystemErrors(`chdir ${path}`, () => Deno.chdir(path));
  return withSystemErrors("getcwd", () => Deno.cwd());
}
