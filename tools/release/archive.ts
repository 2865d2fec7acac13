/**
 * Writes archives whose bytes depend only on their content: tar in the ustar format, the ar format of Debian packages,
 * gzip. Pure.
 *
 * @module
 */

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

const BLOCK = 512;

/** `struct posix_header`: offset and size in bytes. POSIX.1-2017, pax, "ustar Interchange Format". */
const ustar = {
  name: [0, 100],
  mode: [100, 8],
  uid: [108, 8],
  gid: [116, 8],
  size: [124, 12],
  mtime: [136, 12],
  chksum: [148, 8],
  typeflag: [156, 1],
  linkname: [157, 100],
  magic: [257, 6],
  version: [263, 2],
  uname: [265, 32],
  gname: [297, 32],
} as const;

/** Writes the fields' texts into a header of blanks or zeros. @throws {RangeError} if one is too long. */
function put(
  header: Uint8Array,
  layout: Readonly<Record<string, readonly [number, number]>>,
  fields: Record<string, string>,
): void {
  for (const [name, text] of Object.entries(fields)) {
    const [offset, size] = layout[name]!;
    const bytes = encoder.encode(text);
    if (bytes.length > size) throw new RangeError(`"${text}" is longer than the ${size} bytes of ${name}`);
    header.set(bytes, offset);
  }
}

/** A number as tar has it: octal digits, and a zero byte at the end. */
const octal = (value: number, size: number) => value.toString(8).padStart(size - 1, "0");

interface Header {
  readonly path: string;
  readonly mode: number;
  readonly size: number;
  readonly type: "0" | "2" | "5";
  readonly linkname?: string;
}

function tarHeader({ path, mode, size, type, linkname = "" }: Header, epoch: number): Uint8Array<ArrayBuffer> {
  const header = new Uint8Array(BLOCK);
  put(header, ustar, {
    name: path,
    mode: octal(mode, 8),
    uid: octal(0, 8),
    gid: octal(0, 8),
    size: octal(size, 12),
    mtime: octal(epoch, 12),
    // The sum is made with blanks in its own place.
    chksum: " ".repeat(8),
    typeflag: type,
    linkname,
    magic: "ustar",
    version: "00",
    uname: "root",
    gname: "root",
  });
  const sum = header.reduce((total, byte) => total + byte, 0);
  put(header, ustar, { chksum: `${octal(sum, 7)}\0 ` });
  return header;
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
  const directories = new Set(directoriesOf([...tree.keys()]));
  if (prefix !== "") parts.push(tarHeader({ path: prefix, mode: 0o755, size: 0, type: "5" }, epoch));
  for (const name of [...directories, ...tree.keys()].toSorted()) {
    const entry = tree.get(name), path = `${prefix}${name}`;
    if (entry === undefined) {
      parts.push(tarHeader({ path: `${path}/`, mode: 0o755, size: 0, type: "5" }, epoch));
    } else if (entry.kind === "link") {
      parts.push(tarHeader({ path, mode: 0o777, size: 0, type: "2", linkname: entry.to }, epoch));
    } else {
      const { content, mode } = entry;
      parts.push(tarHeader({ path, mode, size: content.length, type: "0" }, epoch), content);
      parts.push(new Uint8Array((BLOCK - content.length % BLOCK) % BLOCK));
    }
  }
  // The end: two blocks of zeros.
  return join([...parts, new Uint8Array(2 * BLOCK)]);
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

/** An ar archive, with the members in their order. */
export function arArchive(
  members: ReadonlyMap<string, Uint8Array<ArrayBuffer>>,
  epoch: number,
): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [encoder.encode("!<arch>\n")];
  for (const [name, content] of members) {
    const header = new Uint8Array(60).fill(" ".charCodeAt(0));
    const size = String(content.length);
    put(header, ar, { name, mtime: String(epoch), uid: "0", gid: "0", mode: "100644", size, end: "`\n" });
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
