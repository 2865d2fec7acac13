/**
 * Finds byte sequences in memory. Pure.
 *
 * @module
 */

// The encoding of a byte is one UTF-16 unit, so V8's fast search of strings can be used. Each byte has its own unit.
const decoder = new TextDecoder("latin1");

/** Memory that is prepared for several searches. */
export class Haystack {
  readonly #text: string;

  constructor(readonly bytes: Uint8Array) {
    this.#text = decoder.decode(bytes);
  }

  /** The offsets of all occurrences. Overlapping ones are found, too. */
  offsetsOf(needle: Uint8Array): readonly number[] {
    const text = decoder.decode(needle);
    const found: number[] = [];
    for (let at = this.#text.indexOf(text); at >= 0; at = this.#text.indexOf(text, at + 1)) found.push(at);
    return found;
  }
}
