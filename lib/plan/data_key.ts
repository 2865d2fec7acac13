/**
 * Decides which pieces of data share memory.
 *
 * @module
 */

import type { Instruction } from "./lower.ts";
import type { At, Data, Struct } from "./op.ts";

/** Data that has its own memory. An {@link At} points into a piece. */
export type Piece = Exclude<Data, At>;

/** Gives each piece a key. Pieces with equal keys share memory. Create one per plan. */
export class DataKeys {
  readonly #written: ReadonlySet<Piece>;
  readonly #identities = new Map<Piece, string>();

  constructor(instructions: readonly Instruction[]) {
    this.#written = writtenPieces(instructions);
  }

  /**
   * Texts, buffers and descriptor paths are keyed by their text or name, structs of numbers by content, everything else
   * by identity.
   */
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

/** The key of a struct that holds only numbers: equal structs share memory. Undefined if it holds an address. */
function contentKey(piece: Struct): string | undefined {
  let key = `s${piece.size}`;
  for (let index = 0; index < piece.words.length; index++) {
    const { at, size, value } = piece.words[index]!;
    if (typeof value !== "object") key += ` ${at}:${size}=${value}`;
    else if ("data" in value) return undefined;
    else key += ` ${at}:${size}=fd ${value.fd}`;
  }
  return key;
}

/** The pieces that store ops write to. No other piece may share memory with them. */
function writtenPieces(instructions: readonly Instruction[]): ReadonlySet<Piece> {
  const written = new Set<Piece>();
  // A counting loop: where V8 only interprets, for-of creates an object per turn.
  for (let index = 0; index < instructions.length; index++) {
    const { code, args } = instructions[index]!;
    const to = args[0];
    if (code !== "store" || typeof to !== "object" || !("data" in to)) continue;
    written.add(to.data === "at" ? to.base : to);
  }
  return written;
}
