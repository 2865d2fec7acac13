/**
 * Encodes flat instructions as the bytes of format.ts.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { type Arch, type SyscallName, syscallNumber, syscalls } from "../../ffi/syscalls.ts";
import { runTurns, TURN, type Waits } from "../../ffi/waits.ts";
import type { Buffer, Data, FdPath, Operand, Plan, Struct, Text } from "../op.ts";
import { stack } from "../build.ts";
import { DataKeys } from "../data_key.ts";
import { cursor, type Folded, type FoldedPlan, folding } from "../fold.ts";
import { type Instruction, type Label, lower, type Lowered } from "../lower.ts";
import { shareSlots } from "../share_slots.ts";
import { buildImage, programBase } from "./elf.ts";
import {
  ERRNO_SHIFT,
  Flag,
  HEAD_SIZE,
  header,
  HEADER_SIZE,
  MAGIC,
  NO_SLOT,
  Opcode,
  OperandKind,
  SLOT_COUNT,
  STACK_SLOT,
  VERSION,
} from "./format.ts";
import { type Survey, survey } from "./survey.ts";

/** Options for encoding a plan. */
export interface EncodeOptions {
  readonly arch: Arch;
  /** The number of each fixed descriptor that the plan names. `sync` is the descriptor for reports. */
  readonly fds: Readonly<Record<string, number>>;
  /**
   * Whether steps of the same shape become loops, and strings share their ends. This halves the size and takes some
   * time. On by default; it can be off, or on for a large plan only.
   */
  readonly fold?: boolean | "large";
}

/** An encoded plan, with what the parent needs to read reports and fill buffers. */
export interface Encoded {
  /** The whole ELF file. */
  readonly image: Uint8Array<ArrayBuffer>;
  /** The instruction at a byte offset of the program, as a report names it. In a loop `cursor` tells the turn. */
  instructionAt(offset: number, cursor: bigint): Instruction | undefined;
}

/**
 * Every container start runs this code, and V8 mostly interprets it. There, for-of creates an object per turn, so loops
 * over instructions and operands count instead. For the same reason no string is built only for a lookup.
 */

/**
 * Lays out data: initialised pieces in the order of first use, then zeroed buffers. Offsets are from the program's
 * start.
 */
class DataLayout {
  /** Offsets of structs, bytes and buffers, by their keys. */
  readonly #offsets = new Map<string, number>();
  /** Offsets of strings, by their text; 0 until they have one. */
  readonly #texts = new Map<string, number>();
  readonly #initialised: { piece: Struct | undefined; at: number; encoded: Uint8Array }[] = [];
  readonly #zeroed = new Map<string, Buffer>();
  readonly #keys: DataKeys;
  readonly #fds: EncodeOptions["fds"];
  readonly #start: number;
  readonly #sharesEnds: boolean;
  #end: number;

  constructor(start: number, keys: DataKeys, { fds, fold }: { fds: EncodeOptions["fds"]; fold: boolean }) {
    this.#start = start;
    this.#end = start;
    this.#keys = keys;
    this.#fds = fds;
    this.#sharesEnds = fold;
  }

  #textOf(piece: Text | FdPath): string {
    return piece.data === "text" ? piece.text : `self/fd/${fdNumber(piece.fd, this.#fds)}`;
  }

  /** Reserves room for `data` and everything that it points to. */
  add(data: Data): void {
    const piece = data.data === "at" ? data.base : data;
    if (piece.data === "text") return void this.#texts.set(piece.text, 0);
    if (piece.data === "fdPath") return void this.#texts.set(this.#textOf(piece), 0);
    if (piece.data === "buffer") {
      const known = this.#zeroed.get(piece.name);
      if (known !== undefined && known.size !== piece.size) {
        throw new RangeError(`buffer ${piece.name} has two sizes, ${known.size} and ${piece.size}`);
      }
      this.#zeroed.set(piece.name, piece);
      return;
    }
    const key = this.#keys.of(piece);
    if (this.#offsets.has(key)) return;
    // The kernel needs alignment: struct fields, argv tables.
    this.#end = align(this.#end, 8);
    const encoded = piece.data === "bytes" ? piece.bytes : new Uint8Array(piece.size);
    this.#offsets.set(key, this.#end);
    this.#place(encoded, piece.data === "struct" ? piece : undefined);
    if (piece.data === "struct") {
      for (let index = 0; index < piece.words.length; index++) {
        const { value } = piece.words[index]!;
        if (typeof value === "object" && "data" in value) this.add(value);
      }
    }
  }

  #place(encoded: Uint8Array, piece?: Struct): void {
    this.#initialised.push({ piece, at: this.#end, encoded });
    this.#end += encoded.length;
  }

  #placeTexts(): void {
    const encoder = new TextEncoder();
    if (this.#sharesEnds) return this.#placeSharing(encoder);
    const texts = [...this.#texts.keys(), ""];
    const all = encoder.encode(texts.join("\0"));
    for (let index = 0, at = 0; index < texts.length - 1; index++) {
      this.#texts.set(texts[index]!, this.#end + at);
      at = all.indexOf(0, at) + 1;
    }
    this.#place(all);
  }

  /** A string that is the end of another string shares its memory. */
  #placeSharing(encoder: TextEncoder): void {
    const backwards = [...this.#texts.keys()].map((text) => ({ text, reversed: [...text].reverse().join("") }))
      .sort((one, other) => one.reversed < other.reversed ? 1 : -1);
    let longer = { reversed: "", end: 0 };
    for (const { text, reversed } of backwards) {
      const encoded = encoder.encode(text + "\0");
      if (longer.end !== 0 && longer.reversed.startsWith(reversed)) {
        this.#texts.set(text, longer.end - encoded.length);
        continue;
      }
      this.#texts.set(text, this.#end);
      this.#place(encoded);
      longer = { reversed, end: this.#end };
    }
  }

  /** Ends the initialised part; buffers follow. Returns the length of both parts. */
  finish(): { dataLength: number; zeroLength: number } {
    this.#placeTexts();
    const dataEnd = align(this.#end, 8);
    let at = dataEnd;
    for (const buffer of this.#zeroed.values()) {
      this.#offsets.set(this.#keys.of(buffer), at);
      at = align(at + buffer.size, 8);
    }
    return { dataLength: dataEnd - this.#start, zeroLength: at - dataEnd };
  }

  offsetOf(data: Data): number {
    if (data.data === "text") return this.#texts.get(data.text)!;
    if (data.data === "at") return this.offsetOf(data.base) + data.offset;
    if (data.data === "fdPath") return this.#texts.get(this.#textOf(data))!;
    return this.#offsets.get(this.#keys.of(data))!;
  }

  /** Writes the initialised pieces. Returns the offsets, within the data, of words that hold addresses. */
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
    for (let index = 0; index < piece.words.length; index++) {
      const word = piece.words[index]!;
      const { value } = word;
      const where = at + word.at;
      if (typeof value === "object" && "data" in value) {
        relocations.push(where - this.#start);
        view.setBigUint64(where, BigInt(base + this.offsetOf(value)), true);
        continue;
      }
      const number = typeof value === "object" ? fdNumber(value.fd, this.#fds) : value;
      // Most words are small. The other way needs some objects.
      if (word.size === 4 && typeof number === "number" && number >>> 0 === number) view.setUint32(where, number, true);
      else writeWord(view, where, word.size, BigInt(number));
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

function align(value: number, to: number): number {
  return (value + to - 1) & -to;
}

function fdNumber(name: string, fds: EncodeOptions["fds"]): number {
  const number = fds[name];
  if (number === undefined) throw new RangeError(`no descriptor is named ${name}`);
  return number;
}

/** Numbers the slots in the order of first use. */
class Slots {
  // The cursor is the first slot because reports include the slot that follows them.
  readonly #numbers = new Map<string, number>([[cursor.slot, 0], [stack.slot, STACK_SLOT]]);

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

/** Everything that is needed to encode one instruction. */
interface Context {
  readonly arch: Arch;
  readonly fds: EncodeOptions["fds"];
  readonly base: number;
  readonly layout: DataLayout;
  readonly slots: Slots;
  /** Byte offset of each instruction, and of the table's end. */
  readonly offsets: readonly number[];
}

/** Writes an operand. Returns its kind. */
function writeOperand(view: DataView, at: number, arg: Operand | Label, context: Context): number {
  if (typeof arg === "number") {
    // Up to 2^32 - 1 for unsigned int parameters: the kernel uses the low half.
    if (arg >> 0 !== arg && arg >>> 0 !== arg) throw new RangeError(`operand ${arg} does not fit 32 bits`);
    view.setUint32(at, arg, true);
    return OperandKind.immediate;
  }
  // Data is checked first: an FdPath has a field `fd` too.
  if ("data" in arg) {
    view.setUint32(at, context.base + context.layout.offsetOf(arg), true);
    return OperandKind.address;
  }
  if ("slot" in arg) {
    view.setUint32(at, context.slots.number(arg.slot), true);
    return OperandKind.slot;
  }
  view.setUint32(at, "fd" in arg ? fdNumber(arg.fd, context.fds) : context.offsets[arg.at!]!, true);
  return OperandKind.immediate;
}

function isSyscall(code: Instruction["code"]): code is SyscallName {
  return code in syscalls;
}

function writeInstruction(
  view: DataView,
  { code, args, handlers, out, retryAgain }: Instruction,
  index: number,
  context: Context,
): void {
  if (handlers.length > 0xff) throw new RangeError("a call has more than 255 handlers");
  const offset = context.offsets[index]!;
  const count = (context.offsets[index + 1]! - offset - HEAD_SIZE) / 4 - handlers.length;
  let kinds = 0;
  let at = offset + HEAD_SIZE;
  for (let place = 0; place < count; place++) {
    kinds |= writeOperand(view, at, args[place]!, context) << (2 * place);
    at += 4;
  }
  for (let place = 0; place < handlers.length; place++) {
    const { errno, target } = handlers[place]!;
    const word = target === undefined ? 0 : context.offsets[target.at!]! / 4;
    view.setUint32(at, (errno << ERRNO_SHIFT) | word, true);
    at += 4;
  }
  const number = isSyscall(code) ? syscallNumber(code, context.arch) : Opcode[code];
  const to = out === undefined ? NO_SLOT : context.slots.number(out.slot);
  const flags = retryAgain ? Flag.retryAgain : 0;
  // The head's fields in two writes, because each is a call.
  view.setUint32(offset, number | (kinds << 16), true);
  view.setUint32(offset + 4, count | (to << 8) | (handlers.length << 16) | (flags << 24), true);
}

/** The instruction that a folded one stands for while the cursor points behind a given row of its table. */
function turnOf(
  instruction: Folded | undefined,
  cursor: bigint,
  addressOf: (table: Struct) => number,
): Instruction | undefined {
  if (instruction?.turns === undefined) return instruction;
  const { instructions, table, rowSize } = instruction.turns;
  return instructions[(Number(cursor) - addressOf(table)) / rowSize - 1];
}

/** Handler targets are offsets in 4-byte units. */
const TABLE_LIMIT = 4 << ERRNO_SHIFT;
/** Bytes of a table that is folded in any case: the process's memory is the container's. No common config comes near. */
const LARGE_TABLE = 128 << 10;

/** `end`: offset of the table's end, the last that a handler can point to. @throws {RuncError} `unsupported`. */
export function refuseLongTable(end: number): void {
  if (end < TABLE_LIMIT) return;
  throw new RuncError("unsupported", `the plan has ${end} bytes of instructions: more than 64 MiB`, {
    hint: "config.json has more entries than can be carried out: mounts, devices, paths, hooks",
  });
}

/**
 * Encodes a plan as a static ELF executable.
 *
 * @throws {RuncError} `unsupported` for a table over 64 MiB.
 * @throws {RangeError} where something else does not fit the format: too many slots, a number over 32 bits.
 */
export function encode(plan: Plan, options: EncodeOptions): Encoded {
  return runTurns(encoding(plan, options));
}

/** {@link encode}, for a caller that lets others have their turn: it takes some milliseconds. */
export function* encoding(plan: Plan, options: EncodeOptions): Waits<Encoded> {
  const { flat, surveyed, keys, folds } = yield* flatten(plan, options);
  const { instructions, initEntry } = flat;
  const { offsets, data } = surveyed;
  const at = offsets.at(-1)!;
  refuseLongTable(at);

  const dataStart = align(at, 16);
  const layout = new DataLayout(dataStart, keys, { fds: options.fds, fold: folds });
  yield* addData(layout, data);
  const { dataLength, zeroLength } = layout.finish();
  yield TURN;
  const base = programBase(options.arch);
  const program = new Uint8Array(dataStart + dataLength);
  const view = new DataView(program.buffer);
  const context: Context = { arch: options.arch, fds: options.fds, base, layout, slots: new Slots(), offsets };
  for (let index = 0; index < instructions.length; index++) {
    writeInstruction(view, instructions[index]!, index, context);
    if (index % TURN_AFTER === 0) yield TURN;
  }
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
  yield TURN;
  const trailer = new Uint8Array(Uint32Array.from(relocations).buffer);
  const { image } = buildImage({ arch: options.arch, program, zeroLength, trailer });
  return {
    image: image as Uint8Array<ArrayBuffer>,
    instructionAt: (offset, cursor) =>
      turnOf(instructions[offsets.indexOf(offset)], cursor, (table) => base + layout.offsetOf(table)),
  };
}

/** Others have their turn after so many instructions. */
const TURN_AFTER = 128;

/** A plan as a list of instructions. */
interface Flat {
  readonly flat: FoldedPlan;
  readonly surveyed: Survey;
  readonly keys: DataKeys;
  /** Whether the list is folded. */
  readonly folds: boolean;
}

function* flatten(plan: Plan, options: EncodeOptions): Waits<Flat> {
  yield TURN;
  let flat: Lowered = lower(plan);
  yield TURN;
  let surveyed = survey(flat.instructions);
  // Two are taken: the loops' cursor and the stack's address.
  if (surveyed.slotCount > SLOT_COUNT - 2) {
    flat = shareSlots(plan, flat);
    surveyed = survey(flat.instructions);
  }
  const keys = new DataKeys(flat.instructions);
  const folds = options.fold === "large" ? surveyed.offsets.at(-1)! > LARGE_TABLE : options.fold ?? true;
  yield TURN;
  if (!folds) return { flat, surveyed, keys, folds };
  const folded = yield* folding(flat, keys, SLOT_COUNT - 1);
  yield TURN;
  return { flat: folded, surveyed: survey(folded.instructions), keys, folds };
}

function* addData(layout: DataLayout, data: readonly Data[]): Waits<void> {
  for (let index = 0; index < data.length; index++) {
    layout.add(data[index]!);
    if (index % TURN_AFTER === 0) yield TURN;
  }
}
