/**
 * D-Bus values, typed by a signature. Pure.
 *
 * @see https://dbus.freedesktop.org/doc/dbus-specification.html#type-system
 * @module
 */

/** A D-Bus value in JavaScript. Arrays and structs are lists. */
export type BusValue = string | number | bigint | boolean | BusVariant | readonly BusValue[];

/** A value together with its type. */
export interface BusVariant {
  /** One complete type: `s`, `as`, `(ss)`. */
  readonly signature: string;
  readonly value: BusValue;
}

/** Sizes in bytes and names of the basic types. */
export const basicTypes = {
  y: { size: 1, name: "byte" },
  b: { size: 4, name: "boolean" },
  n: { size: 2, name: "int16" },
  q: { size: 2, name: "uint16" },
  i: { size: 4, name: "int32" },
  u: { size: 4, name: "uint32" },
  x: { size: 8, name: "int64" },
  t: { size: 8, name: "uint64" },
  d: { size: 8, name: "double" },
  s: { size: 0, name: "string" },
  o: { size: 0, name: "objectpath" },
  g: { size: 0, name: "signature" },
} as const satisfies Readonly<Record<string, { readonly size: number; readonly name: string }>>;

/** The letter of a basic type. */
export type BasicType = keyof typeof basicTypes;

/** Whether `type` is a basic type. */
export function isBasic(type: string): type is BasicType {
  return Object.hasOwn(basicTypes, type);
}

/** The specification's limits of a signature: its length, and how deep arrays and structs are. */
const LENGTH_LIMIT = 255, DEPTH_LIMIT = 32;

/**
 * Splits a signature into complete types: `sa(sv)u` gives `s`, `a(sv)`, `u`.
 *
 * @throws {TypeError} if it is not a signature.
 */
export function completeTypes(signature: string): readonly string[] {
  if (signature.length > LENGTH_LIMIT) throw new TypeError(`a D-Bus signature has at most ${LENGTH_LIMIT} letters`);
  const types: string[] = [];
  for (let at = 0; at < signature.length;) {
    const end = endOfType(signature, at, 0);
    types.push(signature.slice(at, end));
    at = end;
  }
  return types;
}

/** Index after the complete type that starts at `at`, below `depth` arrays and structs. */
function endOfType(signature: string, at: number, depth: number): number {
  if (depth > DEPTH_LIMIT) throw new TypeError(`a D-Bus signature has at most ${DEPTH_LIMIT} levels`);
  const letter = signature[at] ?? "";
  if (letter === "v" || isBasic(letter)) return at + 1;
  if (letter === "a") return endOfType(signature, at + 1, depth + 1);
  if (letter !== "(") throw new TypeError(`${JSON.stringify(signature)} is not a D-Bus signature`);
  let end = at + 1;
  while (signature[end] !== ")") end = endOfType(signature, end, depth + 1);
  return end + 1;
}

/**
 * A number or boolean in C's memory layout, little-endian.
 *
 * @throws {RangeError} if it does not fit.
 */
export function encodeNumber(type: BasicType, value: number | bigint | boolean): Uint8Array<ArrayBuffer> {
  const { size } = basicTypes[type];
  const bytes = new Uint8Array(new ArrayBuffer(8));
  const view = new DataView(bytes.buffer);
  if (type === "d") view.setFloat64(0, Number(value), true);
  else {
    const whole = BigInt(value);
    const isSigned = type === "n" || type === "i" || type === "x";
    const fits = isSigned ? BigInt.asIntN(8 * size, whole) : BigInt.asUintN(8 * size, whole);
    if (fits !== whole) throw new RangeError(`${value} does not fit D-Bus type ${basicTypes[type].name}`);
    view.setBigInt64(0, BigInt.asIntN(64, whole), true);
  }
  return bytes;
}
