/**
 * The machine code that this process itself runs: the trampoline for every libc call, and a signal handler.
 *
 * Each is a listing of bytes and mnemonics. A test disassembles the bytes with objdump and compares.
 *
 * @module
 */

import type { Arch } from "./syscalls.ts";

/** Rows of `hex bytes | mnemonic`. `{imm64}` is replaced by the immediate. */
export type Listing = readonly (readonly [hex: string, mnemonic: string])[];

/**
 * `long trampoline(fn, a0 … a6)`: calls `fn(a0 … a6)` by the C calling convention. If the result is −1, it reads errno
 * in the same native call and returns −errno. Reading errno with a second call through Deno gave a wrong value in 9 of
 * 120 processes. `imm64` is the address of `__errno_location`.
 */
export const trampolineListing: Record<Arch, Listing> = {
  x86_64: [
    ["49 89 fb", "mov r11,rdi"],
    ["48 89 f7", "mov rdi,rsi"],
    ["48 89 d6", "mov rsi,rdx"],
    ["48 89 ca", "mov rdx,rcx"],
    ["4c 89 c1", "mov rcx,r8"],
    ["4d 89 c8", "mov r8,r9"],
    ["4c 8b 4c 24 08", "mov r9,QWORD PTR [rsp+0x8]"],
    // The seventh argument goes on the stack. This push also aligns the stack to 16 bytes for the call.
    ["ff 74 24 10", "push QWORD PTR [rsp+0x10]"],
    // Variadic functions (open, ioctl, syscall) read the number of vector registers from al.
    ["31 c0", "xor eax,eax"],
    ["41 ff d3", "call r11"],
    // Compares 32 bits: functions that return int leave the upper half undefined, and no long result ends in 32 one
    // bits.
    ["83 f8 ff", "cmp eax,0xffffffff"],
    ["75 12", "jne 0x37"],
    ["48 b8 {imm64}", "movabs rax,{imm64}"],
    ["ff d0", "call rax"],
    ["48 63 00", "movsxd rax,DWORD PTR [rax]"],
    ["48 f7 d8", "neg rax"],
    ["59", "pop rcx"],
    ["c3", "ret"],
  ],
  aarch64: [
    ["fd 7b bf a9", "stp x29, x30, [sp, #-16]!"],
    ["f0 03 00 aa", "mov x16, x0"],
    ["e0 03 01 aa", "mov x0, x1"],
    ["e1 03 02 aa", "mov x1, x2"],
    ["e2 03 03 aa", "mov x2, x3"],
    ["e3 03 04 aa", "mov x3, x4"],
    ["e4 03 05 aa", "mov x4, x5"],
    ["e5 03 06 aa", "mov x5, x6"],
    ["e6 03 07 aa", "mov x6, x7"],
    ["00 02 3f d6", "blr x16"],
    ["1f 04 00 31", "cmn w0, #0x1"],
    ["a1 00 00 54", "b.ne 0x40"],
    ["d0 00 00 58", "ldr x16, 0x48"],
    ["00 02 3f d6", "blr x16"],
    ["00 00 80 b9", "ldrsw x0, [x0]"],
    ["e0 03 00 cb", "neg x0, x0"],
    ["fd 7b c1 a8", "ldp x29, x30, [sp], #16"],
    ["c0 03 5f d6", "ret"],
    ["{imm64}", ".quad"],
  ],
};

/**
 * `long calls(row *rows, long count, fn trampoline)`: calls each row's function by the trampoline and puts the result
 * into its place. A row is four words: the function and three arguments. Several calls cost one switch to another
 * thread.
 */
export const callsListing: Record<Arch, Listing> = {
  x86_64: [
    // Three pushes align the stack to 16 bytes for the calls.
    ["53", "push rbx"],
    ["55", "push rbp"],
    ["41 54", "push r12"],
    ["48 89 fb", "mov rbx,rdi"],
    ["48 89 f5", "mov rbp,rsi"],
    ["49 89 d4", "mov r12,rdx"],
    ["48 85 ed", "test rbp,rbp"],
    ["74 1e", "je 0x30"],
    ["48 8b 3b", "mov rdi,QWORD PTR [rbx]"],
    ["48 8b 73 08", "mov rsi,QWORD PTR [rbx+0x8]"],
    ["48 8b 53 10", "mov rdx,QWORD PTR [rbx+0x10]"],
    ["48 8b 4b 18", "mov rcx,QWORD PTR [rbx+0x18]"],
    ["41 ff d4", "call r12"],
    ["48 89 03", "mov QWORD PTR [rbx],rax"],
    ["48 83 c3 20", "add rbx,0x20"],
    ["48 ff cd", "dec rbp"],
    ["eb dd", "jmp 0xd"],
    ["31 c0", "xor eax,eax"],
    ["41 5c", "pop r12"],
    ["5d", "pop rbp"],
    ["5b", "pop rbx"],
    ["c3", "ret"],
  ],
  aarch64: [
    ["fd 7b bd a9", "stp x29, x30, [sp, #-48]!"],
    ["f3 53 01 a9", "stp x19, x20, [sp, #16]"],
    ["f5 13 00 f9", "str x21, [sp, #32]"],
    ["f3 03 00 aa", "mov x19, x0"],
    ["f4 03 01 aa", "mov x20, x1"],
    ["f5 03 02 aa", "mov x21, x2"],
    ["f4 00 00 b4", "cbz x20, 0x34"],
    ["60 06 40 a9", "ldp x0, x1, [x19]"],
    ["62 0e 41 a9", "ldp x2, x3, [x19, #16]"],
    ["a0 02 3f d6", "blr x21"],
    ["60 06 02 f8", "str x0, [x19], #32"],
    ["94 06 00 d1", "sub x20, x20, #0x1"],
    ["fa ff ff 17", "b 0x18"],
    ["e0 03 1f aa", "mov x0, xzr"],
    ["f5 13 40 f9", "ldr x21, [sp, #32]"],
    ["f3 53 41 a9", "ldp x19, x20, [sp, #16]"],
    ["fd 7b c3 a8", "ldp x29, x30, [sp], #48"],
    ["c0 03 5f d6", "ret"],
  ],
};

/**
 * `int row(word *row)`: calls the row's function by the trampoline, with seven arguments, and puts the result into the
 * function's place. `imm64` is the address of the trampoline.
 */
export const rowListing: Record<Arch, Listing> = {
  x86_64: [
    ["53", "push rbx"],
    ["48 89 fb", "mov rbx,rdi"],
    // The last two arguments are on the stack. Three pushes align it to 16 bytes for the call.
    ["ff 73 38", "push QWORD PTR [rbx+0x38]"],
    ["ff 73 30", "push QWORD PTR [rbx+0x30]"],
    ["4c 8b 4b 28", "mov r9,QWORD PTR [rbx+0x28]"],
    ["4c 8b 43 20", "mov r8,QWORD PTR [rbx+0x20]"],
    ["48 8b 4b 18", "mov rcx,QWORD PTR [rbx+0x18]"],
    ["48 8b 53 10", "mov rdx,QWORD PTR [rbx+0x10]"],
    ["48 8b 73 08", "mov rsi,QWORD PTR [rbx+0x8]"],
    ["48 8b 3b", "mov rdi,QWORD PTR [rbx]"],
    ["48 b8 {imm64}", "movabs rax,{imm64}"],
    ["ff d0", "call rax"],
    ["48 89 03", "mov QWORD PTR [rbx],rax"],
    ["48 83 c4 10", "add rsp,0x10"],
    ["5b", "pop rbx"],
    ["31 c0", "xor eax,eax"],
    ["c3", "ret"],
  ],
  aarch64: [
    ["fd 7b be a9", "stp x29, x30, [sp, #-32]!"],
    ["f3 0b 00 f9", "str x19, [sp, #16]"],
    ["f3 03 00 aa", "mov x19, x0"],
    ["60 06 40 a9", "ldp x0, x1, [x19]"],
    ["62 0e 41 a9", "ldp x2, x3, [x19, #16]"],
    ["64 16 42 a9", "ldp x4, x5, [x19, #32]"],
    ["66 1e 43 a9", "ldp x6, x7, [x19, #48]"],
    ["f0 00 00 58", "ldr x16, 0x38"],
    ["00 02 3f d6", "blr x16"],
    ["60 02 00 f9", "str x0, [x19]"],
    ["e0 03 1f aa", "mov x0, xzr"],
    ["f3 0b 40 f9", "ldr x19, [sp, #16]"],
    ["fd 7b c2 a8", "ldp x29, x30, [sp], #32"],
    ["c0 03 5f d6", "ret"],
    ["{imm64}", ".quad"],
  ],
};

/**
 * `void handler(int signal)`: writes the signal's number as one byte to the descriptor that is at the address `imm64`.
 * It makes one system call and nothing else, so it cannot be interrupted half way and does not change errno.
 */
export const signalHandlerListing: Record<Arch, Listing> = {
  x86_64: [
    ["57", "push rdi"],
    ["48 b8 {imm64}", "movabs rax,{imm64}"],
    ["8b 38", "mov edi,DWORD PTR [rax]"],
    ["b8 01 00 00 00", "mov eax,0x1"],
    ["48 89 e6", "mov rsi,rsp"],
    ["ba 01 00 00 00", "mov edx,0x1"],
    ["0f 05", "syscall"],
    ["5f", "pop rdi"],
    ["c3", "ret"],
  ],
  aarch64: [
    ["e0 0f 1f f8", "str x0, [sp, #-16]!"],
    ["29 01 00 58", "ldr x9, 0x28"],
    ["20 01 40 b9", "ldr w0, [x9]"],
    ["e1 03 00 91", "mov x1, sp"],
    ["22 00 80 d2", "mov x2, #0x1"],
    ["08 08 80 d2", "mov x8, #0x40"],
    ["01 00 00 d4", "svc #0x0"],
    ["ff 43 00 91", "add sp, sp, #0x10"],
    ["c0 03 5f d6", "ret"],
    ["1f 20 03 d5", "nop"],
    ["{imm64}", ".quad"],
  ],
};

/** Ends the process by a signal that is the processor's: SIGILL (x86_64), SIGTRAP (aarch64). */
export const trapListing: Record<Arch, Listing> = {
  x86_64: [["0f 0b", "ud2"]],
  aarch64: [["00 00 20 d4", "brk #0x0"]],
};

/**
 * `long freeze(long registers[7])`: saves the registers that a C function must preserve, and stops the process. A
 * process with the same memory that loads these registers returns from here with 1. If this process is continued, it
 * returns 0. x86_64 only.
 *
 * @see System V ABI, AMD64, section 3.2.1
 */
export const snapshotListing: Listing = [
  ["48 89 1f", "mov QWORD PTR [rdi],rbx"],
  ["48 89 6f 08", "mov QWORD PTR [rdi+0x8],rbp"],
  ["4c 89 67 10", "mov QWORD PTR [rdi+0x10],r12"],
  ["4c 89 6f 18", "mov QWORD PTR [rdi+0x18],r13"],
  ["4c 89 77 20", "mov QWORD PTR [rdi+0x20],r14"],
  ["4c 89 7f 28", "mov QWORD PTR [rdi+0x28],r15"],
  // rsp points to the return address.
  ["48 89 67 30", "mov QWORD PTR [rdi+0x30],rsp"],
  // kill(getpid(), SIGSTOP)
  ["b8 27 00 00 00", "mov eax,0x27"],
  ["0f 05", "syscall"],
  ["89 c7", "mov edi,eax"],
  ["be 13 00 00 00", "mov esi,0x13"],
  ["b8 3e 00 00 00", "mov eax,0x3e"],
  ["0f 05", "syscall"],
  ["31 c0", "xor eax,eax"],
  ["c3", "ret"],
];

/** The listing's bytes with `immediate` filled in. */
export function listingBytes(listing: Listing, immediate = 0n): Uint8Array<ArrayBuffer> {
  const bytes: number[] = [];
  const little = (value: bigint, size: number) => {
    for (let i = 0; i < size; i++) bytes.push(Number((value >> BigInt(8 * i)) & 0xffn));
  };
  for (const [hex] of listing) {
    for (const token of hex.split(" ")) {
      if (token === "{imm64}") little(immediate, 8);
      else bytes.push(parseInt(token, 16));
    }
  }
  return new Uint8Array(bytes);
}
