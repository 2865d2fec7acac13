/**
 * The device filter of cgroup2: a BPF program that the kernel runs before each mknod and open of a device. Pure:
 * converts a filter to code.
 *
 * The program gets a `struct bpf_cgroup_dev_ctx` in r1 (u32 access_type, major, minor). The upper half of access_type
 * has the BPF_DEVCG_ACC_* bits, the lower half the type. The program returns 1 to allow. It has one block per
 * exception:
 *
 *     if w2 != type goto next        ; then the access, and the numbers where they are no wildcards
 *     w0 = 1                         ; the opposite of the default
 *     exit
 *
 * @see include/uapi/linux/bpf.h, Documentation/bpf/standardization/instruction-set.rst
 * @module
 */

import { ALL_ACCESS, ANY, type DeviceException, type DeviceFilter } from "./rules.ts";

/** One BPF instruction: 8 bytes. */
export interface BpfInstruction {
  /** In llvm-objdump's notation. */
  readonly text: string;
  readonly opcode: number;
  readonly destination: number;
  readonly source: number;
  /** For jumps: in instructions, counted from the next one. For loads: in bytes. */
  readonly offset: number;
  readonly immediate: number;
}

/** BPF_DEVCG_DEV_* */
const deviceType = { b: 1, c: 2 } as const;

/**
 * The program that enforces `filter`.
 *
 * A request may ask for several accesses at once (open for reading and writing). An allow exception matches only if it
 * has all of them. A deny exception matches if it has any of them, as on v1.
 */
export function deviceProgram(filter: DeviceFilter): readonly BpfInstruction[] {
  return [
    load(2, 0),
    and(2, 0xffff),
    load(3, 0),
    shiftRight(3, 16),
    load(4, 4),
    load(5, 8),
    ...filter.exceptions.flatMap((exception) => block(exception, !filter.allowsByDefault)),
    ...answer(filter.allowsByDefault),
  ];
}

/** Encodes the program, little-endian. */
export function encodeProgram(program: readonly BpfInstruction[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(new ArrayBuffer(8 * program.length));
  const view = new DataView(bytes.buffer);
  program.forEach(({ opcode, destination, source, offset, immediate }, index) => {
    view.setUint8(8 * index, opcode);
    view.setUint8(8 * index + 1, destination | source << 4);
    view.setInt16(8 * index + 2, offset, true);
    view.setUint32(8 * index + 4, immediate >>> 0, true);
  });
  return bytes;
}

/** The conditions of one exception, then its result. A condition that fails jumps to the end of the block. */
function block(exception: DeviceException, allow: boolean): readonly BpfInstruction[] {
  const conditions = [
    (length: number) => jumpUnless(2, deviceType[exception.type], length),
    ...accessCondition(exception.access, allow),
    ...numberCondition(4, exception.major),
    ...numberCondition(5, exception.minor),
  ];
  const end = answer(allow);
  const length = conditions.length + end.length;
  return [...conditions.map((condition, index) => condition(length - index - 1)), ...end];
}

/** Makes an instruction from the distance to the end of its block. */
type Condition = (toEnd: number) => BpfInstruction;

function accessCondition(access: number, allow: boolean): readonly Condition[] {
  // Every request asks for at least one access, so a check for all three never fails.
  if (access === ALL_ACCESS) return [];
  if (allow) return [(toEnd) => jumpIfAny(3, ALL_ACCESS & ~access, toEnd)];
  return [() => jumpIfAny(3, access, 1), (toEnd) => jump(toEnd)];
}

function numberCondition(register: number, number: number): readonly Condition[] {
  return number === ANY ? [] : [(toEnd) => jumpUnless(register, number, toEnd)];
}

function answer(allow: boolean): readonly BpfInstruction[] {
  return [setZero(allow ? 1 : 0), exit];
}

/** BPF_LDX|BPF_MEM|BPF_W. */
function load(destination: number, offset: number): BpfInstruction {
  const text = `r${destination} = *(u32 *)(r1 + ${hex(offset)})`;
  return { text, opcode: 0x61, destination, source: 1, offset, immediate: 0 };
}

// All arithmetic and jumps are 32-bit: the numbers are u32, and a 64-bit comparison would sign-extend a large
// immediate.

/** BPF_ALU|BPF_AND|BPF_K. */
function and(destination: number, immediate: number): BpfInstruction {
  return { ...plain(0x54, destination, immediate), text: `w${destination} &= ${hex(immediate)}` };
}

/** BPF_ALU|BPF_RSH|BPF_K. */
function shiftRight(destination: number, immediate: number): BpfInstruction {
  return { ...plain(0x74, destination, immediate), text: `w${destination} >>= ${hex(immediate)}` };
}

/** BPF_ALU|BPF_MOV|BPF_K to r0, the program's result. */
function setZero(immediate: number): BpfInstruction {
  return { ...plain(0xb4, 0, immediate), text: `w0 = ${hex(immediate)}` };
}

/** BPF_JMP32|BPF_JNE|BPF_K. */
function jumpUnless(destination: number, immediate: number, offset: number): BpfInstruction {
  const text = `if w${destination} != ${hex(immediate)} goto +${hex(offset)}`;
  return { ...plain(0x56, destination, immediate), offset, text };
}

/** BPF_JMP32|BPF_JSET|BPF_K: jumps if any of the bits is set. */
function jumpIfAny(destination: number, bits: number, offset: number): BpfInstruction {
  const text = `if w${destination} & ${hex(bits)} goto +${hex(offset)}`;
  return { ...plain(0x46, destination, bits), offset, text };
}

/** BPF_JMP|BPF_JA. */
function jump(offset: number): BpfInstruction {
  return { ...plain(0x05, 0, 0), offset, text: `goto +${hex(offset)}` };
}

/** BPF_JMP|BPF_EXIT. */
const exit: BpfInstruction = { text: "exit", opcode: 0x95, destination: 0, source: 0, offset: 0, immediate: 0 };

function plain(opcode: number, destination: number, immediate: number): Omit<BpfInstruction, "text"> {
  return { opcode, destination, source: 0, offset: 0, immediate };
}

function hex(number: number): string {
  return `0x${number.toString(16)}`;
}
