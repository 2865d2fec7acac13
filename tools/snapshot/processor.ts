/**
 * The processor's features that the snapshot may use: those of x86-64-v2, which all processors since 2009 have. Newer
 * ones are hidden from the program before its start, because libraries choose their code by them at their first call.
 * This costs nothing: commands work on small texts.
 *
 * @see x86-64 psABI, "Microarchitecture levels"; Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, CPUID
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

/** glibc's names of the features that its functions must not be chosen by. @see glibc.cpu.hwcaps, GNU C Library manual */
export const withoutFeatures: string = [
  ..."AVX AVX2 AVX_Fast_Unaligned_Load AVX512BW AVX512CD AVX512DQ AVX512F AVX512VL".split(" "),
  ..."BMI1 BMI2 FMA FMA4 LZCNT MOVBE RTM XSAVE XSAVEC".split(" "),
].map((name) => `-${name}`).join(",");

/** V8's flags with the same purpose. Its access rights for code (PKU) need the processor's support, too. */
export const v8WithoutFeatures: readonly string[] = [
  ..."avx avx2 fma3 f16c bmi1 bmi2 lzcnt".split(" ").map((name) => `--no-enable-${name}`),
  "--no-memory-protection-keys",
];

/** The instructions of x86-64-v2 beyond those of every x86-64 processor. */
const instructions: readonly CpuRequirement[] = [
  // SSE3, SSSE3, CMPXCHG16B, SSE4.1, SSE4.2, POPCNT
  { leaf: 1, register: "ecx", bits: bits(0, 9, 13, 19, 20, 23) },
  // LAHF
  { leaf: 0x8000_0001, register: "ecx", bits: bits(0) },
];

/** Those that this processor has. A processor that resumes the snapshot must have them too. */
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
