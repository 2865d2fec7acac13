/**
 * Writes archives whose bytes depend only on their content: tar, the ar format of Debian packages, gzip. Pure.
 *
 * @module
 */

import { type ByteString, utf8ByteString } from "../../lib/sandbox/rootfs/tar/byte_string.ts";
import { padding, tarEnd, tarHeader, type WrittenEntry } from "../../lib/sandbox/rootfs/tar/tar_header.ts";

/** One file of an archive. */
export type Entry =
  | { readonly kind: "file"; readonly content: Uint8Array<ArrayBuffer>; readonly mode: number }
  | { readonly kind: "link"; readonly to: string };

/** Files by path, without a slash at the beginning. */
export type Tree = ReadonlyMap<string, Entry>;

const encoder = new TextEncoder();

/** A file of text, readable for everybody. */
export function textFile(text: string, mode = 0o644): Entry {
  return { kind: "file", content: encoder.encode(text), mode };
}

/** The directories that the paths are in, parents first. */
function directoriesOf(paths: readonly string[]): readonly string[] {
  const all = paths.flatMap((path) => {
    const names = path.split("/").slice(0, -1);
    return names.map((_, index) => names.slice(0, index + 1).join("/"));
  });
  return [...new Set(all)];
}

/**
 * A tar archive: every directory before what is in it, by name, owned by root. `epoch`: the time of all entries in
 * seconds. `prefix`: in front of each path, such as `./`.
 */
export function tar(tree: Tree, { epoch, prefix = "" }: { epoch: number; prefix?: string }): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [];
  const add = (type: WrittenEntry["type"], path: string, mode: number, { size = 0, to = "" } = {}) => {
    const [name, linkName, owner] = [path, to, "root"].map(utf8ByteString) as [ByteString, ByteString, ByteString];
    parts.push(tarHeader({ type, name, linkName, mode, size, mtime: epoch, owner }));
  };
  const directories = new Set(directoriesOf([...tree.keys()]));
  if (prefix !== "") add("directory", prefix, 0o755);
  for (const name of [...directories, ...tree.keys()].toSorted()) {
    const entry = tree.get(name), path = `${prefix}${name}`;
    if (entry === undefined) add("directory", `${path}/`, 0o755);
    else if (entry.kind === "link") add("symlink", path, 0o777, { to: entry.to });
    else {
      const { content, mode } = entry, size = content.length;
      add("file", path, mode, { size });
      parts.push(content, padding(size));
    }
  }
  return join([...parts, tarEnd()]);
}

/** The header of a member in the ar format, deb(5). */
const ar = {
  name: [0, 16],
  mtime: [16, 12],
  uid: [28, 6],
  gid: [34, 6],
  mode: [40, 8],
  size: [48, 10],
  end: [58, 2],
} as const;

/** Writes the fields' texts into a header. @throws {RangeError} if one is too long. */
function put(header: Uint8Array, fields: Readonly<Record<keyof typeof ar, string>>): void {
  for (const name of Object.keys(ar) as (keyof typeof ar)[]) {
    const [offset, size] = ar[name], bytes = encoder.encode(fields[name]);
    if (bytes.length > size) throw new RangeError(`"${fields[name]}" is longer than the ${size} bytes of ${name}`);
    header.set(bytes, offset);
  }
}

/** An ar archive, with the members in their order. */
export function arArchive(
  members: ReadonlyMap<string, Uint8Array<ArrayBuffer>>,
  epoch: number,
): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [encoder.encode("!<arch>\n")];
  for (const [name, content] of members) {
    const header = new Uint8Array(60).fill(" ".charCodeAt(0));
    const size = String(content.length);
    put(header, { name, mtime: String(epoch), uid: "0", gid: "0", mode: "100644", size, end: "`\n" });
    // Members begin at even offsets.
    parts.push(header, content, encoder.encode("\n").subarray(0, content.length % 2));
  }
  return join(parts);
}

/** The part of Node's `zlib` that is used. */
interface Zlib {
  gzipSync(bytes: Uint8Array, options: { readonly level: number }): Uint8Array<ArrayBuffer>;
}

/** How much a whole archive is compressed: a higher level takes six times as long for 3 % less. */
export const LEVEL = 6;

/** Compresses. The header has neither name nor time. `level`: from 1 to 9; web streams have no such option. */
export async function gzip(bytes: Uint8Array, level: number): Promise<Uint8Array<ArrayBuffer>> {
  // For a literal name the type checker would need Node's types from npm.
  const name: string = "node:zlib";
  const zlib = await import(name) as Zlib;
  return new Uint8Array(zlib.gzipSync(bytes, { level }));
}

function join(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}
