/**
 * Reading bytes in pieces of wanted lengths, from a stream or from a part of a file.
 *
 * @module
 */

/** Where bytes come from: each piece has at least one byte; undefined is the end. */
export interface ByteSource {
  read(): Promise<Uint8Array<ArrayBuffer> | undefined>;
  /** Drops up to `length` bytes without reading them, and returns how many; absent where all have to be read. */
  skip?(length: number): Promise<number>;
  /** Frees what it holds. Nothing is read afterwards. */
  close(): Promise<void>;
}

/** The bytes of a web stream. */
export function streamSource(stream: ReadableStream<Uint8Array<ArrayBuffer>>): ByteSource {
  const reader = stream.getReader();
  return {
    read: async () => {
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return undefined;
        if (value.length > 0) return value;
      }
    },
    close: () => reader.cancel().catch(() => {}),
  };
}

/** `length` bytes of an open file from `start` on. Closes the file. */
export function fileSource(file: Deno.FsFile, start: number, length: number): ByteSource {
  const piece = 128 * 1024;
  let left = length;
  let isPlaced = false;
  return {
    read: async () => {
      if (left === 0) return undefined;
      if (!isPlaced) await file.seek(start + length - left, Deno.SeekMode.Start);
      isPlaced = true;
      const bytes = new Uint8Array(Math.min(piece, left));
      const count = await file.read(bytes);
      if (count === null) return undefined;
      left -= count;
      return bytes.subarray(0, count);
    },
    skip: (wanted) => {
      const count = Math.min(wanted, left);
      left -= count;
      isPlaced = false;
      return Promise.resolve(count);
    },
    close: () => {
      file.close();
      return Promise.resolve();
    },
  };
}

/** The whole of a source as a web stream. `before`: bytes that were taken from it already. */
export function toStream(
  source: ByteSource,
  before?: Uint8Array<ArrayBuffer>,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  let first = before;
  return new ReadableStream({
    pull: async (controller) => {
      const piece = first ?? await source.read();
      first = undefined;
      if (piece === undefined) controller.close();
      else controller.enqueue(piece);
    },
  }, { highWaterMark: 0 });
}

/** Cuts what a source yields into pieces. */
export class ByteReader {
  readonly #source: ByteSource;
  #rest: Uint8Array<ArrayBuffer> = new Uint8Array(0);

  constructor(source: ByteSource) {
    this.#source = source;
  }

  /** At least one byte and at most `limit`; undefined at the end. It is valid until the next call. */
  async some(limit: number): Promise<Uint8Array<ArrayBuffer> | undefined> {
    if (this.#rest.length === 0) {
      const piece = await this.#source.read();
      if (piece === undefined) return undefined;
      this.#rest = piece;
    }
    const taken = this.#rest.subarray(0, limit);
    this.#rest = this.#rest.subarray(taken.length);
    return taken;
  }

  /** `length` bytes, or fewer at the end. */
  async upTo(length: number): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = new Uint8Array(length);
    let done = 0;
    while (done < length) {
      const piece = await this.some(length - done);
      if (piece === undefined) break;
      bytes.set(piece, done);
      done += piece.length;
    }
    return bytes.subarray(0, done);
  }

  /** Drops up to `length` bytes. Returns how many. */
  async skip(length: number): Promise<number> {
    let done = Math.min(length, this.#rest.length);
    this.#rest = this.#rest.subarray(done);
    if (this.#source.skip !== undefined && done < length) return done + await this.#source.skip(length - done);
    while (done < length) {
      const piece = await this.some(length - done);
      if (piece === undefined) break;
      done += piece.length;
    }
    return done;
  }
}
