/**
 * The addresses of the fake host: each buffer gets one when it is asked for, and can be found by it.
 *
 * @module
 */

type Bytes = Uint8Array<ArrayBuffer>;

/** Memory by address. */
export class Memory {
  #next = 0x10000;
  readonly #regions: { readonly base: number; readonly buffer: ArrayBuffer }[] = [];
  readonly #bases = new Map<ArrayBuffer, number>();

  /** The address of a buffer's first byte. */
  addressOf(bytes: Bytes): number {
    let base = this.#bases.get(bytes.buffer);
    if (base === undefined) {
      base = this.#next;
      this.#bases.set(bytes.buffer, base);
      this.#regions.push({ base, buffer: bytes.buffer });
      // A gap: what is written beyond an end must not land in the next buffer.
      this.#next += Math.ceil((bytes.buffer.byteLength + 1) / 4096) * 4096 + 4096;
    }
    return base + bytes.byteOffset;
  }

  /** Memory of its own, as mmap(2) gives it. */
  map(length: number): number {
    return this.addressOf(new Uint8Array(new ArrayBuffer(length)));
  }

  #find(address: number): { readonly base: number; readonly buffer: ArrayBuffer } {
    let [low, high] = [0, this.#regions.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#regions[middle]!.base <= address) low = middle;
      else high = middle - 1;
    }
    const region = this.#regions[low];
    if (region === undefined || address < region.base || address >= region.base + region.buffer.byteLength) {
      throw new Error(`no memory of the test is at 0x${address.toString(16)}`);
    }
    return region;
  }

  /** `length` bytes at an address. What is written to them is written there. */
  at(address: number, length: number): Bytes {
    if (length === 0) return new Uint8Array();
    const { base, buffer } = this.#find(address);
    return new Uint8Array(buffer, address - base, length);
  }

  view(address: number, length: number): DataView<ArrayBuffer> {
    const { buffer, byteOffset } = this.at(address, length);
    return new DataView(buffer, byteOffset, length);
  }

  /** The buffer that has this address, for `Deno.UnsafePointerView.getArrayBuffer`. */
  buffer(address: number): ArrayBuffer {
    return this.#find(address).buffer;
  }

  /** The text before the NUL. */
  text(address: number): string {
    const { base, buffer } = this.#find(address);
    const bytes = new Uint8Array(buffer, address - base);
    const end = bytes.indexOf(0);
    if (end < 0) throw new Error("a C string has no end");
    return new TextDecoder().decode(bytes.subarray(0, end));
  }

  /** A `char *[]` that ends with NULL. */
  texts(address: number): readonly string[] {
    const found: string[] = [];
    for (let at = address;; at += 8) {
      const word = Number(this.view(at, 8).getBigUint64(0, true));
      if (word === 0) return found;
      found.push(this.text(word));
    }
  }
}
