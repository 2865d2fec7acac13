/**
 * `deno task docs`: writes completions for bash, zsh and fish and manual pages to dist/share, from where `deno task
 * install` installs them.
 *
 * @module
 */

import { ensureDirSync } from "@std/fs";
import { dirname, join } from "@std/path";
import { VERSION } from "../lib/cli/commands/version.ts";
import { distDir, runTool } from "./bundle.ts";
import { bashCompletion } from "./docs/bash.ts";
import { fishCompletion } from "./docs/fish.ts";
import { commandPage, programPage } from "./docs/man.ts";
import { shownCommands } from "./docs/words.ts";
import { zshCompletion } from "./docs/zsh.ts";

/** The files by path below share/. `date`: the date in the manual pages. */
export function documents(date: string): ReadonlyMap<string, string> {
  const facts = { version: VERSION, date };
  return new Map([
    ["bash-completion/completions/runc", bashCompletion()],
    ["zsh/site-functions/_runc", zshCompletion()],
    ["fish/vendor_completions.d/runc.fish", fishCompletion()],
    ["man/man8/runc.8", programPage(facts)],
    ...shownCommands().map((name): [string, string] => [`man/man8/runc-${name}.8`, commandPage(name, facts)]),
  ]);
}

/** The date of the last commit, so that the same sources give the same pages. Without git, today. */
export function sourceDate(): string {
  const { success, stdout } = runTool("git", ["log", "-1", "--format=%cs"]);
  return success ? stdout.trim() : new Date().toISOString().slice(0, 10);
}

/** Writes all documents. Returns their directory. */
export function writeDocuments(): string {
  const share = join(distDir, "share");
  for (const [path, text] of documents(sourceDate())) {
    ensureDirSync(dirname(join(share, path)));
    Deno.writeTextFileSync(join(share, path), text);
  }
  return share;
}

if (import.meta.main) console.log(`${writeDocuments()}: completions and manual pages`);
