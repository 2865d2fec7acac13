/**
 * Parses and writes JSON: 64-bit integers stay exact, and parse errors give line and column.
 *
 * @module
 */

import { RuncError } from "../errors.ts";

/** The nesting limit of Go's encoding/json. */
const MAX_DEPTH = 10_000;

/**
 * Parses the first JSON value of a text, as runc does, and ignores the rest. An integer that a number cannot hold
 * exactly becomes a bigint. `file`: the name of the text in messages. `onTrailing` receives the place of the rest,
 * `12:5`.
 *
 * @throws {RuncError} `config-invalid`: `config.json:12:5: expected a value, found "}"`.
 */
export function parseJson(text: string, file: string, onTrailing?: (place: string) => void): unknown {
  if (!mayBeTooDeep(text)) {
    try {
      // Up to 15 digits are always exact, and a reviver makes parsing some ten times slower.
      return /\d{16}/.test(text) ? JSON.parse(text, keepInteger) : JSON.parse(text);
    } catch (cause) {
      // V8 calls the reviver recursively. At a depth of some thousand values it throws a RangeError.
      if (!(cause instanceof SyntaxError || cause instanceof RangeError)) throw cause;
    }
  }
  const result = readFirstValue(text);
  if ("expected" in result) {
    const { offset, expected } = result;
    const found = offset >= text.length ? "the end" : JSON.stringify(String.fromCodePoint(text.codePointAt(offset)!));
    const what = expected === "less depth"
      ? `more than ${MAX_DEPTH} levels of nesting`
      : `expected ${expected}, found ${found}`;
    throw new RuncError("config-invalid", `${file}:${placeOf(text, offset)}: ${what}`);
  }
  if (result.trailing !== undefined) onTrailing?.(placeOf(text, result.trailing));
  return result.value;
}

/** Whether the text has enough brackets to be too deep. A text shorter than that many pairs is not searched. */
function mayBeTooDeep(text: string): boolean {
  return text.length > 2 * MAX_DEPTH && text.split("[").length + text.split("{").length > MAX_DEPTH;
}

/** A reviver for JSON.parse. `context.source` is the number as written in the text. */
function keepInteger(_key: string, value: unknown, context?: { source?: string }): unknown {
  return typeof value === "number" && context?.source !== undefined ? exactNumber(value, context.source) : value;
}

function exactNumber(value: number, source: string): number | bigint {
  return !Number.isSafeInteger(value) && /^-?\d+$/.test(source) ? BigInt(source) : value;
}

/** TypeScript's library does not have this type yet. @see https://tc39.es/proposal-json-parse-with-source/ */
const { rawJSON } = JSON as unknown as { rawJSON(text: string): unknown };

/** A replacer for JSON.stringify, which refuses a bigint: writes its digits. */
export function exactInteger(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? rawJSON(String(value)) : value;
}

/** JSON with exact integers. A replacer is called for hundreds of values, and hardly any text has a large integer. */
export function exactText(value: unknown): string {
  try {
    return JSON.stringify(value);
  } catch (error) {
    // For a bigint.
    if (!(error instanceof TypeError)) throw error;
    return JSON.stringify(value, exactInteger);
  }
}

/** Line and column, both from 1. */
function placeOf(text: string, offset: number): string {
  const before = text.slice(0, offset);
  return `${before.split("\n").length}:${offset - before.lastIndexOf("\n")}`;
}

const OTHER_SCALAR = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y;
const SPACE = /[ \t\r\n]*/y;

/** The tokens that are allowed at a place in the text. */
type Expecting = "value" | "first item" | "key" | "first key" | "more";

const expectations: Readonly<Record<Exclude<Expecting, "more">, string>> = {
  value: "a value",
  "first item": 'a value or "]"',
  key: "a field name",
  "first key": 'a field name or "}"',
};

/** The first value and the offset of the text after it; or the offset of the first error and what is expected there. */
type FirstValue =
  | { readonly value: unknown; readonly trailing?: number }
  | { readonly offset: number; readonly expected: string };

/** A list or an object that is being read. */
interface Unfinished {
  readonly value: unknown[] | Record<string, unknown>;
  readonly closer: "]" | "}";
  /** The name that the next value belongs to. */
  key: string;
}

function addTo(unfinished: Unfinished, value: unknown): void {
  const { value: target, key } = unfinished;
  if (Array.isArray(target)) target.push(value);
  // An assignment to this name would set the prototype.
  else if (key === "__proto__") {
    Object.defineProperty(target, key, { value, writable: true, enumerable: true, configurable: true });
  } else target[key] = value;
}

function scalarOf(token: string): unknown {
  const value: unknown = JSON.parse(token);
  return typeof value === "number" ? exactNumber(value, token) : value;
}

/**
 * The string that begins at `offset`. Undefined if none does. A regular expression for the whole string would need a
 * stack as large as the string.
 */
function stringAt(text: string, offset: number): string | undefined {
  if (text[offset] !== '"') return undefined;
  let end = offset + 1;
  for (; end < text.length && text[end] !== '"'; end++) if (text[end] === "\\") end++;
  const token = text.slice(offset, end + 1);
  try {
    JSON.parse(token);
    return token;
  } catch {
    return undefined;
  }
}

/**
 * Reads what JSON.parse cannot (RFC 8259): a value with text after it, and a deep value with large integers. Finds the
 * place of a syntax error, which only some of V8's messages contain. Not recursive, so the stack is not a limit.
 */
function readFirstValue(text: string): FirstValue {
  /** The lists and objects that are being read, innermost last. */
  const open: Unfinished[] = [];
  let expecting: Expecting = "value";
  let offset = 0;
  let value: unknown;
  const accept = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = offset;
    const [token] = pattern.exec(text) ?? [];
    if (token !== undefined) offset += token.length;
    return token;
  };
  const acceptString = () => {
    const token = stringAt(text, offset);
    offset += token?.length ?? 0;
    return token;
  };
  const next = () => {
    accept(SPACE);
    return text[offset];
  };
  while (true) {
    const inner = open.at(-1);
    if (expecting === "more") {
      if (inner === undefined) return next() === undefined ? { value } : { value, trailing: offset };
      addTo(inner, value);
      const character = next();
      if (character !== "," && character !== inner.closer) return { offset, expected: `"," or "${inner.closer}"` };
      offset++;
      if (character === ",") expecting = inner.closer === "}" ? "key" : "value";
      else value = open.pop()!.value;
      continue;
    }
    const character = next();
    if (
      inner !== undefined && character === inner.closer && (expecting === "first item" || expecting === "first key")
    ) {
      offset++;
      value = open.pop()!.value;
      expecting = "more";
    } else if (inner !== undefined && (expecting === "key" || expecting === "first key")) {
      const name = acceptString();
      if (name === undefined) return { offset, expected: expectations[expecting] };
      if (next() !== ":") return { offset, expected: '":"' };
      offset++;
      inner.key = JSON.parse(name);
      expecting = "value";
    } else if (character === "{" || character === "[") {
      if (open.length === MAX_DEPTH) return { offset, expected: "less depth" };
      offset++;
      open.push(character === "{" ? { value: {}, closer: "}", key: "" } : { value: [], closer: "]", key: "" });
      expecting = character === "{" ? "first key" : "first item";
    } else {
      const token = acceptString() ?? accept(OTHER_SCALAR);
      if (token === undefined) return { offset, expected: expectations[expecting] };
      value = scalarOf(token);
      expecting = "more";
    }
  }
}

/** The upper levels of a value: JSON.stringify is recursive, and the value may be deeper than the stack. */
export function upperLevels(value: unknown, levels: number): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (levels === 0) return {};
  if (Array.isArray(value)) return value.slice(0, 60).map((item) => upperLevels(item, levels - 1));
  return Object.fromEntries(
    Object.entries(value).slice(0, 60).map(([key, item]) => [key, upperLevels(item, levels - 1)]),
  );
}
