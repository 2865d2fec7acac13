/** Archives for tests, also broken and malicious ones. Pure. */

/** One entry; what is absent is usual. */
export interface Written {
  readonly name: string | Uint8Array;
  /** `0` file, `1` link, `2` symlink, `3` char, `4` block, `5` directory, `6` fifo, … */
  readonly type?: string;
  readonly linkName?: string;
  readonly content?: string | Uint8Array;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtime?: number;
  readonly major?: number;
  readonly minor?: number;
  /** `ustar` (the default), `gnu`, or `v7` without a magic. */
  readonly format?: "ustar" | "gnu" | "v7";
  readonly prefix?: string;
  /** The header's size, if it is not the content's. */
  readonly size?: number;
  /** Records of a pax header before it. */
  readonly pax?: Readonly<Record<string, string | Uint8Array>>;
}

export const utf8 = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text);

const bytesOf = (value: string | Uint8Array): Uint8Array => typeof value === "string" ? utf8(value) : value;

const octal = (value: number, length: number) => utf8(`${value.toString(8).padStart(length - 1, "0")}\0`);

/** A header block with a right checksum. */
export function header(entry: Written): Uint8Array<ArrayBuffer> {
  const block = new Uint8Array(512);
  const { mode = 0o644, uid = 0, gid = 0, mtime = 0, major = 0, minor = 0, format = "ustar" } = entry;
  block.set(bytesOf(entry.name).subarray(0, 100));
  block.set(octal(mode, 8), 100);
  block.set(octal(uid, 8), 108);
  block.set(octal(gid, 8), 116);
  block.set(octal(entry.size ?? bytesOf(entry.content ?? "").length, 12), 124);
  block.set(octal(mtime, 12), 136);
  block.set(utf8(entry.type ?? "0"), 156);
  block.set(utf8(entry.linkName ?? "").subarray(0, 100), 157);
  block.set(utf8(format === "ustar" ? "ustar\x0000" : format === "gnu" ? "ustar  \0" : ""), 257);
  block.set(octal(major, 8), 329);
  block.set(octal(minor, 8), 337);
  block.set(utf8(entry.prefix ?? ""), 345);
  return withChecksum(block);
}

/** Sets the checksum of a changed block. */
export function withChecksum(block: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  block.fill(32, 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.set(utf8(`${sum.toString(8).padStart(6, "0")}\0 `), 148);
  return block;
}

function padded(content: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(Math.ceil(content.length / 512) * 512);
  bytes.set(content);
  return bytes;
}

/** One record of a pax header. */
export function record(key: string, value: string | Uint8Array): Uint8Array<ArrayBuffer> {
  const rest = join([utf8(` ${key}=`), bytesOf(value), utf8("\n")]);
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length++;
  return join([utf8(String(length)), rest]);
}

export function join(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((total, part) => total + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** The blocks of one entry. */
export function written(entry: Written): Uint8Array<ArrayBuffer> {
  const extension = entry.pax === undefined ? [] : [written({
    name: "pax",
    type: "x",
    content: join(Object.entries(entry.pax).map(([key, value]) => record(key, value))),
  })];
  return join([...extension, header(entry), padded(bytesOf(entry.content ?? ""))]);
}

/** A whole archive. */
export function tar(...entries: readonly Written[]): Uint8Array<ArrayBuffer> {
  return join([...entries.map(written), new Uint8Array(1024)]);
}

/** `bytes`, compressed. */
export async function gzip(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** `sha256:…` */
export async function digestOf(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return `sha256:${hash.toHex()}`;
}
