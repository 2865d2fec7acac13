/**
 * Protocol buffers, as far as the tests speak them: messages by tables of their fields.
 *
 * @see https://protobuf.dev/programming-guides/encoding/
 */

/** What a field is. An integer and a boolean are varints; the rest has its length before it. */
export type Kind = "int" | "bool" | "string" | Table | readonly ["list", Kind];

/** A message's fields: number and kind by name. */
export interface Table {
  readonly [name: string]: readonly [number: number, kind: Kind];
}

/** A message, in JavaScript's words. What is absent is zero. */
export type Message = { readonly [name: string]: unknown };

const VARINT = 0, LENGTH = 2;

/** `message` as bytes; what `table` does not have is refused. */
export function encode(table: Table, message: Message): Uint8Array<ArrayBuffer> {
  const parts = Object.entries(message).flatMap(([name, value]) => {
    const field = table[name];
    if (field === undefined) throw new TypeError(`no such field: ${name}`);
    return value === undefined ? [] : encodeField(field[0], field[1], value);
  });
  return new Uint8Array(parts);
}

function encodeField(number: number, kind: Kind, value: unknown): readonly number[] {
  if (Array.isArray(kind)) return (value as unknown[]).flatMap((item) => encodeField(number, kind[1], item));
  if (kind === "int" || kind === "bool") return [...varint(number << 3 | VARINT), ...varint(Number(value))];
  const bytes = kind === "string" ? new TextEncoder().encode(value as string) : encode(kind as Table, value as Message);
  return [...varint(number << 3 | LENGTH), ...varint(bytes.length), ...bytes];
}

function varint(value: number): readonly number[] {
  const bytes: number[] = [];
  // A negative number has all of its 64 bits.
  let rest = BigInt.asUintN(64, BigInt(value));
  for (; rest >= 0x80n; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  return [...bytes, Number(rest)];
}

/** A message out of bytes; fields that `table` does not have are left out, those of it that are absent are zero. */
export function decode(table: Table, bytes: Uint8Array): Message {
  const message: Record<string, unknown> = {};
  for (const [name, [, kind]] of Object.entries(table)) message[name] = zero(kind);
  const reader = { bytes, at: 0 };
  while (reader.at < bytes.length) {
    const tag = Number(readVarint(reader));
    const value = readValue(reader, tag & 7);
    const [name, [, kind]] = Object.entries(table).find(([, [number]]) => number === tag >> 3) ?? ["", [0, "int"]];
    if (name === "") continue;
    if (Array.isArray(kind)) (message[name] as unknown[]).push(convert(kind[1], value));
    else message[name] = convert(kind, value);
  }
  return message;
}

function zero(kind: Kind): unknown {
  if (Array.isArray(kind)) return [];
  return kind === "int" ? 0 : kind === "bool" ? false : kind === "string" ? "" : undefined;
}

function convert(kind: Kind, value: bigint | Uint8Array): unknown {
  if (typeof value === "bigint") return kind === "bool" ? value !== 0n : Number(BigInt.asIntN(64, value));
  return kind === "string" ? new TextDecoder().decode(value) : decode(kind as Table, value);
}

interface Reader {
  readonly bytes: Uint8Array;
  at: number;
}

function readVarint(reader: Reader): bigint {
  let value = 0n;
  for (let shift = 0n;; shift += 7n) {
    const byte = reader.bytes[reader.at++]!;
    value |= BigInt(byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
}

function readValue(reader: Reader, wire: number): bigint | Uint8Array {
  if (wire === VARINT) return readVarint(reader);
  const size = wire === LENGTH ? Number(readVarint(reader)) : wire === 1 ? 8 : 4;
  reader.at += size;
  return reader.bytes.subarray(reader.at - size, reader.at);
}
