/**
 * The files of an image on disk: in a directory, or in a tar archive that is not compressed.
 *
 * @module
 */

import { withFileErrors } from "../../../ffi/file_error.ts";
import { ByteReader, type ByteSource, fileSource } from "../byte_reader.ts";
import { type ByteString, shown, utf8ByteString } from "../tar/byte_string.ts";
import { TarReader } from "../tar/tar_reader.ts";
import { cleanPath, joined } from "../unpack/entry_path.ts";
import { invalidImage } from "./image.ts";
import { compressionOf } from "../layer_source.ts";

/** Documents (index, manifest, config) are held in memory. */
const DOCUMENT_LIMIT = 8 * 1024 * 1024;

/** Files by path, without a leading slash. */
export interface ImageFiles {
  /** Whether there is such a file. */
  has(path: string): Promise<boolean>;
  /** The file from its start. @throws {RuncError} `image-invalid` if it is missing. */
  open(path: string): Promise<ByteSource>;
}

/** A part of an archive. */
export interface ArchivePart {
  readonly offset: number;
  readonly size: number;
}

/** The whole of a document, as text. @throws {RuncError} `image-invalid` if it is missing or too long. */
export async function readDocument(files: ImageFiles, path: string): Promise<Uint8Array<ArrayBuffer>> {
  const source = await files.open(path);
  try {
    const bytes = await new ByteReader(source).upTo(DOCUMENT_LIMIT + 1);
    if (bytes.length > DOCUMENT_LIMIT) throw invalidImage(`${path} is longer than ${DOCUMENT_LIMIT} bytes`);
    return bytes;
  } finally {
    await source.close();
  }
}

/** `path` is a directory (an OCI image layout) or an archive. @throws {RuncError} `syscall-failed`, `image-invalid` */
export async function openImageFiles(path: string): Promise<ImageFiles> {
  const { isDirectory } = withFileErrors(() => Deno.statSync(path));
  return isDirectory ? new DirectoryFiles(path) : await openArchive(path);
}

class DirectoryFiles implements ImageFiles {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  has(path: string): Promise<boolean> {
    return Promise.resolve(this.#size(path) !== undefined);
  }

  open(path: string): Promise<ByteSource> {
    const size = this.#size(path);
    if (size === undefined) return Promise.reject(invalidImage(`there is no file ${path}`));
    return opened(`${this.#path}/${path}`, { offset: 0, size });
  }

  /** Undefined unless it is a regular file: an open of a FIFO would wait. */
  #size(path: string): number | undefined {
    try {
      const { isFile, size } = Deno.lstatSync(`${this.#path}/${path}`);
      return isFile ? size : undefined;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      return withFileErrors(() => {
        throw error;
      });
    }
  }
}

/** A part of a file on disk. */
// deno-lint-ignore require-await -- an error is a rejection
async function opened(path: string, { offset, size }: ArchivePart): Promise<ByteSource> {
  return fileSource(withFileErrors(() => Deno.openSync(path)), offset, size);
}

/** Where a file is in the archive, or the path of another file that it is a link to. */
type Place = ArchivePart | { readonly to: string };

class ArchiveFiles implements ImageFiles {
  readonly #open: (part: ArchivePart) => Promise<ByteSource>;
  readonly #places: ReadonlyMap<string, Place>;

  constructor(open: (part: ArchivePart) => Promise<ByteSource>, places: ReadonlyMap<string, Place>) {
    this.#open = open;
    this.#places = places;
  }

  has(path: string): Promise<boolean> {
    return Promise.resolve(this.#find(path) !== undefined);
  }

  open(path: string): Promise<ByteSource> {
    const place = this.#find(path);
    if (place === undefined) return Promise.reject(invalidImage(`there is no file ${path}`));
    return this.#open(place);
  }

  /** Follows links: docker before 25 stores a layer that occurs twice as a link. */
  #find(path: string): ArchivePart | undefined {
    let place = this.#places.get(utf8ByteString(path));
    // 8: more links in a row are no image's.
    for (let links = 0; place !== undefined && "to" in place && links < 8; links++) place = this.#places.get(place.to);
    return place === undefined || "to" in place ? undefined : place;
  }
}

/** Opens an archive on disk, and reads its headers. */
async function openArchive(path: string): Promise<ImageFiles> {
  const file = withFileErrors(() => Deno.openSync(path));
  const source = fileSource(file, 0, withFileErrors(() => Deno.statSync(path)).size);
  try {
    return await readArchive(source, (part) => opened(path, part));
  } finally {
    await source.close();
  }
}

/**
 * The files of an archive. `source`: all of it, of which the headers are read. `open`: a part of it.
 *
 * @throws {RuncError} `image-invalid`
 */
export async function readArchive(
  source: ByteSource,
  open: (part: ArchivePart) => Promise<ByteSource>,
): Promise<ImageFiles> {
  return new ArchiveFiles(open, await placesIn(source));
}

async function placesIn(source: ByteSource): Promise<ReadonlyMap<string, Place>> {
  const places = new Map<string, Place>();
  const reader = new TarReader(new ByteReader(await uncompressed(source)));
  for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) {
    const path = cleanPath(entry.name);
    const { offset, size, type, isSparse } = entry;
    // Its files are read at their offsets.
    if (isSparse) throw invalidImage(`${shown(joined(path))} is a sparse file in the archive`);
    if (type === "file") places.set(joined(path), { offset, size });
    else if (type === "link") places.set(joined(path), { to: joined(cleanPath(entry.linkName)) });
    else if (type === "symlink") places.set(joined(path), { to: besideLink(path.parent, entry.linkName) });
  }
  return places;
}

/** The source, which must not be compressed as a whole: its files are read at their offsets. */
async function uncompressed(source: ByteSource): Promise<ByteSource> {
  const first = await source.read();
  const format = first && compressionOf(first);
  if (format !== undefined) throw invalidImage(`the archive is compressed with ${format}`, "decompress it first");
  let start = first;
  return {
    read: () => {
      const piece = start;
      start = undefined;
      return piece === undefined ? source.read() : Promise.resolve(piece);
    },
    skip: (length) => source.skip!(length),
    close: () => source.close(),
  };
}

/** The target of a symlink, `../ID/layer.tar`, as a path in the archive. */
function besideLink(directory: ByteString, target: ByteString): string {
  const parts: string[] = target.startsWith("/") ? [] : directory.split("/").filter((part) => part !== "");
  for (const part of target.split("/")) {
    if (part === "..") {
      if (parts.pop() === undefined) throw invalidImage(`the link to ${shown(target)} leads out of the archive`);
    } else if (part !== "" && part !== ".") parts.push(part);
  }
  return parts.join("/");
}
