/**
 * Where in a shell script one is: outside of quotes, in them, in arithmetic. Pure.
 *
 * It knows as much of the shell's language as is needed to place values (see script.ts). Where it is wrong, as after a
 * `case` pattern inside of `$(…)`, a value may be split into words, but never becomes part of the script.
 *
 * @see https://pubs.opengroup.org/onlinepubs/9799919799/utilities/V3_chap02.html
 * @module
 */

/** What has been opened and not closed. `substitution` is `$(…)` or `(…)`, `brace` is `${…}`. */
type Open = "double" | "single" | "dollarSingle" | "backquote" | "substitution" | "arithmetic" | "brace" | "comment";

/** How a value has to be placed. */
export type Place = "plain" | "double" | "single" | "arithmetic" | "comment" | "hereDocument";

/** Follows a script, piece by piece. */
export class Quoting {
  readonly #open: Open[] = [];
  #hasHereDocument = false;
  /** A `#` begins a comment only at the start of a word. */
  #isWordStart = true;

  /** The place at the end of all pieces so far. */
  get place(): Place {
    if (this.#hasHereDocument) return "hereDocument";
    const inner = this.#open.findLast((open) => open !== "brace");
    if (inner === "double" || inner === "arithmetic" || inner === "comment") return inner;
    return inner === "single" || inner === "dollarSingle" ? "single" : "plain";
  }

  /** A value has been placed. */
  value(): void {
    this.#isWordStart = false;
  }

  /** Reads the next piece. */
  read(text: string): void {
    for (let at = 0; at < text.length;) {
      const length = this.#step(text, at);
      this.#isWordStart = /[\s;&|()`]/.test(text[at + length - 1]!);
      at += length;
    }
  }

  /** Reads what begins at `at`. Returns its length. */
  #step(text: string, at: number): number {
    const top = this.#open.at(-1);
    const character = text[at]!;
    if (top === "single" || top === "dollarSingle" || top === "comment") return this.#verbatim(top, character);
    if (character === "\\") return Math.min(2, text.length - at);
    const isDouble = this.place === "double";
    if (character === '"') return top === "double" ? this.#close() : this.#begin("double");
    if (character === "`") return top === "backquote" ? this.#close() : this.#begin("backquote");
    if (character === "$") return this.#dollar(text.slice(at, at + 3), isDouble);
    if (top === "brace" && character === "}") return this.#close();
    if (isDouble) return 1;
    return this.#unquoted(text, at, top);
  }

  /** In quotes that know no other sign than their end. */
  #verbatim(top: Open, character: string): number {
    if (top === "dollarSingle" && character === "\\") return 2;
    return character === (top === "comment" ? "\n" : "'") ? this.#close() : 1;
  }

  #dollar(start: string, isDouble: boolean): number {
    if (start === "$((") return this.#begin("arithmetic", 3);
    if (start[1] === "(") return this.#begin("substitution", 2);
    if (start[1] === "{") return this.#begin("brace", 2);
    return start[1] === "'" && !isDouble ? this.#begin("dollarSingle", 2) : 1;
  }

  #unquoted(text: string, at: number, top: Open | undefined): number {
    const character = text[at]!;
    if (character === "'") return this.#begin("single");
    if (character === "(") return this.#begin("substitution");
    if (character === ")") return this.#parenthesis(text, at, top);
    if (character === "#" && this.#isWordStart && top !== "brace" && top !== "arithmetic") {
      return this.#begin("comment");
    }
    if (character === "<" && top !== "arithmetic") return this.#lessThan(text.slice(at, at + 3));
    return 1;
  }

  #parenthesis(text: string, at: number, top: Open | undefined): number {
    if (top === "arithmetic" && text[at + 1] === ")") return this.#close(2);
    return top === "substitution" ? this.#close() : 1;
  }

  /** `<<` begins a here-document, `<<<` is bash's here-string. */
  #lessThan(start: string): number {
    if (start === "<<<") return 3;
    if (!start.startsWith("<<")) return 1;
    this.#hasHereDocument = true;
    return 2;
  }

  #begin(open: Open, length = 1): number {
    this.#open.push(open);
    return length;
  }

  #close(length = 1): number {
    this.#open.pop();
    return length;
  }
}
