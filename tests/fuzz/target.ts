/**
 * What is fuzzed in this process: a reader of something that others write, and the inputs for it.
 *
 * @module
 */

import { RuncError } from "../../lib/errors.ts";
import type { Random } from "./random.ts";

/** What a reader gets. */
export type Input = string | Uint8Array<ArrayBuffer>;

/** One reader, or several of the same text. */
export interface Target {
  readonly name: string;
  /** Of all inputs, this target gets `share` parts. What takes longer has less. */
  readonly share: number;
  /** An input: the same for the same numbers. */
  make(random: Random): Input;
  /**
   * Reads an input and goes on with the result as far as that is pure. Returns the size of what was made of it, in
   * characters or bytes.
   *
   * @throws {RuncError} for an input that is refused. Anything else is a fault, also a {@link Broken}.
   */
  run(input: Input): number | Promise<number>;
  /** Errors beside RuncError that the documentation of the functions names. */
  readonly throws?: readonly (new (message: string) => Error)[];
}

/** A property that does not hold. */
export class Broken extends Error {
  override readonly name = "Broken";
}

/** @throws {Broken} */
export function hold(holds: boolean, what: () => string): void {
  if (!holds) throw new Broken(what());
}

/** Whether the program may answer an input so. */
export function isRefusal(error: unknown, { throws = [] }: Pick<Target, "throws">): boolean {
  if (error instanceof RuncError) return error.code !== "internal" && error.message !== "";
  return throws.some((kind) => error instanceof kind);
}

const decoder = new TextDecoder();
const encoder = new TextEncoder();

/** An input of a target whose inputs are texts. A file that is replayed has bytes. */
export const asText = (input: Input): string => typeof input === "string" ? input : decoder.decode(input);
/** An input of a target whose inputs are bytes. */
export const asBytes = (input: Input): Uint8Array<ArrayBuffer> =>
  typeof input === "string" ? encoder.encode(input) : input;
