/**
 * Reads a stream to its end, and keeps the beginning. Pure.
 *
 * @module
 */

/** What was kept of a stream. */
export interface Collected {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** There was more. */
  readonly isTruncated: boolean;
}

/** Reads to the end, so that the writer is not held up. Keeps at most `limit` bytes. */
export async function collect(stream: AsyncIterable<Uint8Array>, limit: number): Promise<Collected> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  let isTruncated = false;
  for await (const piece of stream) {
    const kept = piece.subarray(0, limit - length);
    isTruncated ||= kept.length < piece.length;
    // A small part of a large buffer would keep all of it.
    if (kept.length > 0) pieces.push(kept.length < piece.length ? kept.slice() : kept);
    length += kept.length;
  }
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return { bytes, isTruncated };
}
