/**
 * The x86-64 instructions that the interpreter uses: one function per form, named like its mnemonic.
 *
 * Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2. Texts are in objdump's spelling (`-M
 * intel`).
 *
 * @module
 */

import { type Instruction, type Jump, littleEndian } from "./assembler.ts";

/** The registers in use, by width in bits, with their encoded numbers. */
const numbers = {
  64: {
    rax: 0,
    rcx: 1,
    rdx: 2,
    rbx: 3,
    rsp: 4,
    rbp: 5,
    rsi: 6,
    rdi: 7,
    r8: 8,
    r9: 9,
    r10: 10,
    r12: 12,
    r13: 13,
    r14: 14,
    r15: 15,
  },
  32: { eax: 0, ecx: 1, edx: 2, ebx: 3, ebp: 5, esi: 6, edi: 7, r8d: 8, r9d: 9, r10d: 10, r11d: 11 },
  8: { cl: 1, dl: 2, r12b: 12 },
} as const;

type Register64 = keyof typeof numbers[64];
type Register32 = keyof typeof numbers[32];
type Register8 = keyof typeof numbers[8];
/** A register's name. */
export type Register = Register64 | Register32 | Register8;

/** `[base+index*scale+displacement]`. The displacement is one byte and is always encoded. */
export interface Memory {
  readonly base: Register64;
  readonly index?: Register64;
  readonly scale?: 4 | 8;
  /** -128 to 127. */
  readonly displacement: number;
}

/** The memory `displacement` bytes after the address in `base`. */
export const at = (base: Register64, displacement: number): Memory => ({ base, displacement });

/** Element `index` of an array whose elements have `scale` bytes and which begins `displacement` bytes after `base`. */
export function element(base: Register64, index: Register64, scale: 4 | 8, displacement: number): Memory {
  return { base, index, scale, displacement };
}

/** Sets a register to an immediate. A 32-bit immediate clears the upper half of the 64-bit register. */
export function movImm(to: Register32 | Register8, value: number): Instruction {
  const wide = bitsOf(to) !== 8;
  const bytes = [
    ...rex(to, { rm: numberOf(to) }),
    (wide ? 0xb8 : 0xb0) + (numberOf(to) & 7),
    ...littleEndian(value, wide ? 4 : 1),
  ];
  return { text: `mov ${to}, ${hex(value, bitsOf(to))}`, bytes };
}

/** Sets a register to a 64-bit immediate. */
export function movImm64(to: Register64, value: bigint): Instruction {
  const bytes = Array.from({ length: 8 }, (_, index) => Number((value >> BigInt(8 * index)) & 0xffn));
  const opcode = [...rex(to, { rm: numberOf(to) }), 0xb8 + (numberOf(to) & 7)];
  return { text: `movabs ${to}, 0x${value.toString(16)}`, bytes: [...opcode, ...bytes] };
}

export const mov = twoRegisters("mov", 0x89);
export const add = twoRegisters("add", 0x01);
export const and = twoRegisters("and", 0x21);
export const sub = twoRegisters("sub", 0x29);
export const xor = twoRegisters("xor", 0x31);
export const cmp = twoRegisters("cmp", 0x39);
export const test = twoRegisters("test", 0x85);

export const load = fromMemory("mov", [0x8b]);
export const lea = fromMemory("lea", [0x8d], "");
/** Compares a byte register with a byte in memory. */
export const cmpByte = fromMemory("cmp", [0x3a]);
/** Sign-extends 32 bits to 64. */
export const movsxd = fromMemory("movsxd", [0x63], "DWORD PTR ");
/** Zero-extends a byte. */
export const movzxByte = fromMemory("movzx", [0x0f, 0xb6], "BYTE PTR ");
/** Zero-extends 16 bits. */
export const movzxWord = fromMemory("movzx", [0x0f, 0xb7], "WORD PTR ");

/** Writes a register to memory. */
export function store(to: Memory, from: Register): Instruction {
  const opcode = bitsOf(from) === 8 ? 0x88 : 0x89;
  return { text: `mov ${pointer(from)}${show(to)}, ${from}`, bytes: memoryForm([opcode], from, to) };
}

/** Compares a byte in memory with an immediate. */
export const cmpByteImm = (left: Memory, right: number) => byteImmediate("cmp", 0x80, 7, left, right);
/** Sets the zero flag if the byte in memory and the immediate have no bit in common. */
export const testByteImm = (left: Memory, mask: number) => byteImmediate("test", 0xf6, 0, left, mask);

/** Compares with an immediate: one byte, sign-extended to the register's width, if it fits; else four bytes. */
export function cmpImm(left: Register, right: number): Instruction {
  if (bitsOf(left) === 8) return oneRegister("cmp", 0x80, 7, left, right, 1);
  return isByte(right) ? oneRegister("cmp", 0x83, 7, left, right, 1) : oneRegister("cmp", 0x81, 7, left, right, 4);
}

/** Subtracts a byte. The carry flag is set if the result would be negative. */
export const subImm = (from: Register8, value: number) => oneRegister("sub", 0x80, 5, from, value, 1);
export const shlImm = (left: Register, count: number) => oneRegister("shl", 0xc1, 4, left, count, 1);
export const shrImm = (left: Register, count: number) => oneRegister("shr", 0xc1, 5, left, count, 1);
/** Rotates left. */
export const rolImm = (left: Register, count: number) => oneRegister("rol", 0xc1, 0, left, count, 1);
/** Shifts right by cl, filling with 0. Only the low 5 bits of cl count, 6 with a 64-bit register. */
export const shrCl = (left: Register32 | Register64): Instruction => ({
  text: `shr ${left}, cl`,
  bytes: oneRegister("shr", 0xd3, 5, left).bytes,
});
/** Shifts right, filling with the sign bit. */
export const sarImm = (left: Register, count: number) => oneRegister("sar", 0xc1, 7, left, count, 1);
/** Shifts right by one bit, into the carry flag. */
export const shrOne = (left: Register) => oneRegister("shr", 0xd1, 5, left, 1, 0);
export const neg = (left: Register) => oneRegister("neg", 0xf7, 3, left);
export const inc = (left: Register) => oneRegister("inc", 0xff, 0, left);

/** Clears a bit. The carry flag receives its old value. */
export function btr(left: Register32, bit: number): Instruction {
  const bytes = [...rex(left, { rm: numberOf(left) }), 0x0f, 0xba, fields(3, 6, numberOf(left)), bit];
  return { text: `btr ${left}, ${hex(bit, 8)}`, bytes };
}

/** Copies rcx bytes from rsi to rdi. */
export const repMovsb = (): Instruction => ({
  text: "rep movs BYTE PTR es:[rdi], BYTE PTR ds:[rsi]",
  bytes: [0xf3, 0xa4],
});

/** Queries the processor's features, by the leaf in eax and the subleaf in ecx, into eax, ebx, ecx and edx. */
export const cpuid = (): Instruction => ({ text: "cpuid", bytes: [0x0f, 0xa2] });
export const ret = (): Instruction => ({ text: "ret", bytes: [0xc3] });
/** Keeps only the bits of a four-byte immediate. */
export const andImm = (left: Register, mask: number) => oneRegister("and", 0x81, 4, left, mask, 4);

/** The result is in rax; rcx and r11 are overwritten. */
export const syscall = (): Instruction => ({ text: "syscall", bytes: [0x0f, 0x05] });
/** Raises SIGILL. */
/** Raises SIGTRAP, by which a tracer knows that this point is reached. */
export const int3 = (): Instruction => ({ text: "int3", bytes: [0xcc] });
export const ud2 = (): Instruction => ({ text: "ud2", bytes: [0x0f, 0x0b] });

/** jae and jb also test the carry flag: clear and set. */
const conditions = { jb: 2, jae: 3, je: 4, jne: 5 } as const;
type JumpName = keyof typeof conditions | "jmp";

/** A jump of 2 bytes. It reaches 129 bytes forward and 126 back. */
export function short(name: JumpName, label: string): Jump {
  const opcode = name === "jmp" ? 0xeb : 0x70 + conditions[name];
  const encode = (distance: number) => {
    if (!isByte(distance - 2)) throw new RangeError(`${name} ${label}: ${distance} bytes is too far for a short jump`);
    return [opcode, ...signedByte(distance - 2)];
  };
  return { text: name, label, size: 2, encode };
}

/** A jump of 5 bytes, 6 with a condition. It reaches everything. */
export function near(name: JumpName, label: string): Jump {
  const opcode = name === "jmp" ? [0xe9] : [0x0f, 0x80 + conditions[name]];
  const size = opcode.length + 4;
  return { text: name, label, size, encode: (distance) => [...opcode, ...littleEndian(distance - size, 4)] };
}

/** Forms `op r/m, r`, both of the same width. */
function twoRegisters(name: string, opcode: number) {
  return (to: Register, from: Register): Instruction => {
    if (bitsOf(to) !== bitsOf(from)) throw new RangeError(`${name} ${to}, ${from}: widths differ`);
    const prefix = rex(to, { reg: numberOf(from), rm: numberOf(to) });
    return { text: `${name} ${to}, ${from}`, bytes: [...prefix, opcode, fields(3, numberOf(from), numberOf(to))] };
  };
}

/** Forms `op r, m`. `size`: objdump's name for the memory operand's size if it differs from the register's. */
function fromMemory(name: string, opcode: readonly number[], size?: string) {
  return (to: Register, from: Memory): Instruction => ({
    text: `${name} ${to}, ${size ?? pointer(to)}${show(from)}`,
    bytes: memoryForm(opcode, to, from),
  });
}

/** Forms `op r/m` and `op r/m, imm`. `digit` is the part of the opcode in the ModRM byte. */
function oneRegister(
  name: string,
  opcode: number,
  digit: number,
  left: Register,
  value?: number,
  valueSize: 0 | 1 | 4 = 0,
): Instruction {
  const immediate = value === undefined || valueSize === 0 ? [] : littleEndian(value, valueSize);
  return {
    text: value === undefined ? `${name} ${left}` : `${name} ${left}, ${hex(value, bitsOf(left))}`,
    bytes: [...rex(left, { rm: numberOf(left) }), opcode, fields(3, digit, numberOf(left)), ...immediate],
  };
}

/** Forms `op m8, imm8`. */
function byteImmediate(name: string, opcode: number, digit: number, left: Memory, value: number): Instruction {
  const bytes = [...rex("cl", { rm: numberOf(left.base) }), opcode, ...address(digit, left), ...littleEndian(value, 1)];
  return { text: `${name} BYTE PTR ${show(left)}, ${hex(value, 8)}`, bytes };
}

function memoryForm(opcode: readonly number[], reg: Register, memory: Memory): number[] {
  const { base, index } = memory;
  const prefix = rex(reg, { reg: numberOf(reg), index: index ? numberOf(index) : 0, rm: numberOf(base) });
  return [...prefix, ...opcode, ...address(numberOf(reg), memory)];
}

/** ModRM, SIB if there is an index, displacement. */
function address(reg: number, { base, index, scale, displacement }: Memory): number[] {
  // Register 4 in ModRM means that a SIB follows. As a base it would be rsp or r12, which are not used.
  const modRmAndSib = index
    ? [fields(1, reg, 4), fields(scale === 8 ? 3 : 2, numberOf(index), numberOf(base))]
    : [fields(1, reg, numberOf(base))];
  return [...modRmAndSib, ...signedByte(displacement)];
}

/** The REX prefix if one is needed: one bit for 64-bit width, and the fourth bit of each register's number. */
function rex(operand: Register, { reg = 0, index = 0, rm }: { reg?: number; index?: number; rm: number }): number[] {
  const bits = (bitsOf(operand) === 64 ? 8 : 0) | reg >> 3 << 2 | index >> 3 << 1 | rm >> 3;
  return bits ? [0x40 | bits] : [];
}

/** ModRM and SIB have the same layout: two bits, three bits, three bits. */
const fields = (high: number, middle: number, low: number) => high << 6 | (middle & 7) << 3 | low & 7;

function signedByte(value: number): number[] {
  if (!isByte(value)) throw new RangeError(`${value} does not fit a signed byte`);
  return [value & 0xff];
}

const isByte = (value: number) => value >= -128 && value <= 127;
const bitsOf = (name: Register) => name in numbers[64] ? 64 : name in numbers[32] ? 32 : 8;
const numberOf = (name: Register): number => ({ ...numbers[64], ...numbers[32], ...numbers[8] })[name];
const pointer = (name: Register) => ({ 8: "BYTE PTR ", 32: "DWORD PTR ", 64: "QWORD PTR " })[bitsOf(name)];
/** In objdump's spelling: a negative number is printed as an unsigned one of `bits` bits. */
const hex = (value: number, bits: number) => `0x${BigInt.asUintN(bits, BigInt(value)).toString(16)}`;

function show({ base, index, scale, displacement }: Memory): string {
  return `[${base}${index ? `+${index}*${scale}` : ""}${displacement < 0 ? "-" : "+"}${
    hex(Math.abs(displacement), 64)
  }]`;
}
