/**
 * SHA-256 of small data, without a wait: Web Crypto's gives a promise, and to load Node's takes longer than a sandbox.
 *
 * @see FIPS 180-4, section 6.2
 * @module
 */

const BLOCK = 64;

/** The first 32 bits of the fractional parts of the cube roots of the first 64 primes, and of the square roots of 8. */
interface Tables {
  readonly constants: Int32Array;
  readonly initial: Int32Array;
}

/** Made by the first digest: importing this file computes nothing. */
let tables: Tables | undefined;

function makeTables(): Tables {
  const primes: number[] = [];
  for (let candidate = 2; primes.length < 64; candidate++) {
    if (primes.every((prime) => candidate % prime !== 0)) primes.push(candidate);
  }
  return {
    constants: Int32Array.from(primes, (prime) => fraction(BigInt(prime), 3n)),
    initial: Int32Array.from(primes.slice(0, 8), (prime) => fraction(BigInt(prime), 2n)),
  };
}

/** The first 32 fractional bits of the root, by bisection: floor(root(prime) * 2^32) modulo 2^32. */
function fraction(prime: bigint, degree: bigint): number {
  const wanted = prime << 32n * degree;
  let low = 0n, high = prime << 32n;
  while (high - low > 1n) {
    const middle = (low + high) / 2n;
    if (middle ** degree <= wanted) low = middle;
    else high = middle;
  }
  return Number(low & 0xffffffffn) | 0;
}

/** A digest that bytes are added to. */
export class Sha256 {
  readonly #constants: Int32Array;
  readonly #state: Int32Array;
  readonly #words = new Int32Array(64);
  readonly #pending = new Uint8Array(BLOCK);
  #pendingLength = 0;
  #length = 0;

  constructor() {
    tables ??= makeTables();
    this.#constants = tables.constants;
    this.#state = tables.initial.slice();
  }

  /** Adds `bytes`. */
  update(bytes: Uint8Array): void {
    this.#length += bytes.length;
    let at = 0;
    if (this.#pendingLength > 0) {
      at = Math.min(BLOCK - this.#pendingLength, bytes.length);
      this.#pending.set(bytes.subarray(0, at), this.#pendingLength);
      this.#pendingLength += at;
      if (this.#pendingLength < BLOCK) return;
      this.#block(this.#pending, 0);
      this.#pendingLength = 0;
    }
    for (; at + BLOCK <= bytes.length; at += BLOCK) this.#block(bytes, at);
    this.#pending.set(bytes.subarray(at));
    this.#pendingLength = bytes.length - at;
  }

  /** The digest of all that was added, in hexadecimal. Nothing can be added afterwards. */
  hex(): string {
    const bits = BigInt(this.#length) * 8n;
    const padding = new Uint8Array((this.#pendingLength < 56 ? 56 : 120) - this.#pendingLength + 8);
    padding[0] = 0x80;
    new DataView(padding.buffer).setBigUint64(padding.length - 8, bits);
    this.update(padding);
    return Array.from(this.#state, (word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
  }

  #block(bytes: Uint8Array, at: number): void {
    const words = this.#words;
    for (let index = 0; index < 16; index++, at += 4) {
      words[index] = bytes[at]! << 24 | bytes[at + 1]! << 16 | bytes[at + 2]! << 8 | bytes[at + 3]!;
    }
    for (let index = 16; index < 64; index++) {
      const x = words[index - 15]!, y = words[index - 2]!;
      const s0 = (x >>> 7 | x << 25) ^ (x >>> 18 | x << 14) ^ x >>> 3;
      const s1 = (y >>> 17 | y << 15) ^ (y >>> 19 | y << 13) ^ y >>> 10;
      words[index] = (words[index - 16]! + s0 | 0) + (words[index - 7]! + s1 | 0) | 0;
    }
    this.#rounds();
  }

  #rounds(): void {
    const state = this.#state, words = this.#words, constants = this.#constants;
    let a = state[0]!, b = state[1]!, c = state[2]!, d = state[3]!;
    let e = state[4]!, f = state[5]!, g = state[6]!, h = state[7]!;
    for (let index = 0; index < 64; index++) {
      const s1 = (e >>> 6 | e << 26) ^ (e >>> 11 | e << 21) ^ (e >>> 25 | e << 7);
      const first = ((h + s1 | 0) + (e & f ^ ~e & g) | 0) + (constants[index]! + words[index]! | 0) | 0;
      const s0 = (a >>> 2 | a << 30) ^ (a >>> 13 | a << 19) ^ (a >>> 22 | a << 10);
      const second = s0 + (a & b ^ a & c ^ b & c) | 0;
      h = g;
      g = f;
      f = e;
      e = d + first | 0;
      d = c;
      c = b;
      b = a;
      a = first + second | 0;
    }
    // Without a loop over an array, which would take longer than the rounds.
    state[0]! += a;
    state[1]! += b;
    state[2]! += c;
    state[3]! += d;
    state[4]! += e;
    state[5]! += f;
    state[6]! += g;
    state[7]! += h;
  }
}
