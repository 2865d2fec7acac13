/**
 * The device filter of cgroup2: a BPF program that the kernel asks before each mknod and open of a device. Pure: filter in, code out.
 *
 * The program gets a `struct bpf_cgroup_dev_ctx` in r1 (u32 access_type, major, minor; access_type holds the BPF_DEVCG_ACC_* bits in its
 * upper half and the type in its lower one) and returns 1 to allow. It is one block an exception:
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
  /** In instructions from the next one, for jumps; in bytes, for loads. */
  readonly offset: number;
  readonly immediate: number;
}

/** BPF_DEVCG_DEV_* */
const deviceType = { b: 1, c: 2 } as const;

/**
 * The program that lets through what `filter` does.
 *
 * A request may ask for several accesses at once (open for reading and writing). An exception that allows must name all of them; one that
 * denies need only name one, as on v1.
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

/** The program's bytes, little-endian. */
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

/** The conditions of one exception, then its answer. Every failed condition jumps behind the block. */
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

/** An instruction that depends on how far away the end of its block is. */
type Condition = (toEnd: number) => BpfInstruction;

function accessCondition(access: number, allow: boolean): readonly Condition[] {
  // Every request asks for something, so all three can never fail.
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

// 32-bit arithmetic and jumps throughout: the numbers are u32, and a 64-bit comparison would extend the sign of a large one.

/** BPF_ALU|BPF_AND|BPF_K. */
function and(destination: number, immediate: number): BpfInstruction {
  return { ...plain(0x54, destination, immediate), text: `w${destination} &= ${hex(immediate)}` };
}

/** BPF_ALU|BPF_RSH|BPF_K. */
function shiftRight(destination: number, immediate: number): BpfInstruction {
  return { ...plain(0x74, destination, immediate), text: `w${destination} >>= ${hex(immediate)}` };
}

/** BPF_ALU|BPF_MOV|BPF_K to r0, the program's answer. */
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
