/**
 * The list of what is in a package (software bill of materials), in CycloneDX 1.5 JSON. Pure.
 *
 * @see https://cyclonedx.org/docs/1.5/json/
 * @module
 */

/** What the list is made from. */
export interface SbomFacts {
  readonly version: string;
  /** Of the package: amd64, arm64. */
  readonly architecture: string;
  /** The commit that it was built from, if known. */
  readonly commit?: string;
  /** The time of the source, in seconds. */
  readonly epoch: number;
  /** The npm package of Deno: its name, and its hash in package-lock.json, as `sha512-` and base64. */
  readonly deno: { readonly name: string; readonly version: string; readonly integrity: string };
  /** What Deno contains, as Deno itself says. */
  readonly inDeno: { readonly v8: string; readonly typescript: string; readonly sqlite: string };
  readonly esbuild: string;
  /** The files of the package by path, with their SHA-256 in hex. */
  readonly files: ReadonlyMap<string, string>;
}

const licence = (id: string) => [{ license: { id } }];

const hexOf = (base64: string) =>
  Array.from(atob(base64), (character) => character.charCodeAt(0).toString(16).padStart(2, "0")).join("");

const hash = (alg: "SHA-256" | "SHA-512", content: string) => [{ alg, content }];

const npm = (name: string, version: string) => `pkg:npm/${name.replace("@", "%40")}@${version}`;

/** What Deno's binary contains. Its Rust crates are not in the binary's own lists; Deno's Cargo.lock has them. */
function components({ inDeno }: SbomFacts): readonly unknown[] {
  const parts: readonly [name: string, version: string, licence: string, description: string][] = [
    ["v8", inDeno.v8, "BSD-3-Clause", "JavaScript engine"],
    ["typescript", inDeno.typescript, "Apache-2.0", "compiler of TypeScript; not used at run time"],
    ["sqlite", inDeno.sqlite, "blessing", "database; the launcher's code cache is one"],
  ];
  return parts.map(([name, version, id, description]) => ({
    type: "library",
    "bom-ref": name,
    name,
    version,
    description,
    licenses: licence(id),
  }));
}

/** The list. Equal facts give equal text. */
export function sbom(facts: SbomFacts): string {
  const { version, architecture, commit, deno, esbuild, files } = facts;
  const program = {
    type: "application",
    "bom-ref": "runc-ts",
    name: "runc-ts",
    version,
    description: `container runtime, for ${architecture}`,
    licenses: licence("Apache-2.0"),
    properties: [
      { name: "runc-ts:architecture", value: architecture },
      ...(commit === undefined ? [] : [{ name: "runc-ts:commit", value: commit }]),
      // The snapshot is made from these files, and has the memory of a process with the machine's libc in it.
      {
        name: "runc-ts:made-at-installation",
        value: "runc, cache/: from the files listed here and the machine's libc",
      },
    ],
  };
  const denoComponent = {
    type: "application",
    "bom-ref": "deno",
    name: "deno",
    version: deno.version,
    purl: npm(deno.name, deno.version),
    hashes: hash("SHA-512", hexOf(deno.integrity.replace(/^sha512-/, ""))),
    licenses: licence("MIT"),
    description: "runs TypeScript; the binary of the npm package",
    components: components(facts),
  };
  const own = [...files].map(([path, sha256]) => ({
    type: "file",
    "bom-ref": `file:${path}`,
    name: path,
    hashes: hash("SHA-256", sha256),
  }));
  const document = {
    bomFormat: "CycloneDX",
    specVersion: "1.5",
    version: 1,
    metadata: {
      timestamp: new Date(facts.epoch * 1000).toISOString(),
      tools: {
        components: [
          { type: "application", name: "deno", version: deno.version },
          { type: "application", name: "esbuild", version: esbuild },
        ],
      },
      component: program,
    },
    components: [denoComponent, ...own],
    dependencies: [{ ref: "runc-ts", dependsOn: ["deno"] }, { ref: "deno", dependsOn: ["v8", "typescript", "sqlite"] }],
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}
