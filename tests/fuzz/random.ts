/**
 * Numbers that follow from a seed.
 *
 * @module
 */

/** Mulberry32, public domain. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  /** A whole number from 0 to `limit - 1`. */
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  }

  /** True in `percent` of a hundred cases. */
  chance(percent: number): boolean {
    return this.below(100) < percent;
  }

  /** One of a list that is not empty. */
  pick<Item>(list: readonly Item[]): Item {
    return list[this.below(list.length)]!;
  }

  /** 1 in half of all cases, 2 in a quarter, and so on up to `most`. */
  few(most: number): number {
    let count = 1;
    while (count < most && this.chance(50)) count++;
    return count;
  }
}

/** The numbers for one input: the same whichever inputs came before it. */
export function randomFor(seed: number, target: string, index: number): Random {
  let mixed = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(index + 1, 0xc2b2ae35);
  for (let at = 0; at < target.length; at++) mixed = Math.imul(mixed ^ target.charCodeAt(at), 0x01000193);
  return new Random(mixed ^ (mixed >>> 13));
}
