/**
 * The processor's features that compiled code may use.
 *
 * @see Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, CPUID
 * @module
 */

import { alloc, type Kernel } from "../../lib/ffi/kernel.ts";
import { type Listing, listingBytes } from "../../lib/ffi/machine_code.ts";
import type { CpuRequirement } from "./resume_x86_64.ts";

/** `long cpuid(int leaf, int registers[4])`, subleaf 0: eax, ebx, ecx, edx. */
export const cpuidListing: Listing = [
  ["53", "push rbx"],
  ["89 f8", "mov eax,edi"],
  ["31 c9", "xor ecx,ecx"],
  ["0f a2", "cpuid"],
  ["89 06", "mov DWORD PTR [rsi],eax"],
  ["89 5e 04", "mov DWORD PTR [rsi+0x4],ebx"],
  ["89 4e 08", "mov DWORD PTR [rsi+0x8],ecx"],
  ["89 56 0c", "mov DWORD PTR [rsi+0xc],edx"],
  ["31 c0", "xor eax,eax"],
  ["5b", "pop rbx"],
  ["c3", "ret"],
];

const bits = (...numbers: readonly number[]) => numbers.reduce((mask, number) => (mask | 1 << number) >>> 0, 0);

/**
 * Instructions that libc and V8 test for. The other bits of these leaves describe the machine or matter only to
 * kernels.
 */
const instructions: readonly CpuRequirement[] = [
  // SSE3, PCLMULQDQ, SSSE3, FMA, CMPXCHG16B, SSE4.1, SSE4.2, MOVBE, POPCNT, AES, XSAVE, OSXSAVE, AVX, F16C, RDRAND
  { leaf: 1, register: "ecx", bits: bits(0, 1, 9, 12, 13, 19, 20, 22, 23, 25, 26, 27, 28, 29, 30) },
  // FSGSBASE, BMI1, AVX2, BMI2, ERMS, RTM, AVX512F, DQ, RDSEED, ADX, IFMA, CLFLUSHOPT, CD, SHA, BW, VL
  { leaf: 7, register: "ebx", bits: bits(0, 3, 5, 8, 9, 11, 16, 17, 18, 19, 21, 23, 28, 29, 30, 31) },
  // VBMI, PKU, OSPKE, VBMI2, GFNI, VAES, VPCLMULQDQ, VNNI, BITALG, VPOPCNTDQ
  { leaf: 7, register: "ecx", bits: bits(1, 3, 4, 6, 8, 9, 10, 11, 12, 14) },
  // FSRM, AMX and AVX512-FP16
  { leaf: 7, register: "edx", bits: bits(4, 22, 23, 24, 25) },
  // LAHF, LZCNT, PREFETCHW
  { leaf: 0x8000_0001, register: "ecx", bits: bits(0, 5, 8) },
];

/** The features of this processor. A processor that resumes the snapshot must have them too. */
export function requirements(kernel: Kernel): readonly CpuRequirement[] {
  const code = kernel.mapCode(listingBytes(cpuidListing));
  return instructions.flatMap(({ leaf, register, bits }) => {
    const registers = alloc(16);
    kernel.callAt(code, leaf, registers);
    const order = ["eax", "ebx", "ecx", "edx"].indexOf(register);
    const has = (new DataView(registers.buffer).getUint32(4 * order, true) & bits) >>> 0;
    return has === 0 ? [] : [{ leaf, register, bits: has }];
  });
}
