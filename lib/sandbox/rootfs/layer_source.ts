/**
 * The content of a layer's blob: decompressed, with both digests checked at its end.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { type ByteSource, streamSource, toStream } from "./byte_reader.ts";
import { layerHash } from "./layer_hash.ts";

/** What the manifest and the image's config say about a layer. */
export interface LayerDigests {
  /** `sha256:…` of the uncompressed archive. */
  readonly diffId: string;
  /** `sha256:…` of the blob as it is stored; absent where the format does not tell. */
  readonly digest?: string;
}

/** What decompresses zstd. */
export interface Decompressor extends Disposable {
  /** Whether the file may end here. */
  readonly isAtEnd: boolean;
  /** Takes the next piece of the file, after {@link next} has returned undefined. */
  feed(piece: Uint8Array<ArrayBuffer>): void;
  /** The next decompressed bytes; undefined if it needs another piece. @throws {RuncError} `image-invalid` */
  next(): Uint8Array<ArrayBuffer> | undefined;
}

/** First bytes of compressed files. */
const formats: readonly { readonly name: string; readonly magic: readonly number[] }[] = [
  { name: "gzip", magic: [0x1f, 0x8b] },
  { name: "zstd", magic: [0x28, 0xb5, 0x2f, 0xfd] },
  { name: "bzip2", magic: [0x42, 0x5a, 0x68] },
  { name: "xz", magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a] },
];

/** The format that a file begins with; undefined for none of them. Pure. */
export function compressionOf(start: Uint8Array): string | undefined {
  return formats.find(({ magic }) => magic.every((byte, index) => start[index] === byte))?.name;
}

/** A source that counts what it yields into a digest. */
class HashedSource implements ByteSource {
  readonly #source: ByteSource;
  readonly #hash = layerHash();
  #first: Uint8Array<ArrayBuffer> | undefined;
  #digest: string | undefined;

  constructor(source: ByteSource) {
    this.#source = source;
  }

  /** The same source, which yields `piece` first: it was read, and is part of the digest already. */
  from(piece: Uint8Array<ArrayBuffer> | undefined): this {
    this.#first = piece;
    return this;
  }

  async read(): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const first = this.#first;
    this.#first = undefined;
    if (first !== undefined) return first;
    const piece = await this.#source.read();
    if (piece !== undefined) this.#hash.update(piece);
    return piece;
  }

  close(): Promise<void> {
    return this.#source.close();
  }

  /** Reads the rest. Returns the digest of everything: `sha256:…`. */
  async digest(): Promise<string> {
    while (await this.read() !== undefined);
    this.#digest ??= `sha256:${this.#hash.digest("hex")}`;
    return this.#digest;
  }
}

/** A layer's uncompressed archive. */
export class LayerSource implements ByteSource {
  readonly #stored: HashedSource;
  readonly #content: HashedSource;
  readonly #digests: LayerDigests;
  #closed: Promise<void> | undefined;

  private constructor(stored: HashedSource, content: HashedSource, digests: LayerDigests) {
    this.#stored = stored;
    this.#content = content;
    this.#digests = digests;
  }

  /**
   * Takes ownership of `blob`.
   *
   * @param openZstd Makes what decompresses zstd.
   * @throws {RuncError} `unsupported` for another compression than gzip and zstd.
   */
  static async open(blob: ByteSource, digests: LayerDigests, openZstd: () => Decompressor): Promise<LayerSource> {
    const stored = new HashedSource(blob);
    try {
      const start = await stored.read();
      const format = compressionOf(start ?? new Uint8Array(0));
      if (format !== undefined && format !== "gzip" && format !== "zstd") throw unsupportedCompression(format);
      // What is not compressed is hashed once.
      const content = format === undefined ? stored.from(start) : new HashedSource(
        format === "gzip"
          ? streamSource(toStream(stored, start).pipeThrough(gunzip()))
          : zstdSource(stored.from(start), openZstd()),
      );
      return new LayerSource(stored, content, digests);
    } catch (error) {
      await stored.close();
      throw error;
    }
  }

  /** @throws {RuncError} `image-invalid` if the compressed data is broken. */
  async read(): Promise<Uint8Array<ArrayBuffer> | undefined> {
    return await decompressing(() => this.#content.read());
  }

  /** Stops reading, also a read that waits, and closes the blob. A second call does nothing more. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    if (this.#content !== this.#stored) await this.#content.close();
    await this.#stored.close();
  }

  /** Reads the rest, and compares both digests. @throws {RuncError} `image-invalid` */
  async verify(): Promise<void> {
    const diffId = await decompressing(() => this.#content.digest());
    compare("uncompressed layer", diffId, this.#digests.diffId);
    const digest = await this.#stored.digest();
    if (this.#digests.digest !== undefined) compare("layer", digest, this.#digests.digest);
  }
}

/** The decompressed content of `compressed`, which somebody else closes. Takes ownership of `decompressor`. */
function zstdSource(compressed: ByteSource, decompressor: Decompressor): ByteSource {
  return {
    read: async () => {
      for (;;) {
        const bytes = decompressor.next();
        if (bytes !== undefined) return bytes;
        const piece = await compressed.read();
        if (piece !== undefined) decompressor.feed(piece);
        else if (decompressor.isAtEnd) return undefined;
        else throw new RuncError("image-invalid", "the layer's zstd data is broken: it ends within a frame");
      }
    },
    close: () => {
      decompressor[Symbol.dispose]();
      return Promise.resolve();
    },
  };
}

/** What is used of node:zlib and node:stream. Their own types are a package. */
interface NodeModules {
  getBuiltinModule(name: "node:zlib"): { createGunzip(): unknown };
  getBuiltinModule(name: "node:stream"): {
    Duplex: { toWeb(duplex: unknown): ReadableWritablePair<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>> };
  };
}

/** Decompresses all members of a gzip file: eStargz and pigz write several. `DecompressionStream` takes only one. */
function gunzip(): ReadableWritablePair<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>> {
  const { process } = globalThis as unknown as { process: NodeModules };
  return process.getBuiltinModule("node:stream").Duplex.toWeb(process.getBuiltinModule("node:zlib").createGunzip());
}

/** An error of zlib. */
const isDataError = (error: unknown): error is Error =>
  error instanceof Error && "code" in error && `${error.code}`.startsWith("Z_");

async function decompressing<Result>(read: () => Promise<Result>): Promise<Result> {
  try {
    return await read();
  } catch (cause) {
    if (!isDataError(cause)) throw cause;
    throw new RuncError("image-invalid", `the layer's gzip data is broken: ${cause.message}`, { cause });
  }
}

function compare(what: string, found: string, expected: string): void {
  if (found === expected) return;
  throw new RuncError("image-invalid", `the ${what} has the digest ${found}, not ${expected}`);
}

function unsupportedCompression(name: string): RuncError {
  return new RuncError("unsupported", `the layer is compressed with ${name}`, {
    hint: "compress it with gzip, for example with `skopeo copy --dest-compress-format gzip`",
  });
}
