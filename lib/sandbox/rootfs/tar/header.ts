/**
 * A header block of a tar archive: ustar, GNU tar's, and the one of Unix v7. Pure.
 *
 * @see pax(1), "ustar Interchange Format"; tar(5) of FreeBSD
 * @module
 */

import { RuncError } from "../../../errors.ts";
import { type ByteString, byteString } from "./byte_string.ts";

/** Headers and contents start at multiples of this. */
export const BLOCK = 512;

/** One header block. Extended headers may change what it says. */
export interface Header {
  /** Prefix and name. */
  readonly name: ByteString;
  /** Permission bits, with setuid, setgid and sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes of content that follow. */
  readonly size: number;
  /** Seconds since 1970. */
  readonly mtime: number;
  /** One character: `0`, `5`, `x`, … A NUL, as in v7, is `0`, or `5` if the name ends with a slash. */
  readonly type: string;
  readonly linkName: ByteString;
  readonly major: number;
  readonly minor: number;
}

/** The error for an archive that is damaged or malicious. */
export function invalidArchive(message: string): RuncError {
  return new RuncError("image-invalid", `invalid archive: ${message}`);
}

const fields = {
  name: [0, 100],
  mode: [100, 8],
  uid: [108, 8],
  gid: [116, 8],
  size: [124, 12],
  mtime: [136, 12],
  checksum: [148, 8],
  type: [156, 1],
  linkName: [157, 100],
  magic: [257, 8],
  major: [329, 8],
  minor: [337, 8],
  prefix: [345, 155],
} as const satisfies Readonly<Record<string, readonly [start: number, length: number]>>;

type Field = keyof typeof fields;

function field(block: Uint8Array, name: Field): Uint8Array {
  const [start, length] = fields[name];
  return block.subarray(start, start + length);
}

/** The bytes before the first NUL. */
function text(block: Uint8Array, name: Field): ByteString {
  const bytes = field(block, name);
  const end = bytes.indexOf(0);
  return byteString(end === -1 ? bytes : bytes.subarray(0, end));
}

/** An octal number in ASCII, or GNU's base-256: the first bit set, the rest a big-endian two's complement. */
export function parseNumber(bytes: Uint8Array, name: string): number {
  if ((bytes[0]! & 0x80) !== 0) return base256(bytes, name);
  const digits = byteString(bytes).replace(/^[ \0]+/, "").replace(/[ \0][^]*$/, "");
  if (!/^[0-7]*$/.test(digits)) throw invalidArchive(`the header's ${name} is not an octal number`);
  return digits === "" ? 0 : parseInt(digits, 8);
}

const number = (block: Uint8Array, name: Field): number => parseNumber(field(block, name), name);

function base256(bytes: Uint8Array, name: string): number {
  let value = (bytes[0]! & 0x40) !== 0 ? -1n : 0n;
  for (const [index, byte] of bytes.entries()) {
    value = value << 8n | BigInt(index === 0 && value === 0n ? byte & 0x7f : byte);
  }
  const result = Number(value);
  if (!Number.isSafeInteger(result)) throw invalidArchive(`the header's ${name} is out of range`);
  return result;
}

/** The sum of the bytes, with blanks for the sum itself. Some old programs added signed bytes. */
function hasChecksum(block: Uint8Array): boolean {
  const [start, length] = fields.checksum;
  let unsigned = 32 * length, signed = 32 * length;
  for (let index = 0; index < BLOCK; index++) {
    if (index >= start && index < start + length) continue;
    const byte = block[index]!;
    unsigned += byte;
    signed += byte > 127 ? byte - 256 : byte;
  }
  const expected = number(block, "checksum");
  return expected === unsigned || expected === signed;
}

/** Whether all bytes are zero: two such blocks end an archive. */
export function isEmptyBlock(block: Uint8Array): boolean {
  return block.every((byte) => byte === 0);
}

/** Reads one block of {@link BLOCK} bytes. @throws {RuncError} `image-invalid` */
export function parseHeader(block: Uint8Array): Header {
  if (!hasChecksum(block)) throw invalidArchive("a header's checksum is wrong");
  const size = number(block, "size");
  if (size < 0) throw invalidArchive("a header's size is negative");
  // "ustar\0" is POSIX's magic. GNU's is "ustar  \0", and has other fields in place of the prefix.
  const prefix = byteString(field(block, "magic")).startsWith("ustar\0") ? text(block, "prefix") : "" as ByteString;
  const name = text(block, "name");
  const type = text(block, "type") || (name.endsWith("/") ? "5" : "0");
  return {
    name: (prefix === "" ? name : `${prefix}/${name}`) as ByteString,
    mode: number(block, "mode") & 0o7777,
    uid: number(block, "uid"),
    gid: number(block, "gid"),
    size,
    mtime: number(block, "mtime"),
    type,
    linkName: text(block, "linkName"),
    ...deviceNumbers(block, type),
  };
}

/** Only devices have them. Other entries may have anything in these fields. */
function deviceNumbers(block: Uint8Array, type: string): { major: number; minor: number } {
  if (type !== "3" && type !== "4") return { major: 0, minor: 0 };
  const major = number(block, "major"), minor = number(block, "minor");
  // The kernel has 12 and 20 bits: include/linux/kdev_t.h
  if (major < 0 || major > 0xfff || minor < 0 || minor > 0xfffff) {
    throw invalidArchive("a device number is out of range");
  }
  return { major, minor };
}
