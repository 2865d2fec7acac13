/**
 * The entries of a tar archive, one after the other, as a stream: ustar, pax, GNU long names.
 *
 * @module
 */

import { RuncError } from "../../../errors.ts";
import type { ByteReader } from "../byte_reader.ts";
import { type ByteString, byteString } from "./byte_string.ts";
import { BLOCK, type Header, invalidArchive, isEmptyBlock, parseHeader } from "./header.ts";
import { extend, parseRecords, type Records } from "./pax.ts";

/** What an entry is. `other` is a type that unpacking leaves out. */
export type EntryType = "file" | "link" | "symlink" | "char" | "block" | "directory" | "fifo" | "other";

const types: Readonly<Record<string, EntryType>> = {
  "0": "file",
  "1": "link",
  "2": "symlink",
  "3": "char",
  "4": "block",
  "5": "directory",
  "6": "fifo",
  // POSIX: a contiguous file; a reader that does not know them treats it as a file.
  "7": "file",
};

/** One entry. */
export interface TarEntry {
  readonly type: EntryType;
  /** As the archive has it: not checked. */
  readonly name: ByteString;
  /** Target of a `link` or `symlink`: not checked. */
  readonly linkName: ByteString;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtime: { readonly seconds: number; readonly nanoseconds: number };
  readonly major: number;
  readonly minor: number;
  /** Bytes of a `file`; 0 for others. */
  readonly size: number;
  /** Where the content begins, in bytes from the start of the archive. */
  readonly offset: number;
  readonly xattrs: ReadonlyMap<string, Uint8Array<ArrayBuffer>>;
  /** The next piece of the content; undefined at its end. What is not read is skipped. */
  readonly read: () => Promise<Uint8Array<ArrayBuffer> | undefined>;
}

/** An extended header is held in memory. Linux allows 64 KiB for each attribute, and paths of 4 KiB. */
const EXTENSION_LIMIT = 1024 * 1024;

/** Reads entries until the end of the archive. */
export class TarReader {
  readonly #reader: ByteReader;
  #offset = 0;
  /** Bytes of the current content that have not been read, without padding. */
  #left = 0;
  #padding = 0;
  #global: Records = new Map();
  /** How many entries were returned: only the last one can be read. */
  #count = 0;

  constructor(reader: ByteReader) {
    this.#reader = reader;
  }

  /**
   * The next entry, or undefined at the end: after an empty block, or where the archive ends at the end of an entry.
   *
   * @throws {RuncError} `image-invalid` if the archive is damaged; `unsupported` for a sparse file.
   */
  async next(): Promise<TarEntry | undefined> {
    let records = this.#global;
    let name: ByteString | undefined, linkName: ByteString | undefined;
    for (;;) {
      const block = await this.#header();
      if (block === undefined) return undefined;
      const header = parseHeader(block);
      this.#content(header.size);
      if (header.type === "x") records = new Map([...records, ...parseRecords(await this.#extension(header))]);
      else if (header.type === "g") {
        this.#global = new Map([...this.#global, ...parseRecords(await this.#extension(header))]);
        records = new Map([...records, ...this.#global]);
      } else if (header.type === "L") name = withoutNul(await this.#extension(header));
      else if (header.type === "K") linkName = withoutNul(await this.#extension(header));
      else return this.#entry({ ...header, name: name ?? header.name, linkName: linkName ?? header.linkName }, records);
    }
  }

  /** A header block; undefined at the end of the archive. */
  async #header(): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const rest = this.#left + this.#padding;
    if (await this.#reader.skip(rest) !== rest) throw invalidArchive("it ends within an entry");
    this.#offset += rest;
    this.#content(0);
    const block = await this.#reader.upTo(BLOCK);
    this.#offset += block.length;
    if (block.length === 0) return undefined;
    if (block.length < BLOCK) throw invalidArchive("it ends within a header");
    return isEmptyBlock(block) ? undefined : block;
  }

  #content(size: number): void {
    this.#left = size;
    this.#padding = (BLOCK - size % BLOCK) % BLOCK;
  }

  async #extension({ size }: Header): Promise<Uint8Array<ArrayBuffer>> {
    if (size > EXTENSION_LIMIT) throw invalidArchive(`an extended header is longer than ${EXTENSION_LIMIT} bytes`);
    const content = await this.#reader.upTo(size);
    if (content.length < size) throw invalidArchive("it ends within an entry");
    this.#left = 0;
    this.#offset += size;
    return content;
  }

  #entry(short: Header, records: Records): TarEntry {
    const isSparse = short.type === "S" || [...records.keys()].some((key) => key.startsWith("GNU.sparse."));
    if (isSparse) {
      throw new RuncError("unsupported", "the archive has a sparse file", {
        hint: "make the archive again without --sparse",
      });
    }
    const { header, xattrs, mtimeNanoseconds } = extend(short, records);
    const type = types[header.type] ?? "other";
    // Old archives have a hard link's size but not its content. tar(5)
    this.#content(type === "file" || type === "other" ? header.size : 0);
    const number = ++this.#count;
    return {
      type,
      name: header.name,
      linkName: header.linkName,
      mode: header.mode,
      uid: header.uid,
      gid: header.gid,
      mtime: { seconds: header.mtime, nanoseconds: mtimeNanoseconds },
      major: header.major,
      minor: header.minor,
      size: type === "file" ? header.size : 0,
      offset: this.#offset,
      xattrs,
      read: () => this.#read(number),
    };
  }

  async #read(number: number): Promise<Uint8Array<ArrayBuffer> | undefined> {
    if (number !== this.#count) throw new TypeError("only the last entry of an archive can be read");
    if (this.#left === 0) return undefined;
    const piece = await this.#reader.some(this.#left);
    if (piece === undefined) throw invalidArchive("it ends within an entry");
    this.#left -= piece.length;
    this.#offset += piece.length;
    return piece;
  }
}

function withoutNul(content: Uint8Array): ByteString {
  const end = content.indexOf(0);
  return byteString(end === -1 ? content : content.subarray(0, end));
}
