/**
 * The Debian package: its files, its control files and the scripts that dpkg runs.
 *
 * The snapshot and the code cache depend on the machine. `postinst` makes them, `prerm` removes them.
 *
 * @see deb(5), deb-control(5), https://www.debian.org/doc/debian-policy/ch-maintainerscripts.html
 * @module
 */

import { launcher } from "../build.ts";
import { arArchive, type Entry, gzip, LEVEL, tar, textFile, type Tree } from "./archive.ts";
import { type Ingredients, PACKAGE, programFiles, setupCommand } from "./contents.ts";

const DIRECTORY = `/usr/lib/${PACKAGE}`;

/** What `postinst` makes. */
const made = ["runc", "runc.new", "cache"].map((name) => `${DIRECTORY}/${name}`).join(" ");

const postinst = `#!/bin/sh
# Makes what depends on this machine: the code cache, and the snapshot of the started program.
set -e
case "$1" in
  configure | abort-remove | abort-deconfigure)
    if said=$(${setupCommand(DIRECTORY, "finish")} 2>&1); then
      [ -z "$said" ] || echo "$said" >&2
    else
      # Deno does not run here: in a root directory without /proc, for example.
      why=$(echo "$said" | tail -n 1)
      echo "${PACKAGE}: no snapshot, every command starts Deno: $why; 'dpkg-reconfigure ${PACKAGE}' tries again" >&2
      cp ${DIRECTORY}/runc.sh ${DIRECTORY}/runc.new
      mv ${DIRECTORY}/runc.new ${DIRECTORY}/runc
    fi
    ;;
esac
`;

const prerm = `#!/bin/sh
# Removes what postinst has made. During an upgrade, callers find the old program until the new one is there.
set -e
case "$1" in
  remove | deconfigure) rm -rf ${made} ;;
esac
`;

const postrm = `#!/bin/sh
set -e
case "$1" in
  remove | disappear)
    rm -rf ${made}
    [ ! -d ${DIRECTORY} ] || rmdir --ignore-fail-on-non-empty ${DIRECTORY}
    ;;
  # The cache of compiled seccomp filters.
  purge) rm -rf /run/runc-seccomp ;;
esac
`;

/** What lintian finds though it is meant. lintian(1) */
const overrides = `# Deno is built elsewhere, with its libraries in it, and comes from npm as it is.
${PACKAGE}: embedded-library
${PACKAGE}: unstripped-binary-or-object
${PACKAGE}: hardening-no-bindnow
${PACKAGE}: hardening-no-fortify-functions
${PACKAGE}: hardening-no-pie
${PACKAGE}: hardening-no-relro
# The package is made from another repository than Debian's.
${PACKAGE}: initial-upload-closes-no-bugs
`;

/** Facts of a package that the release's ingredients do not have. */
export interface DebianFacts {
  /** Name and address, as `A Person <a.person@example.com>`. */
  readonly maintainer: string;
  /** Where the source is, if it is known. */
  readonly homepage?: string;
}

/** The package's version: that of the program, and the number of the packaging. */
const debianVersion = (version: string) => `${version}-1`;

/** The file name of the package. */
export function debianName({ version, architecture }: Pick<Ingredients, "version" | "architecture">): string {
  return `${PACKAGE}_${debianVersion(version)}_${architecture}.deb`;
}

function control({ version, architecture }: Ingredients, { maintainer, homepage }: DebianFacts, kib: number): string {
  return `Package: ${PACKAGE}
Version: ${debianVersion(version)}
Architecture: ${architecture}
Maintainer: ${maintainer}
Installed-Size: ${kib}
Depends: libc6 (>= 2.34), libgcc-s1
Recommends: libseccomp2
Suggests: criu (>= 3.15), libsystemd0, uidmap
Section: admin
Priority: optional
${homepage === undefined ? "" : `Homepage: ${homepage}\n`}Description: container runtime with runc's command line
 Starts and manages Linux containers from OCI bundles, with the command line,
 the output and the state files of runc. Docker, containerd, Podman, Buildah and
 CRI-O can use it as their runtime, also beside runc.
 .
 The program is called ${PACKAGE}. At installation, it takes a snapshot of
 itself, so that a command does not start Deno.
`;
}

/** A text as a field's value in the copyright file: indented, a point on empty lines. */
const indented = (text: string) => text.trimEnd().split("\n").map((line) => line === "" ? " ." : ` ${line}`).join("\n");

function copyright({ licences }: Ingredients, { homepage }: DebianFacts): string {
  return `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: runc in TypeScript
${homepage === undefined ? "" : `Source: ${homepage}\n`}
Files: *
Copyright: the authors of runc in TypeScript
License: Apache-2.0

Files: usr/lib/${PACKAGE}/deno
Copyright: 2018-2026 the Deno authors
License: Expat
Comment: Deno contains V8 (BSD-3-Clause, below), the TypeScript compiler
 (Apache-2.0), SQLite (in the public domain) and Rust libraries. Deno's
 Cargo.lock lists these. sbom.cdx.json, in this directory, has the versions.

Files: usr/lib/${PACKAGE}/deno/v8
Copyright: 2006-2026 the V8 project authors
License: BSD-3-Clause

License: Apache-2.0
 On Debian systems, the text of the Apache License, Version 2.0, is in
 /usr/share/common-licenses/Apache-2.0.

License: Expat
${indented(licences.get("deno.txt") ?? "")}

License: BSD-3-Clause
${indented(licences.get("v8.txt") ?? "")}
`;
}

function changelog({ version, epoch }: Ingredients, { maintainer }: DebianFacts): string {
  const date = new Date(epoch * 1000).toUTCString().replace("GMT", "+0000");
  return `${PACKAGE} (${debianVersion(version)}) unstable; urgency=medium

  * Package of version ${version}. changelog.gz has its changes.

 -- ${maintainer}  ${date}
`;
}

/** Where Debian has what releases have elsewhere below share/. */
const placeOf = (path: string) => path.replace(/^zsh\/site-functions\//, "zsh/vendor-completions/");

/** The files of the package, without a slash at the beginning. */
export async function packageFiles(ingredients: Ingredients, facts: DebianFacts): Promise<Tree> {
  const directory = DIRECTORY.slice(1), share = "usr/share", doc = `${share}/doc/${PACKAGE}`;
  const start = launcher(`${DIRECTORY}/deno`, DIRECTORY, `install the package ${PACKAGE} again`);
  const files = new Map<string, Entry>([
    ...[...programFiles(ingredients)].map(([name, entry]): [string, Entry] => [`${directory}/${name}`, entry]),
    [`${directory}/runc.sh`, textFile(start, 0o755)],
    [`usr/bin/${PACKAGE}`, { kind: "link", to: `../lib/${PACKAGE}/runc` }],
    [`${doc}/copyright`, textFile(copyright(ingredients, facts))],
    [`${doc}/changelog.gz`, await compressed(ingredients.changelog)],
    [`${doc}/changelog.Debian.gz`, await compressed(changelog(ingredients, facts))],
    [`${share}/lintian/overrides/${PACKAGE}`, textFile(overrides)],
  ]);
  for (const [name, text] of ingredients.documents(PACKAGE)) {
    const path = `${share}/${placeOf(name)}`;
    if (name.startsWith("man/")) files.set(`${path}.gz`, await compressed(text));
    else files.set(path, textFile(text));
  }
  return files.set(`${doc}/sbom.cdx.json`, textFile(await ingredients.sbom(files)));
}

async function compressed(text: string): Promise<Entry> {
  return { kind: "file", content: await gzip(new TextEncoder().encode(text), 9), mode: 0o644 };
}

/** The size of the installed files in KiB, each rounded up, one for each link. deb-substvars(5), Installed-Size */
function installedKib(files: Tree): number {
  return [...files.values()].reduce(
    (sum, entry) => sum + (entry.kind === "file" ? Math.ceil(entry.content.length / 1024) : 1),
    0,
  );
}

/** The package's files as one `.deb`. `md5`: the hash of a file in hex. */
export async function debianPackage(
  ingredients: Ingredients,
  facts: DebianFacts,
  md5: (content: Uint8Array<ArrayBuffer>) => Promise<string>,
): Promise<Uint8Array<ArrayBuffer>> {
  const { epoch } = ingredients;
  const files = await packageFiles(ingredients, facts);
  const sums: string[] = [];
  for (const [path, entry] of files) if (entry.kind === "file") sums.push(`${await md5(entry.content)}  ${path}\n`);
  const scripts: Tree = new Map([
    ["control", textFile(control(ingredients, facts, installedKib(files)))],
    ["md5sums", textFile(sums.join(""))],
    ["postinst", textFile(postinst, 0o755)],
    ["postrm", textFile(postrm, 0o755)],
    ["prerm", textFile(prerm, 0o755)],
  ]);
  const options = { epoch, prefix: "./" };
  return arArchive(
    new Map([
      ["debian-binary", new TextEncoder().encode("2.0\n")],
      ["control.tar.gz", await gzip(tar(scripts, options), LEVEL)],
      ["data.tar.gz", await gzip(tar(files, options), LEVEL)],
    ]),
    epoch,
  );
}
