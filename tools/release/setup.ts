/**
 * setup.js of a release: installs what the release contains, removes it again, or finishes what a package manager has
 * installed.
 *
 *     setup.js install [--prefix DIR] [--destdir DIR] [--no-snapshot]
 *     setup.js uninstall [--prefix DIR]
 *     setup.js finish
 *
 * @module
 */

import { walkSync } from "@std/fs";
import { join, relative } from "@std/path";
import { finishProgram } from "../build.ts";
import { giveUp } from "../bundle.ts";
import { main } from "../install.ts";

/** The directory of this script, in which the other scripts are. */
const here = import.meta.dirname ?? giveUp("setup.js must be a file");

const USAGE = "./install [--prefix DIR] [--destdir DIR] [--no-snapshot], ./uninstall [--prefix DIR]";

/** The completions and manual pages that came along. */
function documents(): ReadonlyMap<string, string> {
  const share = join(here, "../share");
  return new Map(
    [...walkSync(share, { includeDirs: false })].map((
      { path },
    ) => [relative(share, path), Deno.readTextFileSync(path)]),
  );
}

const [what, ...words] = Deno.args;
if (what === "finish") {
  await finishProgram(here, join(here, "deno"), { scripts: here });
} else {
  Deno.exit(await main(what, words, { scripts: here, documents: documents(), usage: USAGE }));
}
