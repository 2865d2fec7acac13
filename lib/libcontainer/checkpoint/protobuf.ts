/**
 * Protocol Buffers, as far as CRIU's messages use them: 32-bit integers, booleans, strings and messages in messages.
 * Pure.
 *
 * A message is described by a table. The type of its value, the encoder and the decoder all come from that table. The
 * decoder skips fields that the table does not have, as the format demands, and checks every length.
 *
 * @see https://protobuf.dev/programming-guides/encoding/
 * @module
 */

import { RuncError } from "../../errors.ts";

/** The type of a field's value. An enum is an `int32`. */
export type FieldType = "int32" | "uint32" | "bool" | "string" | MessageSpec;

/** One field of a message. */
export interface FieldSpec {
  /** The number that stands for the field in the encoding. */
  readonly number: number;
  readonly type: FieldType;
  /** `optional` if absent. */
  readonly label?: "required" | "repeated";
}

/** A message: its fields by name. They are encoded in the order of the table. */
export interface MessageSpec {
  readonly [name: string]: FieldSpec;
}

type ValueOf<Type extends FieldType> = Type extends "int32" | "uint32" ? number
  : Type extends "bool" ? boolean
  : Type extends "string" ? string
  : Type extends MessageSpec ? MessageOf<Type>
  : never;

type NamesOf<Spec extends MessageSpec, Label> = {
  [Name in keyof Spec]: Spec[Name] extends { readonly label: infer Own } ? Own extends Label ? Name : never
    : undefined extends Label ? Name
    : never;
}[keyof Spec];

/** The value of a message. */
export type MessageOf<Spec extends MessageSpec> =
  & { readonly [Name in NamesOf<Spec, "required">]: ValueOf<Spec[Name]["type"]> }
  & { readonly [Name in NamesOf<Spec, "repeated">]?: readonly ValueOf<Spec[Name]["type"]>[] }
  & { readonly [Name in NamesOf<Spec, undefined>]?: ValueOf<Spec[Name]["type"]> };

/** How a value is stored: the lowest three bits of its key. */
const VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5;

/** Encodes a message. @throws {RuncError} `internal` for a number that does not fit its field. */
export function encodeMessage<Spec extends MessageSpec>(spec: Spec, value: MessageOf<Spec>): Uint8Array<ArrayBuffer> {
  const bytes: number[] = [];
  writeMessage(bytes, spec, value as Readonly<Record<string, unknown>>);
  return Uint8Array.from(bytes);
}

function writeMessage(bytes: number[], spec: MessageSpec, value: Readonly<Record<string, unknown>>): void {
  for (const [name, field] of Object.entries(spec)) {
    const given = value[name];
    if (given === undefined) continue;
    const values = field.label === "repeated" ? given as readonly unknown[] : [given];
    for (const one of values) writeField(bytes, name, field, one);
  }
}

function writeField(bytes: number[], name: string, { number, type }: FieldSpec, value: unknown): void {
  const wire = type === "string" || typeof type === "object" ? BYTES : VARINT;
  writeVarint(bytes, BigInt(number << 3 | wire));
  if (type === "bool") writeVarint(bytes, value === true ? 1n : 0n);
  else if (type === "int32" || type === "uint32") writeVarint(bytes, integerToWord(name, type, value as number));
  else if (type === "string") writeBytes(bytes, new TextEncoder().encode(value as string));
  else {
    const inner: number[] = [];
    writeMessage(inner, type, value as Readonly<Record<string, unknown>>);
    writeBytes(bytes, inner);
  }
}

/** A negative `int32` is extended to 64 bits. */
function integerToWord(name: string, type: "int32" | "uint32", value: number): bigint {
  const fits = Number.isInteger(value) && value === (type === "int32" ? value | 0 : value >>> 0);
  if (!fits) throw new RuncError("internal", `${name}: ${value} is no ${type}`);
  return BigInt.asUintN(64, BigInt(value));
}

function writeBytes(bytes: number[], content: Iterable<number> & { readonly length: number }): void {
  writeVarint(bytes, BigInt(content.length));
  for (const byte of content) bytes.push(byte);
}

/** Seven bits in each byte, the lowest first. The highest bit is set in every byte but the last. */
function writeVarint(bytes: number[], value: bigint): void {
  let rest = value;
  while (rest > 0x7fn) {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
}

/** Decodes a message. @throws {RuncError} `protocol` if the bytes are no such message, or a required field is missing. */
export function decodeMessage<Spec extends MessageSpec>(spec: Spec, bytes: Uint8Array<ArrayBuffer>): MessageOf<Spec> {
  return readMessage(spec, bytes) as MessageOf<Spec>;
}

function readMessage(spec: MessageSpec, bytes: Uint8Array<ArrayBuffer>): Readonly<Record<string, unknown>> {
  const byNumber = new Map(Object.entries(spec).map(([name, field]) => [field.number, { name, field }]));
  const value: Record<string, unknown> = {};
  const reader = new Reader(bytes);
  while (!reader.isAtEnd) {
    const key = reader.key();
    const known = byNumber.get(key.field);
    if (known === undefined) reader.skip(key.wire);
    else addValue(value, known, readValue(reader, known, key.wire));
  }
  for (const [name, { label }] of Object.entries(spec)) {
    if (label === "required" && value[name] === undefined) throw broken(`${name} is missing`);
  }
  return value;
}

interface NamedField {
  readonly name: string;
  readonly field: FieldSpec;
}

/** Of a field that is not repeated, the last value counts. */
function addValue(message: Record<string, unknown>, { name, field }: NamedField, value: unknown): void {
  message[name] = field.label === "repeated"
    ? [...(message[name] as readonly unknown[] | undefined ?? []), value]
    : value;
}

function readValue(reader: Reader, { name, field: { type } }: NamedField, wire: number): unknown {
  const wanted = type === "string" || typeof type === "object" ? BYTES : VARINT;
  if (wire !== wanted) throw broken(`${name} has wire type ${wire}`);
  if (type === "string") return new TextDecoder().decode(reader.bytes());
  if (typeof type === "object") return readMessage(type, reader.bytes());
  const word = reader.varint();
  if (type === "bool") return word !== 0n;
  return Number(type === "int32" ? BigInt.asIntN(32, word) : BigInt.asUintN(32, word));
}

class Reader {
  readonly #bytes: Uint8Array<ArrayBuffer>;
  #at = 0;

  constructor(bytes: Uint8Array<ArrayBuffer>) {
    this.#bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  /** A field's number and how its value is stored. */
  key(): { field: number; wire: number } {
    const key = this.varint();
    const field = Number(key >> 3n);
    if (field < 1 || field > 0x1fffffff) throw broken(`field ${field}`);
    return { field, wire: Number(key & 7n) };
  }

  /** At most ten bytes, of which 64 bits count. */
  varint(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.#take(1)[0]!;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asUintN(64, value);
    }
    throw broken("a number of more than ten bytes");
  }

  /** The content of a string or a message. */
  bytes(): Uint8Array<ArrayBuffer> {
    return this.#take(Number(this.varint()));
  }

  skip(wire: number): void {
    if (wire === VARINT) this.varint();
    else if (wire === FIXED64) this.#take(8);
    else if (wire === BYTES) this.bytes();
    else if (wire === FIXED32) this.#take(4);
    // 3 and 4 are groups, which are obsolete and which CRIU does not have.
    else throw broken(`wire type ${wire}`);
  }

  #take(length: number): Uint8Array<ArrayBuffer> {
    const end = this.#at + length;
    if (end > this.#bytes.length) throw broken(`${length} bytes at ${this.#at}, of ${this.#bytes.length}`);
    const taken = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return taken;
  }
}

function broken(why: string): RuncError {
  return new RuncError("protocol", `message of CRIU cannot be read: ${why}`);
}
