/**
 * From flat instructions to the bytes of format.ts.
 *
 * @module
 */

import { type Arch, type SyscallName, syscallNumber, syscalls } from "../../ffi/syscalls.ts";
import type { Buffer, Bytes, Data, FdPath, Operand, Plan, Struct, Text } from "../op.ts";
import { type Instruction, type Label, lower } from "../lower.ts";
import { buildImage, programBase } from "./elf.ts";
import {
  Flag,
  HEAD_SIZE,
  header,
  HEADER_SIZE,
  MAGIC,
  NO_SLOT,
  Opcode,
  OperandKind,
  SLOT_COUNT,
  VERSION,
} from "./format.ts";

/** What a plan is encoded for. */
export interface EncodeOptions {
  readonly arch: Arch;
  /** Number of each fixed descriptor that the plan names; `sync` is where reports go. */
  readonly fds: Readonly<Record<string, number>>;
}

/** An encoded plan, with what the parent needs to read reports and to fill buffers. */
export interface Encoded {
  /** The whole ELF file. */
  readonly image: Uint8Array<ArrayBuffer>;
  /** The instruction at a byte offset of the program, as reports name it. */
  instructionAt(offset: number): Instruction | undefined;
}

/** Data that has memory of its own; an {@link At} points into one of these. */
type Piece = Text | FdPath | Bytes | Buffer | Struct;

/** Lays out data: initialised pieces by first use, then zeroed buffers. Offsets count from the program's start. */
class DataLayout {
  readonly #offsets = new Map<Piece | string, number>();
  readonly #initialised: { piece: Struct | undefined; at: number; encoded: Uint8Array }[] = [];
  readonly #zeroed = new Map<string, Buffer>();
  readonly #keys = new Map<Struct, string>();
  readonly #written: ReadonlySet<Piece>;
  readonly #fds: EncodeOptions["fds"];
  readonly #start: number;
  #end: number;

  /** `written`: the pieces that the plan writes to, which no other piece may share memory with. */
  constructor(start: number, written: ReadonlySet<Piece>, fds: EncodeOptions["fds"]) {
    this.#start = start;
    this.#end = start;
    this.#written = written;
    this.#fds = fds;
  }

  #keyOf(piece: Piece): Piece | string {
    if (piece.data === "text") return `t${piece.text}`;
    if (piece.data === "buffer") return `b${piece.name}`;
    if (piece.data === "fdPath") return `f${piece.fd}`;
    if (piece.data === "bytes" || this.#written.has(piece)) return piece;
    let key = this.#keys.get(piece);
    if (key === undefined) this.#keys.set(piece, key = structKey(piece));
    return key === "" ? piece : key;
  }

  #encode(piece: Text | FdPath | Bytes | Struct): Uint8Array {
    if (piece.data === "text") return new TextEncoder().encode(piece.text + "\0");
    if (piece.data === "fdPath") return new TextEncoder().encode(`self/fd/${fdNumber(piece.fd, this.#fds)}\0`);
    return piece.data === "bytes" ? piece.bytes : new Uint8Array(piece.size);
  }

  /** Makes room for `data` and all that it points to. */
  add(data: Data): void {
    const piece = data.data === "at" ? data.base : data;
    const key = this.#keyOf(piece);
    if (this.#offsets.has(key)) return;
    if (piece.data === "buffer") {
      const known = this.#zeroed.get(piece.name);
      if (known !== undefined && known.size !== piece.size) {
        throw new RangeError(`buffer ${piece.name} has two sizes, ${known.size} and ${piece.size}`);
      }
      this.#zeroed.set(piece.name, piece);
      return;
    }
    const encoded = this.#encode(piece);
    // Words are aligned for the kernel's sake: struct fields, argv tables. Strings need none.
    if (piece.data === "struct" || piece.data === "bytes") this.#end = align(this.#end, 8);
    this.#offsets.set(key, this.#end);
    this.#initialised.push({ piece: piece.data === "struct" ? piece : undefined, at: this.#end, encoded });
    this.#end += encoded.length;
    if (piece.data === "struct") {
      for (const word of piece.words) {
        if (typeof word.value === "object" && "data" in word.value) this.add(word.value);
      }
    }
  }

  /** Ends the initialised part; buffers follow. Returns the length of both parts. */
  finish(): { dataLength: number; zeroLength: number } {
    const dataEnd = align(this.#end, 8);
    let at = dataEnd;
    for (const buffer of this.#zeroed.values()) {
      this.#offsets.set(this.#keyOf(buffer), at);
      at = align(at + buffer.size, 8);
    }
    return { dataLength: dataEnd - this.#start, zeroLength: at - dataEnd };
  }

  offsetOf(data: Data): number {
    const [piece, extra] = data.data === "at" ? [data.base, data.offset] : [data, 0];
    return this.#offsets.get(this.#keyOf(piece))! + extra;
  }

  /** Writes the initialised pieces; returns the offsets, in the data, of words that hold addresses. */
  write(program: Uint8Array, base: number): number[] {
    const view = new DataView(program.buffer);
    const relocations: number[] = [];
    for (const { piece, at, encoded } of this.#initialised) {
      if (piece === undefined) program.set(encoded, at);
      else this.#writeStruct(view, piece, at, base, relocations);
    }
    return relocations;
  }

  #writeStruct(view: DataView, piece: Struct, at: number, base: number, relocations: number[]): void {
    for (const word of piece.words) {
      const { value } = word;
      const where = at + word.at;
      if (typeof value === "object" && "data" in value) {
        relocations.push(where - this.#start);
        view.setBigUint64(where, BigInt(base + this.offsetOf(value)), true);
        continue;
      }
      const number = typeof value === "object" ? fdNumber(value.fd, this.#fds) : value;
      writeWord(view, where, word.size, BigInt(number));
    }
  }
}

function writeWord(view: DataView, at: number, size: 1 | 2 | 4 | 8, value: bigint): void {
  const bits = BigInt(8 * size);
  if (value >= 1n << bits || value < -(1n << (bits - 1n))) {
    throw new RangeError(`${value} does not fit ${size} bytes`);
  }
  if (size === 8) view.setBigUint64(at, BigInt.asUintN(64, value), true);
  else if (size === 4) view.setUint32(at, Number(BigInt.asUintN(32, value)), true);
  else if (size === 2) view.setUint16(at, Number(BigInt.asUintN(16, value)), true);
  else view.setUint8(at, Number(BigInt.asUintN(8, value)));
}

/** What makes two structs the same memory: only numbers, and the same ones. Empty where it holds an address. */
function structKey(piece: Struct): string {
  const words = piece.words.map(({ at, size, value }) => {
    if (typeof value === "object") {
      return "fd" in value && !("data" in value) ? `${at}:${size}=fd ${value.fd}` : undefined;
    }
    return `${at}:${size}=${value}`;
  });
  return words.includes(undefined) ? "" : `s${piece.size} ${words.join(" ")}`;
}

/** The pieces that store ops write to. */
function writtenPieces(instructions: readonly Instruction[]): ReadonlySet<Piece> {
  const written = new Set<Piece>();
  for (const { code, args } of instructions) {
    const [to] = args;
    if (code !== "store" || typeof to !== "object" || !("data" in to)) continue;
    written.add(to.data === "at" ? to.base : to);
  }
  return written;
}

function align(value: number, to: number): number {
  return (value + to - 1) & -to;
}

function fdNumber(name: string, fds: EncodeOptions["fds"]): number {
  const number = fds[name];
  if (number === undefined) throw new RangeError(`no descriptor is named ${name}`);
  return number;
}

function isLabel(arg: Operand | Label): arg is Label {
  return typeof arg === "object" && !("slot" in arg) && !("fd" in arg) && !("data" in arg);
}

/** Numbers the slots by first use. */
class Slots {
  readonly #numbers = new Map<string, number>();

  number(name: string): number {
    let number = this.#numbers.get(name);
    if (number === undefined) {
      number = this.#numbers.size;
      if (number >= SLOT_COUNT) throw new RangeError(`a plan has more than ${SLOT_COUNT} slots`);
      this.#numbers.set(name, number);
    }
    return number;
  }
}

function sizeOf(instruction: Instruction): number {
  return HEAD_SIZE + 4 * (instruction.args.length + instruction.handlers.length);
}

/** Everything that encoding one instruction refers to. */
interface Context {
  readonly arch: Arch;
  readonly fds: EncodeOptions["fds"];
  readonly base: number;
  readonly layout: DataLayout;
  readonly slots: Slots;
  /** Byte offset of each instruction, and of the table's end. */
  readonly offsets: readonly number[];
}

function operandWord(arg: Operand | Label, context: Context): [kind: number, word: number] {
  if (typeof arg === "number") {
    // Up to 2^32 - 1 for unsigned int parameters: the kernel takes the low half.
    if (!Number.isInteger(arg) || arg < -0x80000000 || arg > 0xffffffff) throw new RangeError(`operand ${arg}`);
    return [OperandKind.immediate, arg];
  }
  if (isLabel(arg)) return [OperandKind.immediate, context.offsets[arg.at!]!];
  if ("slot" in arg) return [OperandKind.slot, context.slots.number(arg.slot)];
  // A path of a descriptor names one too: data first.
  if ("data" in arg) return [OperandKind.address, context.base + context.layout.offsetOf(arg)];
  return [OperandKind.immediate, fdNumber(arg.fd, context.fds)];
}

function isSyscall(code: Instruction["code"]): code is SyscallName {
  return code in syscalls;
}

function writeInstruction(view: DataView, offset: number, instruction: Instruction, context: Context): void {
  const { code, args, handlers, out, retryAgain } = instruction;
  let kinds = 0;
  let at = offset + HEAD_SIZE;
  args.forEach((arg, index) => {
    const [kind, word] = operandWord(arg, context);
    kinds |= kind << (2 * index);
    view.setUint32(at, word >>> 0, true);
    at += 4;
  });
  for (const { errno, target } of handlers) {
    const word = target === undefined ? 0 : context.offsets[target.at!]! / 4;
    view.setUint32(at, ((errno << 20) | word) >>> 0, true);
    at += 4;
  }
  view.setUint16(offset, isSyscall(code) ? syscallNumber(code, context.arch) : Opcode[code], true);
  view.setUint16(offset + 2, kinds, true);
  view.setUint8(offset + 4, args.length);
  view.setUint8(offset + 5, out === undefined ? NO_SLOT : context.slots.number(out.slot));
  view.setUint8(offset + 6, handlers.length);
  view.setUint8(offset + 7, retryAgain ? Flag.retryAgain : 0);
}

/** Handler targets are 20 bits of 4-byte units. */
const TABLE_LIMIT = 4 << 20;

/**
 * Encodes a plan as a static ELF executable.
 *
 * @throws {RangeError} where something does not fit the format: too many slots, a table over 4 MiB, a number over 32 bits.
 */
export function encode(plan: Plan, options: EncodeOptions): Encoded {
  const { instructions, initEntry } = lower(plan);
  const offsets: number[] = [];
  let at = HEADER_SIZE;
  for (const instruction of instructions) {
    offsets.push(at);
    at += sizeOf(instruction);
  }
  offsets.push(at);
  if (at > TABLE_LIMIT) throw new RangeError("the plan's table is larger than 4 MiB");

  const dataStart = align(at, 16);
  const layout = new DataLayout(dataStart, writtenPieces(instructions), options.fds);
  for (const { args } of instructions) {
    for (const arg of args) if (typeof arg === "object" && "data" in arg) layout.add(arg);
  }
  const { dataLength, zeroLength } = layout.finish();
  const base = programBase(options.arch);
  const program = new Uint8Array(dataStart + dataLength);
  const view = new DataView(program.buffer);
  const context: Context = { arch: options.arch, fds: options.fds, base, layout, slots: new Slots(), offsets };
  instructions.forEach((instruction, index) => writeInstruction(view, offsets[index]!, instruction, context));
  const relocations = layout.write(program, base);

  const fields: [keyof typeof header, number][] = [
    ["magic", MAGIC],
    ["version", VERSION],
    ["entry", HEADER_SIZE],
    ["initEntry", offsets[initEntry]!],
    ["reportFd", fdNumber("sync", options.fds)],
    ["table", HEADER_SIZE],
    ["tableLength", at - HEADER_SIZE],
    ["data", dataStart],
    ["dataLength", dataLength],
    ["zeroLength", zeroLength],
    ["relocations", program.length],
    ["relocationCount", relocations.length],
    ["base", base],
  ];
  for (const [field, value] of fields) view.setUint32(header[field], value, true);
  const trailer = new Uint8Array(Uint32Array.from(relocations).buffer);
  const { image } = buildImage({ arch: options.arch, program, zeroLength, trailer });
  return {
    image: image as Uint8Array<ArrayBuffer>,
    instructionAt: (offset) => instructions[offsets.indexOf(offset)],
  };
}
