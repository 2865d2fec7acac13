/**
 * Compiles a plan to machine code. The plans of containers are made when they are needed, and interpreted. This is for
 * a plan that is known when the program is built: it is faster, and needs no interpreter.
 *
 * The code has no stack. Slots and buffers are in zeroed memory, everything else is constant.
 *
 * @module
 */

import { Errno } from "../../../lib/ffi/errno.ts";
import { syscallNumber } from "../../../lib/ffi/syscalls.ts";
import { type Instruction as PlanInstruction, isLabel, type Label, lower } from "../../../lib/plan/lower.ts";
import {
  add,
  and,
  at,
  cmp,
  cmpImm,
  load,
  mov,
  movImm,
  movImm64,
  movzxByte,
  movzxWord,
  near,
  type Register,
  shrCl,
  store,
  sub,
  syscall,
} from "../../../lib/plan/native/asm_x86_64.ts";
import type { Row } from "../../../lib/plan/native/assembler.ts";
import { ANY_ERRNO } from "../../../lib/plan/native/format.ts";
import type { Data, Operand, Slot, Step } from "../../../lib/plan/op.ts";

/** The registers of a system call's arguments: whole, and their lower halves. */
const ARGUMENTS = [
  ["rdi", "edi"],
  ["rsi", "esi"],
  ["rdx", "edx"],
  ["r10", "r10d"],
  ["r8", "r8d"],
  ["r9", "r9d"],
] as const satisfies readonly (readonly [Register, Register])[];
const LEFT = ["rax", "eax"] as const, RIGHT = ["rcx", "ecx"] as const, ADDRESS = ["rdx", "edx"] as const;
type Pair = typeof ARGUMENTS[number] | typeof LEFT | typeof RIGHT | typeof ADDRESS;

const MAX_ERRNO = 4095;

/** Addresses below 2^31 for the data of a plan. */
export interface DataPlaces {
  /** Of the constants. */
  readonly constants: number;
  /** Of the zeroed memory. */
  readonly zeroed: number;
}

/** A compiled plan. */
export interface CompiledPlan {
  readonly rows: readonly Row[];
  readonly constants: Uint8Array<ArrayBuffer>;
  /** The length of the zeroed memory in bytes. */
  readonly zeroLength: number;
}

/** Where the plan's data is. */
class Memory {
  readonly #places: DataPlaces;
  readonly #addresses = new Map<string, number>();
  readonly #constants: number[] = [];
  #zeroLength = 0;

  constructor(places: DataPlaces) {
    this.#places = places;
  }

  get constants(): Uint8Array<ArrayBuffer> {
    return Uint8Array.from(this.#constants);
  }

  get zeroLength(): number {
    return this.#zeroLength;
  }

  slot({ slot }: Slot): number {
    return this.#zeroed(`slot ${slot}`, 8);
  }

  data(data: Data): number {
    switch (data.data) {
      case "at":
        return this.data(data.base) + data.offset;
      case "buffer":
        return this.#zeroed(`buffer ${data.name}`, data.size);
      case "text":
        return this.#constant(new TextEncoder().encode(`${data.text}\0`));
      case "bytes":
        return this.#constant(data.bytes);
      case "struct":
        return this.#constant(this.#structBytes(data));
      case "fdPath":
        throw new RangeError("a compiled plan has no fixed descriptors");
    }
  }

  #structBytes({ size, words }: Data & { data: "struct" }): Uint8Array {
    const bytes = new Uint8Array(size);
    for (const { at, size, value } of words) {
      if (typeof value === "object" && "fd" in value) throw new RangeError("a compiled plan has no fixed descriptors");
      const word = BigInt(typeof value === "object" ? this.data(value) : value);
      for (let index = 0; index < size; index++) bytes[at + index] = Number((word >> BigInt(8 * index)) & 0xffn);
    }
    return bytes;
  }

  #zeroed(key: string, size: number): number {
    const known = this.#addresses.get(key);
    if (known !== undefined) return known;
    const address = this.#places.zeroed + this.#zeroLength;
    this.#zeroLength += Math.ceil(size / 8) * 8;
    this.#addresses.set(key, address);
    return address;
  }

  /** Equal constants share memory. */
  #constant(bytes: Uint8Array): number {
    const key = `constant ${bytes.toHex()}`;
    const known = this.#addresses.get(key);
    if (known !== undefined) return known;
    while (this.#constants.length % 8 !== 0) this.#constants.push(0);
    const address = this.#places.constants + this.#constants.length;
    this.#constants.push(...bytes);
    this.#addresses.set(key, address);
    return address;
  }
}

/** Makes the code of one instruction after the other. */
class Compiler {
  readonly #memory: Memory;
  readonly #leave: string;

  constructor(memory: Memory, leave: string) {
    this.#memory = memory;
    this.#leave = leave;
  }

  instruction(instruction: PlanInstruction, index: number): readonly Row[] {
    const { code, args, out } = instruction;
    const [first, second, third] = args;
    switch (code) {
      case "jump":
        return [near("jmp", nameOf(first))];
      case "jumpEqual":
        return [...this.#compare(first, second), near("je", nameOf(third))];
      case "jumpNotEqual":
        return [...this.#compare(first, second), near("jne", nameOf(third))];
      case "load":
        return [...this.#value(ADDRESS, first), ...loadOf(second), ...this.#keep(out)];
      case "store":
        return [...this.#value(RIGHT, third), ...this.#value(ADDRESS, first), storeOf(second)];
      case "and":
      case "add":
      case "sub":
        return [...this.#two(first, second), { and, add, sub }[code]("rax", "rcx"), ...this.#keep(out)];
      case "shr":
        return [...this.#two(first, second), shrCl("rax"), ...this.#keep(out)];
      case "fail":
        return [near("jmp", this.#leave)];
      case "warn":
        throw new RangeError("a compiled plan has nobody to warn");
      default:
        return this.#call(instruction, code, index);
    }
  }

  #call(
    { args, out, handlers, retryAgain }: PlanInstruction,
    name: Parameters<typeof syscallNumber>[0],
    index: number,
  ): Row[] {
    if (retryAgain) throw new RangeError("a compiled plan does not count tries");
    const done = `call_${index}_done`;
    return [
      ...args.flatMap((arg, place) => this.#value(ARGUMENTS[place]!, arg)),
      `call_${index}:`,
      [movImm("eax", syscallNumber(name, "x86_64")), name],
      syscall(),
      cmpImm("rax", -Errno.EINTR),
      near("je", `call_${index}`),
      cmpImm("rax", -MAX_ERRNO),
      near("jb", done),
      ...(out === undefined ? [] : this.#keep(out)),
      ...handlers.flatMap(({ errno, target }): Row[] => {
        const to = target === undefined ? `${done}_kept` : nameOf(target);
        return errno === ANY_ERRNO ? [near("jmp", to)] : [cmpImm("rax", -errno), near("je", to)];
      }),
      near("jmp", this.#leave),
      `${done}:`,
      ...this.#keep(out),
      `${done}_kept:`,
    ];
  }

  #two(left: Operand | Label | undefined, right: Operand | Label | undefined): readonly Row[] {
    return [...this.#value(LEFT, left), ...this.#value(RIGHT, right)];
  }

  #compare(left: Operand | Label | undefined, right: Operand | Label | undefined): readonly Row[] {
    return [...this.#two(left, right), cmp("rax", "rcx")];
  }

  /** Loads an operand to a register. */
  #value([whole, half]: Pair, operand: Operand | Label | undefined): readonly Row[] {
    if (operand === undefined || isLabel(operand)) throw new RangeError("the operand is no value");
    if (typeof operand === "number") {
      return [
        operand >= 0 && operand < 2 ** 32
          ? movImm(half, operand)
          : movImm64(whole, BigInt.asUintN(64, BigInt(operand))),
      ];
    }
    if ("fd" in operand) throw new RangeError("a compiled plan has no fixed descriptors");
    if ("data" in operand) return [movImm(half, this.#memory.data(operand))];
    return [[movImm(half, this.#memory.slot(operand)), operand.slot], load(whole, at(whole, 0))];
  }

  /** Writes rax to a slot. */
  #keep(out: Slot | undefined): readonly Row[] {
    if (out === undefined) return [];
    return [[movImm("edx", this.#memory.slot(out)), out.slot], store(at("rdx", 0), "rax")];
  }
}

function nameOf(label: Operand | Label | undefined): string {
  if (label === undefined || !isLabel(label)) throw new RangeError("the operand is no label");
  return labelAt(label.at!);
}

const labelAt = (index: number) => `plan_${index}`;

function loadOf(size: Operand | Label | undefined): Row[] {
  const from = at("rdx", 0);
  return [
    size === 1 ? movzxByte("eax", from) : size === 2 ? movzxWord("eax", from) : load(size === 4 ? "eax" : "rax", from),
  ];
}

function storeOf(size: Operand | Label | undefined): Row {
  if (size === 2) throw new RangeError("no store of 2 bytes");
  return store(at("rdx", 0), size === 1 ? "cl" : size === 4 ? "ecx" : "rcx");
}

/** What happens where the steps do not do everything. */
export interface Leaving {
  /** Takes back what was done. Where it fails, too, it ends there. */
  readonly steps: readonly Step[];
  /** Slots of descriptors, which are closed then. */
  readonly opened: readonly Slot[];
}

/**
 * Compiles steps. The address of the initial stack is in rsp. Where an op fails, and at the end of the steps, `leaving`
 * follows, and then what follows the code runs; rsp is unchanged.
 */
export function compileSteps(
  steps: readonly Step[],
  { steps: last, opened }: Leaving,
  places: DataPlaces,
): CompiledPlan {
  const leaves = ["leave:"] as const;
  const memory = new Memory(places);
  const { instructions, initEntry } = lower({ stage: steps, init: last });
  const [compiler, lastCompiler] = [new Compiler(memory, "leave"), new Compiler(memory, "close")];
  const rows = instructions.flatMap((instruction, index): Row[] => [
    ...(index === initEntry ? leaves : []),
    `${labelAt(index)}:`,
    ...(index < initEntry ? compiler : lastCompiler).instruction(instruction, index),
  ]);
  const all: readonly Row[] = [
    mov("rax", "rsp"),
    movImm("edx", memory.slot({ slot: "stack" })),
    store(at("rdx", 0), "rax"),
    ...rows,
    `${labelAt(instructions.length)}:`,
    ...(initEntry === instructions.length ? leaves : []),
    "close:",
    ...opened.flatMap((slot, index): Row[] => [
      movImm("edx", memory.slot(slot)),
      load("rdi", at("rdx", 0)),
      cmpImm("rdi", -MAX_ERRNO),
      near("jae", `left_${index}`),
      [cmpImm("rdi", 0), "it was not opened: the first descriptor is 3 or more"],
      near("je", `left_${index}`),
      [movImm("eax", syscallNumber("close", "x86_64")), "close"],
      syscall(),
      `left_${index}:`,
    ]),
  ];
  return { rows: all, constants: memory.constants, zeroLength: memory.zeroLength };
}
