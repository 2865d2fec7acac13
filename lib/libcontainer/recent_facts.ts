/**
 * Facts of the host for a program that makes many containers: they hardly change, and reading them costs as much as the
 * rest of a container's planning.
 *
 * @module
 */

/** How long a fact is used. */
const LIFETIME_MS = 1000;

/** A fact, and when it was read. */
interface Read {
  readonly value: unknown;
  readonly readMs: number;
}

/** Facts that were read within the last second. */
export class RecentFacts {
  readonly #read = new Map<string, Read>();

  /** The fact `name`; `read` reads it if it is not known, or was read more than a second ago. */
  get<Value>(name: string, read: () => Value): Value {
    const known = this.#read.get(name);
    if (known !== undefined && performance.now() - known.readMs < LIFETIME_MS) return known.value as Value;
    const value = read();
    this.#read.set(name, { value, readMs: performance.now() });
    return value;
  }
}

/** What has facts that may be a second old, if anything. */
export interface HasRecent {
  /** See {@link RecentFacts}. Absent: each fact is read when it is needed. */
  readonly recent?: RecentFacts;
}

/** The fact `name`: a recent one, if there may be one. */
export function recentFact<Value>({ recent }: HasRecent, name: string, read: () => Value): Value {
  return recent === undefined ? read() : recent.get(name, read);
}
