/**
 * Parses and writes JSON: 64-bit integers stay exact, and parse errors give line and column.
 *
 * @module
 */

import { RuncError } from "../errors.ts";

/**
 * Parses JSON. An integer that a number cannot hold exactly becomes a bigint. `file`: the name of the text in messages.
 *
 * @throws {RuncError} `config-invalid`: `config.json:12:5: expected a value, found "}"`.
 */
export function parseJson(text: string, file: string): unknown {
  try {
    // Up to 15 digits are always exact. A reviver makes parsing about ten times slower, so it is only used for longer
    // numbers.
    return /\d{16}/.test(text) ? JSON.parse(text, keepInteger) : JSON.parse(text);
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    throw new RuncError("config-invalid", `${file}:${describeFailure(text)}`, { cause });
  }
}

/** A reviver for JSON.parse. `context.source` is the number as written in the text. */
function keepInteger(_key: string, value: unknown, context?: { source?: string }): unknown {
  if (typeof value !== "number" || Number.isSafeInteger(value)) return value;
  return context?.source !== undefined && /^-?\d+$/.test(context.source) ? BigInt(context.source) : value;
}

/** TypeScript's library does not have this type yet. @see https://tc39.es/proposal-json-parse-with-source/ */
const { rawJSON } = JSON as unknown as { rawJSON(text: string): unknown };

/** A replacer for JSON.stringify, which refuses a bigint: writes its digits. */
export function exactInteger(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? rawJSON(String(value)) : value;
}

function describeFailure(text: string): string {
  const { offset, expected } = findFailure(text);
  const before = text.slice(0, offset);
  const line = before.split("\n").length;
  const column = offset - before.lastIndexOf("\n");
  const found = offset >= text.length ? "the end" : JSON.stringify(String.fromCodePoint(text.codePointAt(offset)!));
  return `${line}:${column}: expected ${expected}, found ${found}`;
}

// deno-lint-ignore no-control-regex -- RFC 8259 forbids exactly these in a string.
const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
const OTHER_SCALAR = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y;
const SPACE = /[ \t\r\n]*/y;

/** What is allowed at a place in the text. */
type Expecting = "value" | "first item" | "key" | "first key" | "more";

const expectations: Readonly<Record<Expecting, string>> = {
  value: "a value",
  "first item": 'a value or "]"',
  key: "a field name",
  "first key": 'a field name or "}"',
  more: "the end",
};

/**
 * Finds the place where a text that JSON.parse refused stops being JSON (RFC 8259), and what was expected there. V8
 * gives the place in some of its messages only.
 */
function findFailure(text: string): { readonly offset: number; readonly expected: string } {
  /** The closing brackets that are still expected, the innermost last. */
  const closers: ("]" | "}")[] = [];
  let expecting: Expecting = "value";
  let offset = 0;
  const accept = (pattern: RegExp) => {
    pattern.lastIndex = offset;
    const accepted = pattern.test(text);
    if (accepted) offset = pattern.lastIndex;
    return accepted;
  };
  const next = () => {
    accept(SPACE);
    return text[offset];
  };
  while (true) {
    const character = next();
    const closer = closers.at(-1);
    const mayClose = expecting === "first item" || expecting === "first key" || expecting === "more";
    if (mayClose && character === closer && closer !== undefined) {
      offset++;
      closers.pop();
      expecting = "more";
    } else if (expecting === "more") {
      if (closer === undefined) return { offset, expected: expectations.more };
      if (character !== ",") return { offset, expected: `"," or "${closer}"` };
      offset++;
      expecting = closer === "}" ? "key" : "value";
    } else if (expecting === "key" || expecting === "first key") {
      if (!accept(STRING)) return { offset, expected: expectations[expecting] };
      if (next() !== ":") return { offset, expected: '":"' };
      offset++;
      expecting = "value";
    } else if (character === "{" || character === "[") {
      offset++;
      closers.push(character === "{" ? "}" : "]");
      expecting = character === "{" ? "first key" : "first item";
    } else if (accept(STRING) || accept(OTHER_SCALAR)) {
      expecting = "more";
    } else {
      return { offset, expected: expectations[expecting] };
    }
  }
}
