/**
 * Instructions before a filter: they return ENOSYS for a system call with a higher number than all in the profile,
 * instead of the profile's default action. On ENOSYS, C libraries fall back to older calls; on EPERM they give up.
 * Pure.
 *
 * They read `struct seccomp_data` (nr at 0, arch at 4). The program, with one block for each architecture of the
 * profile:
 *
 *     ld [4]
 *     jeq #arch, 0, next        (one block an architecture)
 *       ld [0]
 *       jgt #last, 0, 1
 *       ret ERRNO(ENOSYS)
 *       ja filter
 *     next: ...
 *     filter:
 *
 * @see seccomp(2)
 * @see https://www.kernel.org/doc/html/latest/networking/filter.html
 * @module
 */

/** `struct sock_filter`. */
export interface BpfInstruction {
  readonly code: number;
  /** Number of instructions to skip if a condition holds. */
  readonly jt: number;
  /** Number of instructions to skip if not. */
  readonly jf: number;
  /** The operand. */
  readonly k: number;
}

/** include/uapi/linux/bpf_common.h; `K`: with a constant operand. */
export const Bpf = {
  LD_W_ABS: 0x20,
  JMP_JA: 0x05,
  JMP_JEQ_K: 0x15,
  JMP_JGT_K: 0x25,
  JMP_JGE_K: 0x35,
  JMP_JSET_K: 0x45,
  ALU_AND_K: 0x54,
  RET_K: 0x06,
} as const;

/** SECCOMP_RET_ERRNO | ENOSYS, include/uapi/linux/seccomp.h */
export const RETURN_ENOSYS = 0x00050000 | 38;

/** Offsets in `struct seccomp_data`. */
const NUMBER = 0, ARCH = 4;

/** An x32 system call: x86_64's architecture with this bit in the number. arch/x86/include/uapi/asm/unistd.h */
export const X32_BIT = 0x40000000;
export const X32_ARCH = 0x4000003e, X86_64_ARCH = 0xc000003e;
/** setup(2): the kernel uses its number for unknown system calls. arch/s390/kernel/syscall.c */
const S390_ARCHS: readonly number[] = [0x16, 0x80000016];

const SIZE = 8;

/** The largest system call number of a profile on an architecture. */
export interface LastSyscall {
  /** SCMP_ARCH token: its AUDIT_ARCH value, except for x32. */
  readonly arch: number;
  /** 0 if the profile has none: the architecture then has no block. */
  readonly last: number;
}

const instruction = (code: number, k: number, jt = 0, jf = 0): BpfInstruction => ({ code, jt, jf, k });
const load = (offset: number) => instruction(Bpf.LD_W_ABS, offset);

/** The checks for one architecture's numbers. They continue at their end + 0 for ENOSYS, + 1 for the filter. */
function checks(auditArch: number, lasts: readonly LastSyscall[]): readonly BpfInstruction[] {
  const lastOf = (wanted: number) => lasts.find(({ arch }) => arch === wanted)?.last;
  const beyond = (last: number, jt = 0, jf = 1) => instruction(Bpf.JMP_JGT_K, last, jt, jf);
  if (auditArch === X86_64_ARCH) {
    const [x32, x86] = [lastOf(X32_ARCH), lastOf(X86_64_ARCH)];
    if (x32 === undefined) return [instruction(Bpf.JMP_JSET_K, X32_BIT, 2, 0), beyond(x86!)];
    if (x86 === undefined) return [instruction(Bpf.JMP_JSET_K, X32_BIT, 0, 2), beyond(x32)];
    return [instruction(Bpf.JMP_JSET_K, X32_BIT, 1, 0), beyond(x86, 1, 2), beyond(x32)];
  }
  const [{ last }] = lasts as readonly [LastSyscall];
  const setup = S390_ARCHS.includes(auditArch) ? [instruction(Bpf.JMP_JEQ_K, 0, 1, 0)] : [];
  return [...setup, beyond(last)];
}

/** The stub for these largest numbers; empty if there are none. Its last jump leads to the instruction after it. */
export function enosysStub(lasts: readonly LastSyscall[]): readonly BpfInstruction[] {
  const byAuditArch = Map.groupBy(
    lasts.filter(({ last }) => last > 0),
    ({ arch }) => arch === X32_ARCH ? X86_64_ARCH : arch,
  );
  if (byAuditArch.size === 0) return [];
  let stub: readonly BpfInstruction[] = [];
  // From last to first, because each block needs the distance to the filter.
  for (const [auditArch, archs] of [...byAuditArch].reverse()) {
    const body = [load(NUMBER), ...checks(auditArch, archs), instruction(Bpf.RET_K, RETURN_ENOSYS)];
    const block = [...body, instruction(Bpf.JMP_JA, stub.length)];
    stub = [instruction(Bpf.JMP_JEQ_K, auditArch, 0, block.length), ...block, ...stub];
  }
  return [load(ARCH), ...stub];
}

/** The instructions as `struct sock_filter[]` (little-endian, like both machines). */
export function encodeBpf(program: readonly BpfInstruction[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(new ArrayBuffer(SIZE * program.length));
  const view = new DataView(bytes.buffer);
  program.forEach(({ code, jt, jf, k }, index) => {
    view.setUint16(SIZE * index, code, true);
    view.setUint8(SIZE * index + 2, jt);
    view.setUint8(SIZE * index + 3, jf);
    view.setUint32(SIZE * index + 4, k, true);
  });
  return bytes;
}
