/**
 * Annotations `org.systemd.property.<Name>`: properties of the container's unit. Their values are GVariant texts. Pure.
 *
 * @see https://docs.gtk.org/glib/gvariant-text-format.html
 * @module
 */

import { RuncError } from "../../errors.ts";
import {
  basicTypes,
  type BusValue,
  type BusVariant,
  completeTypes,
  encodeNumber,
  isBasic,
} from "../../ffi/libraries/dbus_value.ts";

/** A property of a unit. */
export type UnitProperty = readonly [name: string, value: BusVariant];

const PREFIX = "org.systemd.property.";

/** The field of config.json that sets a property. */
export function annotationField(name: string): string {
  return `/annotations/${PREFIX}${name.replaceAll("/", "~1")}`;
}

/**
 * The properties that the annotations set, in the annotations' order.
 *
 * A name such as `TimeoutStopSec` is used in unit files. On the bus it is `TimeoutStopUSec`, in microseconds.
 *
 * @throws {RuncError} `config-invalid` with the annotation's field.
 */
export function annotationProperties(annotations: Readonly<Record<string, string>>): readonly UnitProperty[] {
  return Object.entries(annotations).filter(([key]) => key.startsWith(PREFIX)).map(([key, text]) => {
    const name = key.slice(PREFIX.length);
    const fail = (what: string) =>
      new RuncError("config-invalid", `annotation ${what}`, { field: annotationField(name) });
    const wrong = nameProblem(name);
    if (wrong !== undefined) throw fail(`${key} name incorrect: ${wrong}`);
    try {
      return inMicroseconds(name, parseVariant(text));
    } catch (error) {
      if (!(error instanceof SyntaxError) && !(error instanceof RangeError)) throw error;
      throw fail(`${key}=${text} value parse error: ${error.message}`);
    }
  });
}

function nameProblem(name: string): string | undefined {
  if (name.length < 3) return "too short";
  return /^[A-Za-z]*$/.test(name) ? undefined : "contains non-alphabetic character";
}

function inMicroseconds(name: string, variant: BusVariant): UnitProperty {
  if (!/[a-z]Sec$/.test(name)) return [name, variant];
  const { value } = variant;
  if (typeof value !== "number" && typeof value !== "bigint") throw new SyntaxError("not a number");
  const microseconds = typeof value === "bigint" ? value * 1_000_000n : wholeMicroseconds(value);
  try {
    encodeNumber("t", microseconds);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new RangeError(`${value} s is out of range: must be 0 to 2^64 - 1 microseconds`);
  }
  return [name.replace(/Sec$/, "USec"), { signature: "t", value: microseconds }];
}

function wholeMicroseconds(seconds: number): bigint {
  if (!Number.isFinite(seconds)) throw new RangeError(`${seconds} is not a number of seconds`);
  return BigInt(Math.trunc(seconds * 1e6));
}

/** The type keywords that may precede a value. */
const typeWords = new Map(Object.entries(basicTypes).map(([letter, { name }]) => [name as string, letter]));

const tokenPattern =
  /\s*(?:(@[a-z(){}]+)|([[\],])|('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|([-+]?(?:0[xX][0-9a-fA-F]+|[\d.][\w.+-]*))|([A-Za-z]\w*))/y;

type Token = { readonly kind: "type" | "mark" | "text" | "number" | "word"; readonly text: string };

const kinds = ["type", "mark", "text", "number", "word"] as const;

function tokens(text: string): Token[] {
  const found: Token[] = [];
  const trimmed = text.trimEnd();
  tokenPattern.lastIndex = 0;
  while (tokenPattern.lastIndex < trimmed.length) {
    const at = tokenPattern.lastIndex;
    const groups = tokenPattern.exec(trimmed)?.slice(1);
    const index = groups?.findIndex((group) => group !== undefined) ?? -1;
    if (index < 0) throw new SyntaxError(`unexpected ${JSON.stringify(trimmed.slice(at).trimStart())}`);
    found.push({ kind: kinds[index]!, text: groups![index]! });
  }
  return found;
}

/**
 * Converts a GVariant text to a D-Bus value: booleans, numbers, strings, and arrays of these, each with an optional
 * type (`uint32 5`, `@as []`).
 *
 * @throws {SyntaxError} and {RangeError} that say what is wrong.
 */
export function parseVariant(text: string): BusVariant {
  const rest = tokens(text);
  const variant = parseValue(rest, "");
  if (rest.length > 0) throw new SyntaxError(`unexpected ${JSON.stringify(rest[0]!.text)}`);
  requireType(variant.signature);
  return variant;
}

/** A type annotation may have any letters, and an array may be deeper than D-Bus allows. */
function requireType(signature: string): void {
  try {
    if (completeTypes(signature).length === 1) return;
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
  }
  throw new SyntaxError(`${JSON.stringify(signature)} is not a D-Bus type`);
}

/** Takes one value from `rest`. `wanted`: its type, if known. */
function parseValue(rest: Token[], wanted: string): BusVariant {
  const token = rest.shift();
  if (token === undefined) throw new SyntaxError("unexpected end of value");
  const type = token.kind === "type"
    ? token.text.slice(1)
    : token.kind === "word"
    ? typeWords.get(token.text)
    : undefined;
  if (type !== undefined) {
    if (wanted !== "") throw new SyntaxError("unexpected type annotation");
    return parseValue(rest, type);
  }
  if (token.kind === "text") return checkText(typed(wanted || "s", "sog", unquote(token.text), token), token);
  if (token.kind === "number") return parseNumber(token, wanted);
  if (token.text === "true" || token.text === "false") return typed(wanted || "b", "b", token.text === "true", token);
  if (token.text === "[") return parseArray(rest, wanted);
  throw new SyntaxError(`unexpected ${JSON.stringify(token.text)}`);
}

function typed(signature: string, allowed: string, value: BusValue, { text }: Token): BusVariant {
  if (!allowed.includes(signature)) throw new SyntaxError(`can't parse ${JSON.stringify(text)} as type ${signature}`);
  return { signature, value };
}

/** The valid texts of each string type: the bus library refuses a message with any other text. */
const textPatterns: Readonly<Record<string, RegExp>> = {
  s: /^[^\0]*$/,
  o: /^\/(?:\w+(?:\/\w+)*)?$/,
  g: /^[ybnqiuxtdsoghva(){}]{0,255}$/,
};

function checkText(variant: BusVariant, { text }: Token): BusVariant {
  if (textPatterns[variant.signature]!.test(String(variant.value))) return variant;
  throw new SyntaxError(`can't parse ${JSON.stringify(text)} as type ${variant.signature}`);
}

function parseNumber(token: Token, wanted: string): BusVariant {
  const { text } = token;
  const isWhole = /^[-+]?(0[xX][0-9a-fA-F]+|\d+)$/.test(text);
  const type = wanted || (isWhole ? "i" : "d");
  if (!isWhole && type !== "d" || !isBasic(type)) {
    throw new SyntaxError(`can't parse ${JSON.stringify(text)} as type ${type}`);
  }
  if (type === "d") {
    if (Number.isNaN(Number(text))) throw new SyntaxError(`unexpected ${JSON.stringify(text)}`);
    return typed(type, "d", Number(text), token);
  }
  const digits = text.replace(/^[-+]/, "");
  // Unlike in C, a leading 0 does not make a number octal for BigInt.
  const magnitude = BigInt(/^0\d/.test(digits) ? `0o${digits.slice(1)}` : digits);
  const variant = typed(type, "ynqiuxt", text.startsWith("-") ? -magnitude : magnitude, token);
  encodeNumber(type, variant.value as bigint);
  return variant;
}

function parseArray(rest: Token[], wanted: string): BusVariant {
  if (wanted !== "" && !wanted.startsWith("a")) throw new SyntaxError(`can't parse an array as type ${wanted}`);
  let item = wanted.slice(1);
  const values: BusValue[] = [];
  while (rest[0]?.text !== "]") {
    // All items have the first item's type.
    const next = parseValue(rest, item);
    item = next.signature;
    values.push(next.value);
    if (rest[0]?.text === ",") rest.shift();
    else if (rest[0]?.text !== "]") throw new SyntaxError("an array must end with ]");
  }
  rest.shift();
  if (item === "") throw new SyntaxError("an empty array needs a type");
  return { signature: `a${item}`, value: values };
}

const escapes: Readonly<Record<string, string>> = { a: "\x07", b: "\b", f: "\f", n: "\n", r: "\r", t: "\t", v: "\v" };

function unquote(text: string): string {
  return text.slice(1, -1).replaceAll(
    /\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)/gs,
    (_, code: string) => code.length > 1 ? String.fromCodePoint(parseInt(code.slice(1), 16)) : escapes[code] ?? code,
  );
}
