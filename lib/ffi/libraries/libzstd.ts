/**
 * libzstd: decompresses layers of images. It is only opened if there is one.
 *
 * Deno's own decompressor ends silently after the first frame of several, and its errors end the program.
 *
 * @see https://facebook.github.io/zstd/zstd_manual.html
 * @module
 */

import { RuncError } from "../../errors.ts";
import { addressOf, alloc, type Kernel } from "../kernel.ts";
import { type LibraryFunctions, openLibrary, type WantedLibrary } from "./open_library.ts";

const library: WantedLibrary = {
  name: "libzstd.so.1",
  purpose: "for layers that are compressed with zstd",
  hint: "install libzstd1, or compress the layers with gzip: skopeo copy --dest-compress-format gzip",
};

const functions = {
  ZSTD_createDStream: { parameters: [], result: "pointer" },
  ZSTD_freeDStream: { parameters: ["pointer"], result: "usize" },
  ZSTD_decompressStream: { parameters: ["pointer", "buffer", "buffer"], result: "usize" },
  ZSTD_isError: { parameters: ["usize"], result: "u32" },
  ZSTD_getErrorName: { parameters: ["usize"], result: "pointer" },
} as const;

/** ZSTD_DStreamOutSize(): the size of a block. */
const OUTPUT_SIZE = 128 * 1024;

/** One compressed file, piece by piece: frames of data, and frames to be skipped, as zstd:chunked has them. */
export class ZstdStream implements Disposable {
  readonly #functions: LibraryFunctions<typeof functions>;
  readonly #output = alloc(OUTPUT_SIZE);
  /** `ZSTD_outBuffer` and `ZSTD_inBuffer`: address, size, position. */
  readonly #target = alloc(24);
  readonly #source = alloc(24);
  #stream: Deno.PointerValue;
  /** The library holds its address as long as it is not read. */
  #input: Uint8Array<ArrayBuffer> = alloc(1).subarray(0, 0);
  #hasMore = false;
  #isAtEnd = false;

  /** @throws {RuncError} `host-lacks` if the library is not installed. */
  constructor(kernel: Kernel) {
    this.#functions = openLibrary(kernel, library, functions);
    this.#stream = this.#functions.ZSTD_createDStream.call();
    if (this.#stream === null) throw new RuncError("syscall-failed", "ZSTD_createDStream failed: no memory");
    setWords(this.#target, addressOf(this.#output), OUTPUT_SIZE);
  }

  [Symbol.dispose](): void {
    if (this.#stream !== null) this.#functions.ZSTD_freeDStream.call(this.#stream);
    this.#stream = null;
  }

  /** Whether the last frame is complete. */
  get isAtEnd(): boolean {
    return this.#isAtEnd;
  }

  /** The next piece of the compressed file; {@link next} has returned undefined for the last one. */
  feed(piece: Uint8Array<ArrayBuffer>): void {
    this.#input = piece;
    setWords(this.#source, addressOf(piece), piece.length);
  }

  /** The next bytes; undefined if it needs another piece. @throws {RuncError} `image-invalid` */
  next(): Uint8Array<ArrayBuffer> | undefined {
    while (this.#hasMore || position(this.#source) < this.#input.length) {
      if (this.#stream === null) throw new TypeError("the stream is closed");
      setPosition(this.#target, 0);
      const left = this.#functions.ZSTD_decompressStream.call(this.#stream, this.#target, this.#source);
      if (this.#functions.ZSTD_isError.call(left) !== 0) throw broken(this.#errorName(left));
      const length = position(this.#target);
      // 0: a frame has ended, and all of it is here.
      this.#isAtEnd = Number(left) === 0;
      this.#hasMore = !this.#isAtEnd && length === OUTPUT_SIZE;
      if (length > 0) return this.#output.slice(0, length);
    }
    return undefined;
  }

  #errorName(code: number | bigint): string {
    const text = this.#functions.ZSTD_getErrorName.call(BigInt(code));
    return text === null ? "" : Deno.UnsafePointerView.getCString(text);
  }
}

function setWords(struct: Uint8Array<ArrayBuffer>, address: bigint, size: number): void {
  const view = new DataView(struct.buffer, struct.byteOffset);
  view.setBigUint64(0, address, true);
  view.setBigUint64(8, BigInt(size), true);
  setPosition(struct, 0);
}

function setPosition(struct: Uint8Array<ArrayBuffer>, position: number): void {
  new DataView(struct.buffer, struct.byteOffset).setBigUint64(16, BigInt(position), true);
}

function position(struct: Uint8Array<ArrayBuffer>): number {
  return Number(new DataView(struct.buffer, struct.byteOffset).getBigUint64(16, true));
}

/** The error for data that cannot be decompressed. */
function broken(why: string): RuncError {
  return new RuncError("image-invalid", `the layer's zstd data is broken: ${why}`);
}
