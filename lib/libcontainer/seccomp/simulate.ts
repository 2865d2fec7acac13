/**
 * Runs a seccomp filter as the kernel would, and tells which instructions it took. Pure.
 *
 * The machine is classic BPF: one accumulator, and loads from `struct seccomp_data`. It knows the instructions that
 * libseccomp and ./enosys_stub.ts generate.
 *
 * @see seccomp(2)
 * @see https://www.kernel.org/doc/html/latest/networking/filter.html
 * @module
 */

import { RuncError } from "../../errors.ts";
import { Bpf, type BpfInstruction } from "./enosys_stub.ts";

/** A system call as a filter sees it. */
export interface SystemCall {
  /** AUDIT_ARCH_*. */
  readonly auditArch: number;
  readonly number: number;
  /** Up to six, each taken as 64 bits. */
  readonly args: readonly bigint[];
}

/** What a filter decided. */
export interface Simulation {
  /** SECCOMP_RET_* with its data, unsigned. */
  readonly result: number;
  /** The indices of the instructions that ran, in order. */
  readonly path: readonly number[];
}

const INSTRUCTION_SIZE = 8;

/** `struct seccomp_data`, include/uapi/linux/seccomp.h */
const seccompData = { size: 64, number: 0, arch: 4, args: 16, argSize: 8 } as const;

/** The instruction at `index`. @throws {RuncError} `internal` beyond the end. */
export function decodeInstruction(program: Uint8Array<ArrayBuffer>, index: number): BpfInstruction {
  const at = INSTRUCTION_SIZE * index;
  if (at + INSTRUCTION_SIZE > program.length) throw broken(`there is no instruction ${index}`);
  const view = new DataView(program.buffer, program.byteOffset + at, INSTRUCTION_SIZE);
  return {
    code: view.getUint16(0, true),
    jt: view.getUint8(2),
    jf: view.getUint8(3),
    k: view.getUint32(4, true),
  };
}

/**
 * The answer of `program` (`struct sock_filter[]`) to a call. @throws {RuncError} `internal` for a program that the
 * kernel would refuse.
 */
export function simulate(program: Uint8Array<ArrayBuffer>, call: SystemCall): Simulation {
  const data = dataOf(call);
  const path: number[] = [];
  let accumulator = 0;
  for (let index = 0;;) {
    const { code, jt, jf, k } = decodeInstruction(program, index);
    path.push(index++);
    const jump = (holds: boolean) => index += holds ? jt : jf;
    switch (code) {
      case Bpf.LD_W_ABS:
        accumulator = loadWord(data, k);
        break;
      case Bpf.ALU_AND_K:
        accumulator = (accumulator & k) >>> 0;
        break;
      case Bpf.JMP_JA:
        index += k;
        break;
      case Bpf.JMP_JEQ_K:
        jump(accumulator === k);
        break;
      case Bpf.JMP_JGT_K:
        jump(accumulator > k);
        break;
      case Bpf.JMP_JGE_K:
        jump(accumulator >= k);
        break;
      case Bpf.JMP_JSET_K:
        jump((accumulator & k) !== 0);
        break;
      case Bpf.RET_K:
        return { result: k, path };
      default:
        throw broken(`instruction ${path.at(-1)} has the unknown code 0x${code.toString(16)}`);
    }
  }
}

function dataOf({ auditArch, number, args }: SystemCall): DataView {
  const data = new DataView(new ArrayBuffer(seccompData.size));
  data.setUint32(seccompData.number, number, true);
  data.setUint32(seccompData.arch, auditArch, true);
  args.forEach((value, index) => {
    data.setBigUint64(seccompData.args + seccompData.argSize * index, BigInt.asUintN(64, value), true);
  });
  return data;
}

function loadWord(data: DataView, offset: number): number {
  if (offset % 4 !== 0 || offset >= seccompData.size) throw broken(`the offset ${offset} is outside of seccomp_data`);
  return data.getUint32(offset, true);
}

const mnemonics: Readonly<Record<number, string>> = {
  [Bpf.LD_W_ABS]: "ld",
  [Bpf.ALU_AND_K]: "and",
  [Bpf.JMP_JA]: "ja",
  [Bpf.JMP_JEQ_K]: "jeq",
  [Bpf.JMP_JGT_K]: "jgt",
  [Bpf.JMP_JGE_K]: "jge",
  [Bpf.JMP_JSET_K]: "jset",
  [Bpf.RET_K]: "ret",
};

/**
 * The instruction at `index` in the notation of the kernel's bpf_asm, with the numbers of other instructions as jump
 * targets: `7: jeq #0x38, 12, 8`.
 */
export function instructionText(program: Uint8Array<ArrayBuffer>, index: number): string {
  const { code, jt, jf, k } = decodeInstruction(program, index);
  const name = mnemonics[code] ?? `0x${code.toString(16)}`;
  const next = index + 1;
  const operands = code === Bpf.LD_W_ABS
    ? `[${k}]`
    : code === Bpf.JMP_JA
    ? String(next + k)
    : code === Bpf.ALU_AND_K || code === Bpf.RET_K
    ? hex(k)
    : `${hex(k)}, ${next + jt}, ${next + jf}`;
  return `${index}: ${name} ${operands}`;
}

function hex(value: number): string {
  return `#0x${value.toString(16)}`;
}

function broken(message: string): RuncError {
  return new RuncError("internal", `seccomp filter: ${message}`);
}
