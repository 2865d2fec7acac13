/**
 * `deno task install [--prefix DIR] [--destdir DIR] [--no-snapshot]` and `deno task uninstall [--prefix DIR]`: installs
 * the runtime with everything that it needs, so that this directory can be deleted afterwards.
 *
 *     PREFIX/bin/runc            a link to the program
 *     PREFIX/lib/runc/VERSION-N  program, launcher, bundle, Deno, code cache
 *     PREFIX/lib/runc/manifest   the list of everything installed
 *     PREFIX/share/              completions and manual pages
 *
 * A new program is built next to the old one, then the link is replaced, so a program is always installed. The old
 * program is removed by the next installation.
 *
 * @module
 */

import { ensureDirSync, existsSync } from "@std/fs";
import { dirname, join, resolve } from "@std/path";
import { VERSION } from "../lib/cli/commands/version.ts";
import { type BuildOptions, buildProgram, findDeno } from "./build.ts";
import { giveUp, projectDir, runTool } from "./bundle.ts";
import { settleAll } from "./durable.ts";
import { documents, sourceDate } from "./docs.ts";
import { Manifest } from "./manifest.ts";
import { readOptions } from "./options.ts";

const programsBelow = (prefix: string) => join(prefix, "lib/runc");
const linkBelow = (prefix: string) => join(prefix, "bin/runc");
const manifestBelow = (prefix: string) => new Manifest(join(programsBelow(prefix), "manifest"));

/** The name of a directory that an installation creates. */
const programName = /^\d+\.\d+\.\d+[^/]*-\d+$/;

/** The directories of installed programs. Anything else next to them belongs to others and stays. */
function programDirectories(prefix: string): readonly string[] {
  const programs = programsBelow(prefix);
  return [...Deno.readDirSync(programs)].filter(({ name }) => programName.test(name)).map(({ name }) =>
    join(programs, name)
  );
}

/** Removes the files of an earlier installation, and the directories that it created. */
function uninstall(prefix: string): void {
  const manifest = manifestBelow(prefix);
  if (!manifest.exists) giveUp(`nothing is installed below ${prefix}: ${manifest.path} is missing`);
  const link = linkBelow(prefix);
  for (const path of manifest.files) {
    if (path !== link) remove(path);
    else if (linksToUs(path)) remove(path);
    else console.error(`warning: ${path} now belongs to another program and is kept`);
  }
  const directories = manifest.directories;
  for (const path of [...programDirectories(prefix), manifest.path]) remove(path);
  for (const path of directories.toReversed()) removeIfEmpty(path);
}

function remove(path: string): void {
  try {
    Deno.removeSync(path, { recursive: true });
  } catch (error) {
    // It has already been removed, which is the goal.
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** Removes a directory unless others have put files into it. */
function removeIfEmpty(path: string): void {
  if (existsSync(path) && [...Deno.readDirSync(path)].length === 0) Deno.removeSync(path);
}

/** Whether the link points to one of our programs. If somebody has replaced it, it belongs to them. */
function linksToUs(path: string): boolean {
  return isThere(path) && Deno.lstatSync(path).isSymlink && Deno.readLinkSync(path).startsWith("../lib/runc/");
}

/** Whether the path exists. A dangling symlink counts. */
function isThere(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** The directory for a new program, next to the current one. */
function newDirectory(prefix: string): string {
  for (let number = 1;; number++) {
    const path = join(programsBelow(prefix), `${VERSION}-${number}`);
    if (!isThere(path)) return path;
  }
}

/** Installs the program and Deno in one directory. Each knows the other by its final path. dist/ is not changed. */
async function installProgram(directory: string, options: BuildOptions): Promise<void> {
  ensureDirSync(directory);
  const deno = join(directory, "deno");
  Deno.copyFileSync(findDeno(), deno);
  Deno.chmodSync(deno, 0o755);
  const program = await buildProgram(directory, deno, options);
  const { success, stderr } = runTool(program, ["--version"]);
  if (!success) giveUp(`${program} was built but does not run: ${stderr.trim()}`);
  // The files must be on disk before a link points to them.
  settleAll(directory);
}

/** The directory of the program that the link points to; undefined without a link. */
function currentDirectory(prefix: string): string | undefined {
  const path = linkBelow(prefix);
  return linksToUs(path) ? dirname(resolve(dirname(path), Deno.readLinkSync(path))) : undefined;
}

/** Creates or replaces the link atomically: callers get the old program or the new one. */
function link(prefix: string, directory: string): void {
  const path = linkBelow(prefix), temporary = `${path}.new`;
  remove(temporary);
  Deno.symlinkSync(join("..", directory.slice(prefix.length), "runc"), temporary);
  Deno.renameSync(temporary, path);
}

async function install(prefix: string, options: BuildOptions, texts: ReadonlyMap<string, string>): Promise<void> {
  const files = new Map([...texts].map(([name, text]) => [join(prefix, "share", name), text]));
  const manifest = manifestBelow(prefix);
  const program = linkBelow(prefix);
  const wanted = [program, ...files.keys()];
  const before = manifest.files;
  // Files of another program stay: they may belong to a package manager or be in use.
  const isOurs = (path: string) => path === program ? linksToUs(path) : before.includes(path);
  const others = wanted.filter((path) => isThere(path) && !isOurs(path));
  if (others.length > 0) {
    giveUp(
      `${others.join(", ")}: already exists and belongs to another program: remove it, or choose another --prefix`,
    );
  }
  // Written first, so that an interrupted installation can be uninstalled.
  manifest.write([...new Set([...before, ...wanted])]);
  // The previous program stays until the next installation: it may just be starting, or still have files to load.
  const kept = currentDirectory(prefix);
  const directory = newDirectory(prefix);
  await installProgram(directory, options);
  link(prefix, directory);
  for (const [path, text] of files) Deno.writeTextFileSync(path, text);
  for (const path of before.filter((path) => !wanted.includes(path))) remove(path);
  for (const path of programDirectories(prefix)) if (path !== directory && path !== kept) remove(path);
  manifest.write(wanted);
  console.log(`${program}: ${runTool(program, ["--version"]).stdout.split("\n")[0]}`);
}

/**
 * Installs files into DESTDIR that will run below PREFIX, as packages are made. Programs contain their own path, so
 * this runs in a mount namespace in which DESTDIR's PREFIX is mounted at PREFIX. Returns the exit status.
 */
function installAside(prefix: string, destdir: string, words: readonly string[]): number {
  const needed = [Deno.execPath(), projectDir, Deno.realPathSync("/bin/sh")].find((path) =>
    path.startsWith(`${prefix}/`)
  );
  if (needed !== undefined) {
    giveUp(`--destdir: ${needed} is below ${prefix}, which DESTDIR hides during the installation`);
  }
  if (!existsSync(prefix, { isDirectory: true })) giveUp(`--destdir: ${prefix} must exist; it may be empty`);
  ensureDirSync(join(destdir, prefix));
  const script = 'mount --bind "$1" "$2" && shift 2 && exec "$@"';
  const again = [Deno.execPath(), "run", "--allow-all", import.meta.filename!, "install", `--prefix=${prefix}`];
  const { code } = new Deno.Command("unshare", {
    args: ["--mount", "sh", "-c", script, "sh", join(destdir, prefix), prefix, ...again, ...words],
    stdin: "null",
    stdout: "inherit",
    stderr: "inherit",
  }).outputSync();
  return code;
}

/** What a release brings along, so that nothing is made from source. */
export interface Release {
  /** The directory with runc.js and entry.js. */
  readonly scripts: string;
  /** Completions and manual pages by path below share/. */
  readonly documents: ReadonlyMap<string, string>;
  /** The commands that install and uninstall, for the usage text. */
  readonly usage: string;
}

const USAGE = "deno task install [--prefix DIR] [--destdir DIR] [--no-snapshot], deno task uninstall [--prefix DIR]";

/** Carries out `install` or `uninstall` with these options. Returns the exit status. */
export async function main(what: string | undefined, words: readonly string[], release?: Release): Promise<number> {
  const options = what === "install"
    ? readOptions(words, { values: { prefix: "/usr/local", destdir: "" }, switches: ["no-snapshot"] })
    : readOptions(words, { values: { prefix: "/usr/local" } });
  if (options === undefined) {
    return giveUp(`usage: ${release?.usage ?? USAGE}`);
  }
  const { prefix: given = "", destdir = "" } = options.values;
  const prefix = resolve(given);
  const snapshot = options.switches["no-snapshot"] !== true;
  // All users must be able to run the program, even if root's umask is stricter.
  Deno.umask(0o022);
  try {
    if (what === "uninstall") uninstall(prefix);
    else if (destdir !== "") return installAside(prefix, resolve(destdir), snapshot ? [] : ["--no-snapshot"]);
    else await install(prefix, { snapshot, scripts: release?.scripts }, release?.documents ?? documents(sourceDate()));
  } catch (error) {
    if (!(error instanceof Deno.errors.PermissionDenied)) throw error;
    giveUp(`${error.message}: choose a --prefix below which you may write, or be root`);
  }
  return 0;
}

if (import.meta.main) {
  const [what, ...words] = Deno.args;
  Deno.exit(await main(what, words));
}
