/**
 * Headers of tar archives: what GNU tar and busybox both read. Pure.
 *
 * @see tar(5)
 * @module
 */

import { bytesOf, type ByteString, byteString } from "./byte_string.ts";
import { BLOCK } from "./header.ts";

/** An entry without its content. */
export interface WrittenEntry {
  readonly type: "file" | "directory" | "symlink";
  readonly name: ByteString;
  /** Of a symlink. */
  readonly linkName?: ByteString;
  readonly mode: number;
  /** Bytes of a file. */
  readonly size: number;
  /** In seconds. */
  readonly mtime: number;
  /** Name of the owner and of the group, whose numbers are 0; by default there is none. */
  readonly owner?: ByteString;
}

const typeFlags = { file: "0", directory: "5", symlink: "2" } as const;
/** Fields of ustar. */
const NAME_LENGTH = 100, OWNER_LENGTH = 31, OCTAL_SIZE_LIMIT = 8 ** 11;

const ascii = (text: string) => byteString(new TextEncoder().encode(text));

/** The header of an entry; a long name comes before it. The content has to follow, filled up by {@link padding}. */
export function tarHeader(entry: WrittenEntry): Uint8Array<ArrayBuffer> {
  const { name, linkName = "" as ByteString } = entry;
  const long = [
    ...(linkName.length > NAME_LENGTH ? longName("K", linkName) : []),
    ...(name.length > NAME_LENGTH ? longName("L", name) : []),
  ];
  return joinedBytes([...long, block(typeFlags[entry.type], entry)]);
}

/** The end of an archive. */
export const tarEnd = (): Uint8Array<ArrayBuffer> => new Uint8Array(2 * BLOCK);

/** What follows a content of `size` bytes. */
export const padding = (size: number): Uint8Array<ArrayBuffer> => new Uint8Array((BLOCK - size % BLOCK) % BLOCK);

/** busybox does not read pax's names. */
function longName(flag: "K" | "L", name: ByteString): readonly Uint8Array<ArrayBuffer>[] {
  const content = joinedBytes([bytesOf(name), Uint8Array.of(0)]);
  const header = { name: ascii("././@LongLink"), mode: 0, mtime: 0, size: content.length };
  return [block(flag, header), content, padding(content.length)];
}

function block(flag: string, entry: Omit<WrittenEntry, "type">): Uint8Array<ArrayBuffer> {
  const { name, linkName = "" as ByteString, mode, size, mtime, owner } = entry;
  const bytes = new Uint8Array(BLOCK);
  const put = (at: number, text: ByteString) => bytes.set(bytesOf(text), at);
  const octal = (value: number, width: number) => ascii(value.toString(8).padStart(width - 1, "0"));
  put(0, name.slice(0, NAME_LENGTH) as ByteString);
  put(100, octal(mode & 0o7777, 8));
  put(108, octal(0, 8));
  put(116, octal(0, 8));
  if (size < OCTAL_SIZE_LIMIT) put(124, octal(size, 12));
  else base256(bytes, size);
  put(136, octal(Math.max(0, Math.min(Math.floor(mtime), OCTAL_SIZE_LIMIT - 1)), 12));
  put(148, ascii("        "));
  put(156, ascii(flag));
  put(157, linkName.slice(0, NAME_LENGTH) as ByteString);
  put(257, ascii("ustar  "));
  if (owner !== undefined) { for (const at of [265, 297]) put(at, owner.slice(0, OWNER_LENGTH) as ByteString); }
  const sum = bytes.reduce((total, byte) => total + byte, 0);
  put(148, ascii(`${sum.toString(8).padStart(6, "0")}\0 `));
  return bytes;
}

/** A size of 8 GiB or more: GNU's binary form. */
function base256(bytes: Uint8Array, size: number): void {
  new DataView(bytes.buffer).setBigUint64(124 + 4, BigInt(size));
  bytes[124] = 0x80;
}

function joinedBytes(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}
