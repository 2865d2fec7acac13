/**
 * `deno task release [--out DIR] [--arch amd64|arm64] [--maintainer NAME] [--homepage URL]`: makes in DIR (default
 * dist/release), for each architecture, a tarball, a Debian package and the list of what is in them, and SHA256SUMS.
 * The same source gives the same bytes.
 *
 * @module
 */

import { ensureDirSync } from "@std/fs";
import { join } from "@std/path";
import { VERSION } from "../../lib/cli/commands/version.ts";
import packages from "../../package.json" with { type: "json" };
import { bundle, bundleSnapshot, bundleTool, currentCommit, distDir, giveUp, projectDir } from "../bundle.ts";
import { dayOf, documents, sourceEpoch } from "../docs.ts";
import { readOptions } from "../options.ts";
import { gzip, LEVEL, tar, type Tree } from "./archive.ts";
import { type Ingredients, tarballFiles, tarballName } from "./contents.ts";
import { type DebianFacts, debianName, debianPackage } from "./debian.ts";
import { type Architecture, architectures, denoPackage, fetchDeno, type Pinned } from "./deno_package.ts";
import { sbom, type SbomFacts } from "./sbom.ts";

const hex = (bytes: Uint8Array) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

async function sha256(content: Uint8Array<ArrayBuffer>): Promise<string> {
  return hex(new Uint8Array(await crypto.subtle.digest("SHA-256", content)));
}

/** MD5, which packages have for accidents only; web cryptography does not offer it. */
async function md5(content: Uint8Array<ArrayBuffer>): Promise<string> {
  const child = new Deno.Command("md5sum", { stdin: "piped", stdout: "piped" }).spawn();
  const [{ stdout }] = await Promise.all([child.output(), new Blob([content]).stream().pipeTo(child.stdin)]);
  return new TextDecoder().decode(stdout).slice(0, 32);
}

/** runc.js, entry.js and setup.js: they are the same for all architectures. */
function makeScripts(): ReadonlyMap<string, string> {
  const directory = Deno.makeTempDirSync({ prefix: "runc-release-" });
  try {
    const made = [bundle(directory), bundleSnapshot(directory), bundleTool("tools/release/setup.ts", directory)];
    return new Map(made.map((path) => [path.slice(directory.length + 1), Deno.readTextFileSync(path)]));
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

/** The version of SQLite in this Deno, which is the Deno of all packages. */
async function sqliteVersion(): Promise<string> {
  // For a literal name the type checker would need Node's types from npm.
  const sqlite: string = "node:sqlite";
  const { DatabaseSync } = await import(sqlite);
  return new DatabaseSync(":memory:").prepare("select sqlite_version() as version").get().version;
}

const source = (path: string) => Deno.readTextFileSync(join(projectDir, path));

/** What does not depend on the architecture. */
type Common = Omit<Ingredients, "architecture" | "deno" | "sbom">;

/** The files of a directory of the project, by name. */
function sources(directory: string): ReadonlyMap<string, string> {
  const names = [...Deno.readDirSync(join(projectDir, directory))].map(({ name }) => name).toSorted();
  return new Map(names.map((name) => [name, source(`${directory}/${name}`)]));
}

function commonIngredients(epoch: number): Common {
  return {
    version: VERSION,
    epoch,
    scripts: makeScripts(),
    documents: (program) => documents(dayOf(epoch), program),
    deploy: sources("deploy"),
    licences: sources("tools/release/licences"),
    licence: source("LICENSE"),
    changelog: source("CHANGELOG.md"),
    readme: source("README.md"),
  };
}

/** The hash of each file of a tree. */
async function hashesOf(tree: Tree): Promise<ReadonlyMap<string, string>> {
  const hashes = new Map<string, string>();
  for (const [path, entry] of tree) if (entry.kind === "file") hashes.set(path, await sha256(entry.content));
  return hashes;
}

/** The files of the release for one architecture, by name. */
async function make(
  architecture: Architecture,
  common: Common,
  facts: DebianFacts,
): Promise<ReadonlyMap<string, Uint8Array<ArrayBuffer>>> {
  const pinned = denoPackage(architecture);
  if (pinned.version !== Deno.version.deno) {
    giveUp(`this is Deno ${Deno.version.deno}, and package-lock.json pins ${pinned.version}: use npm run release`);
  }
  const deno = await fetchDeno(pinned);
  const list = { version: VERSION, architecture, epoch: common.epoch, ...await knownFacts(pinned) };
  const listing = async (tree: Tree) => sbom({ ...list, files: await hashesOf(tree) });
  const ingredients: Ingredients = { ...common, architecture, deno, sbom: listing };
  const tree = await tarballFiles(ingredients);
  const name = tarballName(ingredients);
  return new Map([
    [`${name}.tar.gz`, await gzip(tar(tree, { epoch: common.epoch }), LEVEL)],
    [debianName(ingredients), await debianPackage(ingredients, facts, md5)],
    [`${name}.cdx.json`, sbomOf(tree, name)],
  ]);
}

async function knownFacts(deno: Pinned): Promise<Pick<SbomFacts, "commit" | "deno" | "inDeno" | "esbuild">> {
  const { v8, typescript } = Deno.version;
  return {
    commit: currentCommit(),
    deno,
    inDeno: { v8, typescript, sqlite: await sqliteVersion() },
    esbuild: packages.optionalDependencies["@esbuild/linux-x64"],
  };
}

/** The list in the tarball, which is also a file of its own. */
function sbomOf(tree: Tree, name: string): Uint8Array<ArrayBuffer> {
  const entry = tree.get(`${name}/sbom.cdx.json`);
  return entry?.kind === "file" ? entry.content : giveUp("the tarball has no list of its files");
}

async function release(words: readonly string[]): Promise<void> {
  const options = readOptions(words, {
    values: {
      out: join(distDir, "release"),
      arch: "",
      maintainer: "The authors of runc in TypeScript <authors@runc-ts.example>",
      homepage: "",
    },
  });
  const { out = "", arch = "", maintainer = "", homepage } = options?.values ?? {};
  if (options === undefined || !(arch === "" || arch in architectures)) {
    giveUp(
      "usage: deno task release [--out DIR] [--arch amd64|arm64] [--maintainer 'NAME <ADDRESS>'] [--homepage URL]",
    );
  }
  const epoch = sourceEpoch();
  if (epoch === undefined) giveUp("the time of the source is unknown: set SOURCE_DATE_EPOCH, or use a git checkout");
  const common = commonIngredients(epoch);
  const facts = { maintainer, homepage: homepage || undefined };
  ensureDirSync(out);
  const sums: string[] = [];
  for (const architecture of Object.keys(architectures) as Architecture[]) {
    if (arch !== "" && arch !== architecture) continue;
    for (const [name, content] of await make(architecture, common, facts)) {
      Deno.writeFileSync(join(out, name), content);
      sums.push(`${await sha256(content)}  ${name}\n`);
      console.log(join(out, name));
    }
  }
  Deno.writeTextFileSync(join(out, "SHA256SUMS"), sums.join(""));
}

if (import.meta.main) await release(Deno.args);
