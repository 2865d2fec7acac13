/**
 * Which pieces of data are one and the same memory.
 *
 * @module
 */

import type { Instruction } from "./lower.ts";
import type { At, Data, Struct } from "./op.ts";

/** Data that has memory of its own; an {@link At} points into one of these. */
export type Piece = Exclude<Data, At>;

/** Tells pieces apart: equal keys are the same memory. Made once for a plan. */
export class DataKeys {
  readonly #written: ReadonlySet<Piece>;
  readonly #identities = new Map<Piece, string>();

  constructor(instructions: readonly Instruction[]) {
    this.#written = writtenPieces(instructions);
  }

  /** Texts, buffers and descriptor names by what they say, structs of numbers by content, all else by identity. */
  of(piece: Piece): string {
    switch (piece.data) {
      case "text":
        return `t${piece.text}`;
      case "buffer":
        return `b${piece.name}`;
      case "fdPath":
        return `f${piece.fd}`;
      default: {
        let key = this.#identities.get(piece);
        if (key === undefined) {
          const content = piece.data === "struct" && !this.#written.has(piece) ? contentKey(piece) : undefined;
          this.#identities.set(piece, key = content ?? `#${this.#identities.size}`);
        }
        return key;
      }
    }
  }
}

/** What makes two structs the same memory: only numbers, and the same ones. Undefined where it holds an address. */
function contentKey(piece: Struct): string | undefined {
  let key = `s${piece.size}`;
  for (const { at, size, value } of piece.words) {
    if (typeof value !== "object") key += ` ${at}:${size}=${value}`;
    else if ("data" in value) return undefined;
    else key += ` ${at}:${size}=fd ${value.fd}`;
  }
  return key;
}

/** The pieces that store ops write to, which no other piece may share memory with. */
function writtenPieces(instructions: readonly Instruction[]): ReadonlySet<Piece> {
  const written = new Set<Piece>();
  // Not for-of, which makes an object each time where V8 only interprets.
  for (let index = 0; index < instructions.length; index++) {
    const { code, args } = instructions[index]!;
    const to = args[0];
    if (code !== "store" || typeof to !== "object" || !("data" in to)) continue;
    written.add(to.data === "at" ? to.base : to);
  }
  return written;
}
