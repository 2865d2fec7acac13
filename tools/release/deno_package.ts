/**
 * Deno's binary for an architecture, from npm, as package-lock.json pins it.
 *
 * @module
 */

import { join } from "@std/path";
import lock from "../../package-lock.json" with { type: "json" };
import { giveUp, reason, runTool } from "../bundle.ts";

/** The architectures of packages, with the names that npm's packages have for them. */
export const architectures = { amd64: "x64", arm64: "arm64" } as const;

/** An architecture, under Debian's name. */
export type Architecture = keyof typeof architectures;

/** A package that is pinned. */
export interface Pinned {
  readonly name: string;
  readonly version: string;
  /** `sha512-` and the hash in base64. */
  readonly integrity: string;
}

/** The npm package that has Deno for an architecture. */
export function denoPackage(architecture: Architecture): Pinned {
  const name = `@deno/linux-${architectures[architecture]}-glibc` as const;
  const { version, integrity } = lock.packages[`node_modules/${name}`];
  return { name, version, integrity };
}

/** Fetches Deno's binary. npm keeps packages, so it downloads each of them once. */
export async function fetchDeno(pinned: Pinned): Promise<Uint8Array<ArrayBuffer>> {
  const directory = Deno.makeTempDirSync({ prefix: "runc-release-" });
  try {
    const spec = `${pinned.name}@${pinned.version}`;
    const flags = ["pack", "--prefer-offline", "--loglevel=error", "--pack-destination", directory, spec];
    const packed = runTool("npm", flags);
    if (!packed.success) giveUp(`npm pack ${spec} failed: ${reason(packed.stderr)}`);
    const archive = join(directory, packed.stdout.trim());
    await verify(archive, pinned);
    const unpacked = runTool("tar", ["--extract", "--file", archive, "--directory", directory, "package/deno"]);
    if (!unpacked.success) giveUp(`${spec} has no Deno: ${reason(unpacked.stderr)}`);
    return Deno.readFileSync(join(directory, "package/deno"));
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

/** Compares the hash of a package with the pinned one. */
async function verify(archive: string, { name, integrity }: Pinned): Promise<void> {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-512", Deno.readFileSync(archive)));
  const found = `sha512-${btoa(String.fromCharCode(...hash))}`;
  if (found !== integrity) giveUp(`${name} is not what package-lock.json pins: ${found}`);
}
