/**
 * Extended headers of pax: records `LENGTH KEY=VALUE\n`. Pure.
 *
 * @see pax(1), "pax Extended Header"
 * @module
 */

import { bytesOf, type ByteString, byteString } from "./byte_string.ts";
import { type Header, invalidArchive } from "./header.ts";

/** Values by key. An empty value means that the key does not count. */
export type Records = ReadonlyMap<string, ByteString>;

const XATTR = "SCHILY.xattr.";

/** Reads the records of one extended header. @throws {RuncError} `image-invalid` */
export function parseRecords(content: Uint8Array): Records {
  const records = new Map<string, ByteString>();
  let rest = byteString(content);
  while (rest !== "") {
    const [, digits] = /^([1-9]\d{0,9}) /.exec(rest) ?? [];
    const length = Number(digits);
    const record = rest.slice((digits?.length ?? 0) + 1, length);
    const equals = record.indexOf("=");
    if (digits === undefined || length > rest.length || equals < 1 || !record.endsWith("\n")) {
      throw invalidArchive("a record of an extended header is broken");
    }
    records.set(record.slice(0, equals), record.slice(equals + 1, -1) as ByteString);
    rest = rest.slice(length) as ByteString;
  }
  return records;
}

/** What extended headers say about the next entry. */
export interface Extension {
  readonly header: Header;
  /** Extended attributes by name. */
  readonly xattrs: ReadonlyMap<string, Uint8Array<ArrayBuffer>>;
  /** Nanoseconds of the time of change. */
  readonly mtimeNanoseconds: number;
}

/** `header` with what the records say. @throws {RuncError} `image-invalid` */
export function extend(header: Header, records: Records): Extension {
  const given = new Map([...records].filter(([, value]) => value !== ""));
  const xattrs = new Map<string, Uint8Array<ArrayBuffer>>();
  // An attribute may have an empty value.
  for (const [key, value] of records) if (key.startsWith(XATTR)) xattrs.set(key.slice(XATTR.length), bytesOf(value));
  const integer = (key: string, otherwise: number): number => {
    const value = given.get(key);
    if (value === undefined) return otherwise;
    if (!/^\d{1,15}$/.test(value)) throw invalidArchive(`${key} of an extended header is not a number`);
    return Number(value);
  };
  const [mtime, mtimeNanoseconds] = time(given.get("mtime"), header.mtime);
  return {
    header: {
      ...header,
      // The path of a sparse file is for readers that do not know them.
      name: given.get("GNU.sparse.name") ?? given.get("path") ?? header.name,
      linkName: given.get("linkpath") ?? header.linkName,
      uid: integer("uid", header.uid),
      gid: integer("gid", header.gid),
      size: integer("size", header.size),
      mtime,
    },
    xattrs,
    mtimeNanoseconds,
  };
}

/** Seconds and nanoseconds of `1350244992.023960108`, also below zero. */
function time(value: string | undefined, otherwise: number): readonly [seconds: number, nanoseconds: number] {
  if (value === undefined) return [otherwise, 0];
  const [, sign, whole, fraction = ""] = /^(-?)(\d{1,15})(?:\.(\d*))?$/.exec(value) ?? [];
  if (whole === undefined) throw invalidArchive("mtime of an extended header is not a number");
  const nanoseconds = Number(fraction.slice(0, 9).padEnd(9, "0"));
  const seconds = Number(whole);
  if (sign === "") return [seconds, nanoseconds];
  return nanoseconds === 0 ? [0 - seconds, 0] : [-seconds - 1, 1_000_000_000 - nanoseconds];
}
