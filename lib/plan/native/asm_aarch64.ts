/**
 * The AArch64 instructions that the interpreter uses: one function per form, named like its mnemonic.
 *
 * Source: Arm Architecture Reference Manual for A-profile (DDI 0487), chapter C6. Texts are in objdump's spelling. Each
 * instruction is one little-endian word, written here as its opcode plus the operands' fields.
 *
 * @module
 */

import { type Instruction, type Jump, littleEndian } from "./assembler.ts";

/** A register's name: all 64 bits, or the low 32. Writing the low 32 clears the rest. */
export type Register = `${"x" | "w"}${number}`;
type Register64 = `x${number}`;
type Register32 = `w${number}`;

/** Memory `offset` bytes after the address in `base`. */
export interface Memory {
  readonly base: Register64;
  /** Not negative, and a multiple of the access size. */
  readonly offset: number;
}

/** The memory `offset` bytes after the address in `base`. */
export const at = (base: Register64, offset: number): Memory => ({ base, offset });

/** Sets a register to a 16-bit value and clears the other bits. */
export function movImm(to: Register, value: number): Instruction {
  return instruction(`mov ${to}, ${hex(value)}`, 0x52800000 + wide(to) + unsigned(value, 16, 5) + d(to));
}

/** Sets bits 16 to 31 of a register. */
export function movkHigh(to: Register64, value: number): Instruction {
  return instruction(`movk ${to}, ${hex(value)}, lsl #16`, 0xf2a00000 + unsigned(value, 16, 5) + d(to));
}

/** Copies a register (ORR with the zero register). */
export function mov(to: Register, from: Register): Instruction {
  return instruction(`mov ${to}, ${from}`, 0x2a0003e0 + wide(to, from) + m(from) + d(to));
}

/** Copies the stack pointer (ADD of 0, because in ORR register 31 is the zero register). */
export function movSp(to: Register64): Instruction {
  return instruction(`mov ${to}, sp`, 0x910003e0 + d(to));
}

/** `to = -from`. */
export function neg(to: Register, from: Register): Instruction {
  return instruction(`neg ${to}, ${from}`, 0x4b0003e0 + wide(to, from) + m(from) + d(to));
}

export const add = threeRegisters("add", 0x0b000000);
export const sub = threeRegisters("sub", 0x4b000000);
export const and = threeRegisters("and", 0x0a000000);
/** `to = left >> right`, filling with 0 (LSRV). Only the low 5 bits of `right` count, 6 with 64-bit registers. */
export const lsr = threeRegisters("lsr", 0x1ac02400);

/** `to = left + (right << shift)`. */
export function addShifted(to: Register, left: Register, right: Register, shift: number): Instruction {
  const word = 0x0b000000 + wide(to, left, right) + m(right) + unsigned(shift, 6, 10) + n(left) + d(to);
  return instruction(`add ${to}, ${left}, ${right}, lsl #${shift}`, word);
}

export const addImm = twoRegistersImm("add", 0x11000000);
export const subImm = twoRegistersImm("sub", 0x51000000);
/** Subtracts and sets the flags. Carry is clear (`b.cc`) if the result would be negative. */
export const subsImm = twoRegistersImm("subs", 0x71000000);

/** `to = left - (value << 12)`. */
export function subImmHigh(to: Register, left: Register, value: number): Instruction {
  const word = 0x51400000 + wide(to, left) + unsigned(value, 12, 10) + n(left) + d(to);
  return instruction(`sub ${to}, ${left}, ${hex(value)}, lsl #12`, word);
}

/** Compares two registers. */
export function cmp(left: Register, right: Register): Instruction {
  return instruction(`cmp ${left}, ${right}`, 0x6b00001f + wide(left, right) + m(right) + n(left));
}

/** Compares with 0 to 4095. */
export function cmpImm(left: Register, right: number): Instruction {
  return instruction(`cmp ${left}, ${hex(right)}`, 0x7100001f + wide(left) + unsigned(right, 12, 10) + n(left));
}

/** Compares with -4095 to 0; `right` is the absolute value. */
export function cmnImm(left: Register, right: number): Instruction {
  return instruction(`cmn ${left}, ${hex(right)}`, 0x3100001f + wide(left) + unsigned(right, 12, 10) + n(left));
}

/** Shifts right, filling with 0 (UBFM). */
export function lsrImm(to: Register, from: Register, shift: number): Instruction {
  const opcode = wide(to, from) ? 0xd340fc00 : 0x53007c00;
  return instruction(`lsr ${to}, ${from}, #${shift}`, opcode + unsigned(shift, 6, 16) + n(from) + d(to));
}

/** `to` = the low `width` bits of `from`, shifted left by `shift` (UBFM). */
export function ubfiz(to: Register32, from: Register32, shift: number, width: number): Instruction {
  const word = 0x53000000 + unsigned(32 - shift, 5, 16) + unsigned(width - 1, 5, 10) + n(from) + d(to);
  return instruction(`ubfiz ${to}, ${from}, #${shift}, #${width}`, word);
}

/** Reads or writes the width of the register. */
export const ldr = unsignedOffset("ldr", { w: [0xb9400000, 4], x: [0xf9400000, 8] });
export const str = unsignedOffset("str", { w: [0xb9000000, 4], x: [0xf9000000, 8] });
/** Reads a byte or 16 bits, zero-extended. */
export const ldrb = unsignedOffset("ldrb", { w: [0x39400000, 1] });
export const ldrh = unsignedOffset("ldrh", { w: [0x79400000, 2] });

/** Reads a byte, zero-extended, `index` bytes after the address in `base`. */
export function ldrbIndexed(to: Register32, base: Register64, index: Register64): Instruction {
  return instruction(`ldrb ${to}, [${base}, ${index}]`, 0x38606800 + m(index) + n(base) + d(to));
}

/** Reads or writes at `base`, then adds a number of bytes to it. `ldrswNext` sign-extends 32 bits to 64. */
export const ldrNext = postIndex<Register32>("ldr", 0xb8400400);
export const ldrswNext = postIndex<Register64>("ldrsw", 0xb8800400);
export const strbNext = postIndex<Register32>("strb", 0x38000400);

/** System call x8 with the arguments x0 to x5. The result is in x0; all other registers keep their values. */
export const svc = (): Instruction => instruction("svc #0x0", 0xd4000001);
/** Raises SIGTRAP. */
export const brk = (): Instruction => instruction("brk #0x0", 0xd4200000);

/** `cs` and `hs` are the same (unsigned ≥), and so are `cc` and `lo` (unsigned <). */
const conditions = { eq: 0, ne: 1, cs: 2, cc: 3 } as const;

/** Jumps. */
export const b = (label: string): Jump => jump("b", label, 0x14000000, { bits: 26, at: 0 });

/** Jumps if the condition is true. */
export function bCond(condition: keyof typeof conditions, label: string): Jump {
  return jump(`b.${condition}`, label, 0x54000000 + conditions[condition], { bits: 19, at: 5 });
}

/** Jumps if the register is 0. */
export function cbz(register: Register, label: string): Jump {
  return jump(`cbz ${register},`, label, 0x34000000 + wide(register) + d(register), { bits: 19, at: 5 });
}

/** Jumps if the register is not 0. */
export function cbnz(register: Register, label: string): Jump {
  return jump(`cbnz ${register},`, label, 0x35000000 + wide(register) + d(register), { bits: 19, at: 5 });
}

/** Jumps if a bit (0 to 31) of the register is 0. */
export function tbz(register: Register32, bit: number, label: string): Jump {
  const word = 0x36000000 + unsigned(bit, 5, 19) + d(register);
  return jump(`tbz ${register}, #${bit},`, label, word, { bits: 14, at: 5 });
}

/** Jumps if a bit (0 to 31) of the register is 1. */
export function tbnz(register: Register32, bit: number, label: string): Jump {
  const word = 0x37000000 + unsigned(bit, 5, 19) + d(register);
  return jump(`tbnz ${register}, #${bit},`, label, word, { bits: 14, at: 5 });
}

function threeRegisters(name: string, opcode: number) {
  return (to: Register, left: Register, right: Register): Instruction =>
    instruction(`${name} ${to}, ${left}, ${right}`, opcode + wide(to, left, right) + m(right) + n(left) + d(to));
}

function twoRegistersImm(name: string, opcode: number) {
  return (to: Register, left: Register, value: number): Instruction => {
    const word = opcode + wide(to, left) + unsigned(value, 12, 10) + n(left) + d(to);
    return instruction(`${name} ${to}, ${left}, ${hex(value)}`, word);
  };
}

/** `forms`: opcode and size in bytes by the first letter of the register. */
function unsignedOffset<Width extends "w" | "x">(name: string, forms: Record<Width, readonly [number, number]>) {
  return (register: `${Width}${number}`, { base, offset }: Memory): Instruction => {
    const [opcode, size] = forms[register[0] as Width];
    const word = opcode + unsigned(offset / size, 12, 10) + n(base) + d(register);
    return instruction(`${name} ${register}, [${base}${offset ? `, #${offset}` : ""}]`, word);
  };
}

function postIndex<Width extends Register>(name: string, opcode: number) {
  return (register: Width, base: Register64, step: number): Instruction =>
    instruction(`${name} ${register}, [${base}], #${step}`, opcode + unsigned(step, 8, 12) + n(base) + d(register));
}

/** The distance is a signed number of words in the field of `bits` bits that starts at bit `at`. */
function jump(text: string, label: string, opcode: number, field: { bits: number; at: number }): Jump {
  const encode = (distance: number) => {
    const words = distance / 4;
    const limit = 2 ** (field.bits - 1);
    if (words < -limit || words >= limit) throw new RangeError(`${text} ${label}: ${distance} bytes is too far`);
    return littleEndian(opcode + unsigned(words < 0 ? words + 2 * limit : words, field.bits, field.at), 4);
  };
  return { text, label, size: 4, encode };
}

const instruction = (text: string, word: number): Instruction => ({ text, bytes: littleEndian(word, 4) });

/** Bit 31 if the registers have 64 bits. */
function wide(...registers: readonly Register[]): number {
  const widths = new Set(registers.map((register) => register[0]));
  if (widths.size > 1) throw new RangeError(`${registers.join(", ")}: widths differ`);
  return widths.has("x") ? 0x80000000 : 0;
}

/** `value` in a field of `bits` bits that starts at bit `at`. */
function unsigned(value: number, bits: number, at: number): number {
  if (!Number.isInteger(value) || value < 0 || value >= 2 ** bits) {
    throw new RangeError(`${value} does not fit ${bits} bits`);
  }
  return value * 2 ** at;
}

const numberOf = (register: Register) => Number(register.slice(1));
/** The fields of the manual's register operands: Rd (also Rt), Rn, Rm. */
const d = (register: Register) => unsigned(numberOf(register), 5, 0);
const n = (register: Register) => unsigned(numberOf(register), 5, 5);
const m = (register: Register) => unsigned(numberOf(register), 5, 16);
const hex = (value: number) => `#0x${value.toString(16)}`;
