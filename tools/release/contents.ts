/**
 * What a release contains: the files of the tarball and of the Debian package. Pure.
 *
 * @module
 */

import { denoFlags } from "../build.ts";
import { type Entry, textFile, type Tree } from "./archive.ts";
import type { Architecture } from "./deno_package.ts";

/** What all archives of an architecture are made from. */
export interface Ingredients {
  readonly version: string;
  readonly architecture: Architecture;
  /** The time of the source, in seconds. */
  readonly epoch: number;
  readonly deno: Uint8Array<ArrayBuffer>;
  /** runc.js, entry.js and setup.js. */
  readonly scripts: ReadonlyMap<string, string>;
  /** Completions and manual pages by path below share/, for a program with the name `program`. */
  readonly documents: (program: string) => ReadonlyMap<string, string>;
  /** Licences by file name. */
  readonly licences: ReadonlyMap<string, string>;
  /** What brings the program to the nodes of a cluster, by file name. */
  readonly deploy: ReadonlyMap<string, string>;
  readonly licence: string;
  readonly changelog: string;
  readonly readme: string;
  readonly sbom: (files: Tree) => Promise<string>;
}

/** Name of the package, of its program, and of its directory. */
export const PACKAGE = "runc-ts";

/** Deno, and the scripts that it runs. */
export function programFiles({ deno, scripts }: Ingredients): Tree {
  return new Map<string, Entry>([
    ["deno", { kind: "file", content: deno, mode: 0o755 }],
    ...[...scripts].map(([name, text]): [string, Entry] => [name, textFile(text)]),
  ]);
}

/**
 * The command that runs setup.js in the directory `where`. Deno makes no file below /proc, so nothing of it stays in
 * the user's home; with DENO_LOG it does not say so.
 */
export function setupCommand(where: string, words: string): string {
  const environment = "DENO_DIR=/proc/none DENO_LOG=off DENO_NO_UPDATE_CHECK=1";
  return `${environment} "${where}/deno" run ${denoFlags.join(" ")} "${where}/setup.js" ${words}`;
}

const tarballScript = (what: "install" | "uninstall") =>
  `#!/bin/sh
# ${what === "install" ? "Installs runc below a prefix" : "Removes what ./install has installed"}: see README.md.
set -eu
lib=$(cd "$(dirname "$0")" && pwd)/lib
${setupCommand("$lib", `${what} "$@"`)}
`;

/** The files below `path`. */
function below(path: string, tree: Tree): readonly [string, Entry][] {
  return [...tree].map(([name, entry]) => [`${path}/${name}`, entry]);
}

const texts = (files: ReadonlyMap<string, string>): Tree =>
  new Map([...files].map(([name, text]) => [name, textFile(text)]));

/** The name of an architecture's tarball, and of the directory in it. */
export function tarballName({ version, architecture }: Pick<Ingredients, "version" | "architecture">): string {
  return `${PACKAGE}-${version}-linux-${architecture}`;
}

/** The files of the tarball. */
export async function tarballFiles(ingredients: Ingredients): Promise<Tree> {
  const { deploy, documents, licences, licence, changelog, readme } = ingredients;
  const files: Tree = new Map([
    ["install", textFile(tarballScript("install"), 0o755)],
    ["uninstall", textFile(tarballScript("uninstall"), 0o755)],
    ["LICENSE", textFile(licence)],
    ["CHANGELOG.md", textFile(changelog)],
    ["README.md", textFile(readme)],
    ...below("deploy", texts(deploy)),
    ...below("licences", texts(licences)),
    ...below("lib", programFiles(ingredients)),
    ...below("share", texts(documents("runc"))),
  ]);
  const whole = [...files, ["sbom.cdx.json", textFile(await ingredients.sbom(files))] as [string, Entry]];
  return new Map(below(tarballName(ingredients), new Map(whole)));
}
