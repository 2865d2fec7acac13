/**
 * `deno task docs`: writes completions for bash, zsh and fish and manual pages to dist/share, from where `deno task
 * install` installs them.
 *
 * @module
 */

import { ensureDirSync } from "@std/fs";
import { dirname, join } from "@std/path";
import { VERSION } from "../lib/cli/commands/version.ts";
import { distDir, giveUp, runTool } from "./bundle.ts";
import { bashCompletion } from "./docs/bash.ts";
import { fishCompletion } from "./docs/fish.ts";
import { commandPage, programPage } from "./docs/man.ts";
import { shownCommands } from "./docs/words.ts";
import { zshCompletion } from "./docs/zsh.ts";

/**
 * The files by path below share/. `date`: the date in the manual pages. `program`: its name on the command line; with
 * another one than `runc`, the files can be installed beside those of another runc.
 */
export function documents(date: string, program = "runc"): ReadonlyMap<string, string> {
  const facts = { version: VERSION, date, program };
  return new Map([
    [`bash-completion/completions/${program}`, underName(program, bashCompletion())],
    [`zsh/site-functions/_${program}`, underName(program, zshCompletion())],
    [`fish/vendor_completions.d/${program}.fish`, underName(program, fishCompletion())],
    [`man/man8/${program}.8`, programPage(facts)],
    ...shownCommands().map((name): [string, string] => [`man/man8/${program}-${name}.8`, commandPage(name, facts)]),
  ]);
}

/** A completion for another name of the program. Its functions get other names, too: a shell may load both. */
function underName(program: string, completion: string): string {
  return completion.replace(/_runc(?=\b|_)/g, `_${program.replaceAll("-", "_")}`)
    .replace(/^(#compdef|complete -c|complete -F \w+) runc\b/gm, `$1 ${program}`);
}

/**
 * The time of the source in seconds: SOURCE_DATE_EPOCH, otherwise that of the last commit. The same source then gives
 * the same files. Undefined without git.
 */
export function sourceEpoch(): number | undefined {
  const given = Deno.env.get("SOURCE_DATE_EPOCH");
  if (given !== undefined) {
    if (!/^\d+$/.test(given)) giveUp(`SOURCE_DATE_EPOCH: "${given}" is not a number of seconds`);
    return Number(given);
  }
  const { success, stdout } = runTool("git", ["log", "-1", "--format=%ct"]);
  return success ? Number(stdout) : undefined;
}

/** A date as 2026-01-31. */
export function dayOf(epoch: number): string {
  return new Date(epoch * 1000).toISOString().slice(0, 10);
}

/** The date of the source; without git, today. */
export function sourceDate(): string {
  return dayOf(sourceEpoch() ?? Date.now() / 1000);
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
