/**
 * Finds the program criu. Runs in: parent.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";

/** Where to look if the environment has no PATH. execvp(3) */
const DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** What to do without CRIU, or with one that is too old. */
export const INSTALL_HINT = "install CRIU 3.15 or newer (Debian, Fedora: package criu)";

/**
 * The absolute path of criu, found along PATH as Go does it: directories that are not absolute are not searched.
 *
 * @throws {RuncError} `host-lacks`, in runc's words.
 */
export function findCriu({ PATH = DEFAULT_PATH }: Readonly<Record<string, string>>): string {
  const paths = PATH.split(":").filter((directory) => directory.startsWith("/")).map((each) => `${each}/criu`);
  const found = paths.find(isExecutable);
  if (found !== undefined) return found;
  throw new RuncError("host-lacks", 'exec: "criu": executable file not found in $PATH', { hint: INSTALL_HINT });
}

function isExecutable(path: string): boolean {
  try {
    const { isFile, mode } = Deno.statSync(path);
    return isFile && ((mode ?? 0) & 0o111) !== 0;
  } catch {
    // It does not exist, or we may not look.
    return false;
  }
}
