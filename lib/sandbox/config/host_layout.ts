/**
 * What of the host's own files a sandbox may see: programs, libraries, and the parts of /etc that programs need and that
 * hold no secrets.
 *
 * @module
 */

import { inContext } from "../../errors.ts";
import { withFileErrors } from "../../ffi/file_error.ts";
import type { SandboxMount } from "./options.ts";

/** A file or directory at the top of the host's root, or in /etc. */
export interface HostEntry {
  /** Absolute. */
  readonly path: string;
  readonly kind: "directory" | "file" | "symlink";
  /** Of a symlink. */
  readonly target?: string;
}

/** Directories with programs and libraries. On most systems all but /usr are symlinks into it. */
const programDirectories = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "nix/store"];

/**
 * Parts of /etc. Certificates, but not the private keys beside them (/etc/ssl/private, /etc/pki/tls/private), and neither
 * passwd, shadow, hosts nor resolv.conf.
 */
const configuration = [
  "alternatives",
  "ca-certificates",
  "crypto-policies",
  "fonts",
  "ld.so.cache",
  "ld.so.conf",
  "ld.so.conf.d",
  "localtime",
  "magic",
  "mime.types",
  "pki/ca-trust",
  "pki/tls/cert.pem",
  "pki/tls/certs",
  "pki/tls/openssl.cnf",
  "protocols",
  "services",
  "ssl/cert.pem",
  "ssl/certs",
  "ssl/openssl.cnf",
  "terminfo",
];

/** Looks at the host's files. Runs in: parent. */
export function readHostLayout(): readonly HostEntry[] {
  const paths = [...programDirectories.map((name) => `/${name}`), ...configuration.map((name) => `/etc/${name}`)];
  return paths.map(entryAt).filter((entry) => entry !== undefined);
}

function entryAt(path: string): HostEntry | undefined {
  try {
    const { isSymlink, isDirectory, isFile } = Deno.lstatSync(path);
    if (isSymlink) return { path, kind: "symlink", target: Deno.readLinkSync(path) };
    if (isDirectory) return { path, kind: "directory" };
    return isFile ? { path, kind: "file" } : undefined;
  } catch (error) {
    // Nothing that the caller may not look at is shown.
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied) return undefined;
    throw error;
  }
}

/**
 * What the sources of mounts are, symlinks followed. Runs in: parent.
 *
 * @throws {RuncError} `syscall-failed` for one that does not exist.
 */
export function readSources(mounts: readonly SandboxMount[] = []): ReadonlyMap<string, "directory" | "file"> {
  return new Map(mounts.map(({ source }) => {
    const { isDirectory } = inContext("mounts", () => withFileErrors(() => Deno.statSync(source)));
    return [source, isDirectory ? "directory" : "file"];
  }));
}
