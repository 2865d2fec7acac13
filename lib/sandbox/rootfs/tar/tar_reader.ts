/**
 * The entries of a tar archive, one after the other, as a stream: ustar, pax, GNU long names.
 *
 * @module
 */

import type { ByteReader } from "../byte_reader.ts";
import { type ByteString, byteString } from "./byte_string.ts";
import { BLOCK, type Header, invalidArchive, isEmptyBlock, parseHeader } from "./header.ts";
import { extend, parseRecords, type Records } from "./pax.ts";
import { checkMap, parseOldMap, parseOldSize, paxSparse, readMap, type Segment, type SparseMap } from "./sparse.ts";

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
  // GNU's sparse files.
  "S": "file",
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
  /** Whether the archive has only parts of the file: {@link read} gives zeros between them. */
  readonly isSparse: boolean;
  /** Where the content begins, in bytes from the start of the archive. */
  readonly offset: number;
  readonly xattrs: ReadonlyMap<string, Uint8Array<ArrayBuffer>>;
  /** The next piece of the content; undefined at its end. What is not read is skipped. */
  readonly read: () => Promise<Uint8Array<ArrayBuffer> | undefined>;
}

/** An extended header is held in memory. Linux allows 64 KiB for each attribute, and paths of 4 KiB. */
const EXTENSION_LIMIT = 1024 * 1024;

/** What is between the parts of a sparse file. */
const zeros = new Uint8Array(64 * 1024);

/** How far a sparse file has been read. */
interface SparseReading {
  readonly map: SparseMap;
  /** Of the part that comes next, or is being read. */
  index: number;
  /** In the file. */
  at: number;
}

/** Reads entries until the end of the archive. */
export class TarReader {
  readonly #reader: ByteReader;
  #offset = 0;
  /** Bytes of the current content that have not been read, without padding. */
  #left = 0;
  #padding = 0;
  /** Of the current content. */
  #sparse?: SparseReading;
  #global: Records = new Map();
  /** How many entries were returned: only the last one can be read. */
  #count = 0;

  constructor(reader: ByteReader) {
    this.#reader = reader;
  }

  /**
   * The next entry, or undefined at the end: after an empty block, or where the archive ends at the end of an entry.
   *
   * @throws {RuncError} `image-invalid` if the archive is damaged; `unsupported` for unknown kinds of sparse files.
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
      else {
        const long = { ...header, name: name ?? header.name, linkName: linkName ?? header.linkName };
        return await this.#entry(long, records, header.type === "S" ? await this.#oldMap(block) : undefined);
      }
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
    this.#sparse = undefined;
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

  /** The map of GNU's old format: in the header, and in blocks between it and the content. */
  async #oldMap(block: Uint8Array): Promise<SparseMap> {
    const segments = [];
    let part = parseOldMap(block, "header");
    for (;;) {
      segments.push(...part.segments);
      if (!part.isContinued) return { segments, size: parseOldSize(block) };
      part = parseOldMap(await this.#block(), "extension");
    }
  }

  async #block(): Promise<Uint8Array<ArrayBuffer>> {
    const block = await this.#reader.upTo(BLOCK);
    if (block.length < BLOCK) throw invalidArchive("it ends within an entry");
    this.#offset += BLOCK;
    return block;
  }

  /** The map of a file, if it is sparse. The map of pax's format 1.0 is at the start of the content. */
  async #mapOf(records: Records, old: SparseMap | undefined): Promise<SparseMap | undefined> {
    const sparse = old ?? paxSparse(records);
    if (sparse === undefined) return undefined;
    const segments = sparse.segments ?? await readMap(async () => {
      if (this.#left < BLOCK) throw invalidArchive("the map of a sparse file is not complete");
      this.#left -= BLOCK;
      return await this.#block();
    });
    return checkMap({ segments, size: sparse.size }, this.#left);
  }

  async #entry(short: Header, records: Records, old: SparseMap | undefined): Promise<TarEntry> {
    const { header, xattrs, mtimeNanoseconds } = extend(short, records);
    const type = types[header.type] ?? "other";
    // Old archives have a hard link's size but not its content. tar(5)
    this.#content(type === "file" || type === "other" ? header.size : 0);
    const map = type === "file" ? await this.#mapOf(records, old) : undefined;
    if (map !== undefined) this.#sparse = { map, index: 0, at: 0 };
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
      size: type === "file" ? map?.size ?? header.size : 0,
      isSparse: map !== undefined,
      offset: this.#offset,
      xattrs,
      read: () => this.#read(number),
    };
  }

  async #read(number: number): Promise<Uint8Array<ArrayBuffer> | undefined> {
    if (number !== this.#count) throw new TypeError("only the last entry of an archive can be read");
    if (this.#sparse !== undefined) return await this.#readSparse(this.#sparse);
    return this.#left === 0 ? undefined : await this.#some(this.#left);
  }

  async #some(limit: number): Promise<Uint8Array<ArrayBuffer>> {
    const piece = await this.#reader.some(limit);
    if (piece === undefined) throw invalidArchive("it ends within an entry");
    this.#left -= piece.length;
    this.#offset += piece.length;
    return piece;
  }

  async #readSparse(sparse: SparseReading): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const { map: { segments, size } } = sparse;
    while (sparse.index < segments.length && sparse.at === endOf(segments[sparse.index]!)) sparse.index++;
    const { offset, size: length } = segments[sparse.index] ?? { offset: size, size: 0 };
    if (sparse.at === size) return undefined;
    const piece = sparse.at < offset
      ? zeros.subarray(0, offset - sparse.at)
      : await this.#some(offset + length - sparse.at);
    sparse.at += piece.length;
    return piece;
  }
}

const endOf = ({ offset, size }: Segment): number => offset + size;

function withoutNul(content: Uint8Array): ByteString {
  const end = content.indexOf(0);
  return byteString(end === -1 ? content : content.subarray(0, end));
}
