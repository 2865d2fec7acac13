/**
 * `deno task install [--prefix DIR] [--prelink]` and `deno task uninstall [--prefix DIR]`: the runtime with all that it needs, so that it
 * works when this directory is gone.
 *
 *     PREFIX/bin/runc            a link to the launcher
 *     PREFIX/lib/runc/           launcher, bundle, Deno, code cache, and the list of everything installed
 *     PREFIX/share/              completions and manual pages
 *
 * @module
 */

import { parseArgs } from "@std/cli";
import { ensureDirSync, existsSync } from "@std/fs";
import { dirname, join, resolve } from "@std/path";
import { build, fillCache, findDeno, launcher } from "./build.ts";
import { bundled, giveUp, runTool } from "./bundle.ts";
import { documents, sourceDate } from "./docs.ts";
import { prelinkFile } from "./prelink.ts";

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

/** Launcher, bundle, Deno and code cache in one directory; the launcher knows all by their final paths. */
async function installProgram(directory: string, prelinked: boolean): Promise<void> {
  await build();
  ensureDirSync(directory);
  const deno = join(directory, "deno");
  if (prelinked) prelinkFile(findDeno(), deno);
  else Deno.copyFileSync(findDeno(), deno);
  Deno.chmodSync(deno, 0o755);
  for (const path of bundled()) Deno.copyFileSync(path, join(directory, path.slice(dirname(path).length + 1)));
  Deno.writeTextFileSync(join(directory, "runc"), launcher(deno, directory));
  Deno.chmodSync(join(directory, "runc"), 0o755);
  await fillCache(deno, directory);
}

/** Another program of that name stays: a package manager's, or one that is in use. */
function link(prefix: string): string {
  const path = join(prefix, "bin/runc");
  ensureDirSync(dirname(path));
  Deno.symlinkSync("../lib/runc/runc", path);
  return path;
}

async function install(prefix: string, prelinked: boolean): Promise<void> {
  if (existsSync(manifestOf(prefix))) uninstall(prefix);
  if (existsSync(join(prefix, "bin/runc"))) {
    giveUp(`${prefix}/bin/runc is there already, and not from here: remove it, or choose another --prefix`);
  }
  const directory = join(prefix, "lib/runc");
  await installProgram(directory, prelinked);
  const installed = [link(prefix), ...installDocuments(prefix)];
  Deno.writeTextFileSync(manifestOf(prefix), installed.map((path) => `${path}\n`).join(""));
  const { success, stdout, stderr } = runTool(join(prefix, "bin/runc"), ["--version"]);
  if (!success) giveUp(`${prefix}/bin/runc was installed and does not run: ${stderr.trim()}`);
  console.log(`${prefix}/bin/runc: ${stdout.split("\n")[0]}`);
}

if (import.meta.main) {
  const [what, ...words] = Deno.args;
  const options = parseArgs(words, { string: ["prefix"], boolean: ["prelink"], default: { prefix: "/usr/local" } });
  const given = String(options.prefix);
  if (options._.length > 0 || given === "") giveUp("usage: deno task install|uninstall [--prefix DIR] [--prelink]");
  if (what === "uninstall") uninstall(resolve(given));
  else await install(resolve(given), options.prelink === true);
}
