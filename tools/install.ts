/**
 * `deno task install [--prefix DIR] [--no-freeze]` and `deno task uninstall [--prefix DIR]`: the runtime with all that it needs, so that it
 * works when this directory is gone.
 *
 *     PREFIX/bin/runc            a link to the program
 *     PREFIX/lib/runc/           program, launcher, bundle, Deno, code cache, and the list of everything installed
 *     PREFIX/share/              completions and manual pages
 *
 * @module
 */

import { parseArgs } from "@std/cli";
import { ensureDirSync, existsSync } from "@std/fs";
import { dirname, join, resolve } from "@std/path";
import { type BuildOptions, buildProgram, findDeno } from "./build.ts";
import { giveUp, runTool } from "./bundle.ts";
import { documents, sourceDate } from "./docs.ts";

/** Where uninstalling finds what there is to remove: one absolute path a line. */
const manifestOf = (prefix: string) => join(prefix, "lib/runc/manifest");

/** Removes what an earlier installation put there, and directories that are empty then. */
function uninstall(prefix: string): void {
  const manifest = manifestOf(prefix);
  if (!existsSync(manifest)) giveUp(`nothing was installed below ${prefix}: ${manifest} is missing`);
  for (const path of Deno.readTextFileSync(manifest).trimEnd().split("\n")) remove(path);
  remove(join(prefix, "lib/runc"));
}

function remove(path: string): void {
  try {
    Deno.removeSync(path, { recursive: true });
  } catch (error) {
    // Somebody was faster: it is to be gone, and is.
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** Files of the documents, below PREFIX/share. */
function installDocuments(prefix: string): string[] {
  return [...documents(sourceDate())].map(([name, text]) => {
    const path = join(prefix, "share", name);
    ensureDirSync(dirname(path));
    Deno.writeTextFileSync(path, text);
    return path;
  });
}

/** The program and Deno in one directory; each knows the other by its final path. What is in dist/ stays. */
async function installProgram(directory: string, options: BuildOptions): Promise<void> {
  ensureDirSync(directory);
  const deno = join(directory, "deno");
  Deno.copyFileSync(findDeno(), deno);
  Deno.chmodSync(deno, 0o755);
  await buildProgram(directory, deno, options);
}

/** Another program of that name stays: a package manager's, or one that is in use. */
function link(prefix: string): string {
  const path = join(prefix, "bin/runc");
  ensureDirSync(dirname(path));
  Deno.symlinkSync("../lib/runc/runc", path);
  return path;
}

async function install(prefix: string, options: BuildOptions): Promise<void> {
  if (existsSync(manifestOf(prefix))) uninstall(prefix);
  if (existsSync(join(prefix, "bin/runc"))) {
    giveUp(`${prefix}/bin/runc is there already, and not from here: remove it, or choose another --prefix`);
  }
  const directory = join(prefix, "lib/runc");
  await installProgram(directory, options);
  const installed = [link(prefix), ...installDocuments(prefix)];
  Deno.writeTextFileSync(manifestOf(prefix), installed.map((path) => `${path}\n`).join(""));
  const { success, stdout, stderr } = runTool(join(prefix, "bin/runc"), ["--version"]);
  if (!success) giveUp(`${prefix}/bin/runc was installed and does not run: ${stderr.trim()}`);
  console.log(`${prefix}/bin/runc: ${stdout.split("\n")[0]}`);
}

if (import.meta.main) {
  const [what, ...words] = Deno.args;
  const options = parseArgs(words, {
    string: ["prefix"],
    boolean: ["no-freeze"],
    default: { prefix: "/usr/local" },
  });
  const given = String(options.prefix);
  if (options._.length > 0 || given === "") giveUp("usage: deno task install|uninstall [--prefix DIR] [--no-freeze]");
  if (what === "uninstall") uninstall(resolve(given));
  else await install(resolve(given), { freeze: options["no-freeze"] !== true });
}
