/** Each form against GNU as: the text and the bytes. */

import { assertEquals, assertThrows } from "@std/assert";
import {
  add,
  and,
  andImm,
  at,
  btr,
  cmp,
  cmpByte,
  cmpByteImm,
  cmpImm,
  cpuid,
  element,
  inc,
  int3,
  lea,
  load,
  mov,
  movImm,
  movImm64,
  movsxd,
  movzxByte,
  movzxWord,
  near,
  neg,
  repMovsb,
  ret,
  rolImm,
  sarImm,
  shlImm,
  short,
  shrCl,
  shrImm,
  shrOne,
  store,
  sub,
  subImm,
  syscall,
  test,
  testByteImm,
  ud2,
  xor,
} from "../../../../lib/plan/native/asm_x86_64.ts";
import type { Instruction, Jump } from "../../../../lib/plan/native/assembler.ts";

/** `expectedHex`: as (GNU Binutils for Debian) 2.40, `.intel_syntax noprefix`. */
const instructions: readonly [text: string, emitted: Instruction, expectedHex: string][] = [
  ["mov ebx, 0x10000210", movImm("ebx", 0x10000210), "bb10020010"],
  ["mov r10d, 0x4000", movImm("r10d", 0x4000), "41ba00400000"],
  ["mov r12b, 0x80", movImm("r12b", 0x80), "41b480"],
  ["mov rdi, rsi", mov("rdi", "rsi"), "4889f7"],
  ["mov rdx, r10", mov("rdx", "r10"), "4c89d2"],
  ["mov r9, rax", mov("r9", "rax"), "4989c1"],
  ["mov eax, eax", mov("eax", "eax"), "89c0"],
  ["add rbp, rbx", add("rbp", "rbx"), "4801dd"],
  ["and rdi, rsi", and("rdi", "rsi"), "4821f7"],
  ["sub eax, ebx", sub("eax", "ebx"), "29d8"],
  ["sub rdi, rsi", sub("rdi", "rsi"), "4829f7"],
  ["xor r8d, r8d", xor("r8d", "r8d"), "4531c0"],
  ["cmp rdi, rsi", cmp("rdi", "rsi"), "4839f7"],
  ["cmp edi, ecx", cmp("edi", "ecx"), "39cf"],
  ["test edx, edx", test("edx", "edx"), "85d2"],
  ["mov ebp, DWORD PTR [rbx+0x8]", load("ebp", at("rbx", 8)), "8b6b08"],
  ["mov rax, QWORD PTR [rbx+rax*8+0x50]", load("rax", element("rbx", "rax", 8, 80)), "488b44c350"],
  ["mov esi, DWORD PTR [r13+rdx*4+0x0]", load("esi", element("r13", "rdx", 4, 0)), "418b749500"],
  ["lea r13, [rbp+rcx*4+0x8]", lea("r13", element("rbp", "rcx", 4, 8)), "4c8d6c8d08"],
  ["lea rsi, [rbx+0x40]", lea("rsi", at("rbx", 0x40)), "488d7340"],
  ["cmp cl, BYTE PTR [rbp+0x4]", cmpByte("cl", at("rbp", 4)), "3a4d04"],
  ["movsxd rax, DWORD PTR [rbp+rcx*4+0x8]", movsxd("rax", element("rbp", "rcx", 4, 8)), "4863448d08"],
  ["movzx ecx, BYTE PTR [rbp+0x5]", movzxByte("ecx", at("rbp", 5)), "0fb64d05"],
  ["movzx eax, WORD PTR [rbp+0x0]", movzxWord("eax", at("rbp", 0)), "0fb74500"],
  ["movzx r11d, WORD PTR [rbp+0x2]", movzxWord("r11d", at("rbp", 2)), "440fb75d02"],
  ["mov DWORD PTR [rbx+0x40], eax", store(at("rbx", 0x40), "eax"), "894340"],
  ["mov BYTE PTR [rdx+0x0], cl", store(at("rdx", 0), "cl"), "884a00"],
  ["mov QWORD PTR [rbx+0x58], rsp", store(at("rbx", 0x58), "rsp"), "48896358"],
  ["mov QWORD PTR [rbx+rcx*8+0x50], rax", store(element("rbx", "rcx", 8, 80), "rax"), "488944cb50"],
  ["cmp BYTE PTR [rbx+0x40], 0x2", cmpByteImm(at("rbx", 0x40), 2), "807b4002"],
  ["test BYTE PTR [rbp+0x7], 0x1", testByteImm(at("rbp", 7), 1), "f6450701"],
  ["cmp cl, 0xff", cmpImm("cl", 0xff), "80f9ff"],
  ["cmp ecx, 0xb", cmpImm("ecx", 11), "83f90b"],
  ["cmp edi, 0xfff", cmpImm("edi", 0xfff), "81ffff0f0000"],
  ["cmp edi, 0xffffffff", cmpImm("edi", -1), "83ffff"],
  ["cmp rdi, 0xfffffffffffff001", cmpImm("rdi", -4095), "4881ff01f0ffff"],
  ["sub r12b, 0x1", subImm("r12b", 1), "4180ec01"],
  ["rol rdx, 0x11", rolImm("rdx", 17), "48c1c211"],
  ["shl esi, 0xc", shlImm("esi", 12), "c1e60c"],
  ["shr esi, 0xa", shrImm("esi", 10), "c1ee0a"],
  ["sar edi, 0x14", sarImm("edi", 20), "c1ff14"],
  ["shr r11d, 0x1", shrOne("r11d"), "41d1eb"],
  ["shr rdi, cl", shrCl("rdi"), "48d3ef"],
  ["shr r11d, cl", shrCl("r11d"), "41d3eb"],
  ["neg ecx", neg("ecx"), "f7d9"],
  ["inc ecx", inc("ecx"), "ffc1"],
  ["btr eax, 0xf", btr("eax", 15), "0fbaf00f"],
  ["rep movs BYTE PTR es:[rdi], BYTE PTR ds:[rsi]", repMovsb(), "f3a4"],
  ["syscall", syscall(), "0f05"],
  ["int3", int3(), "cc"],
  ["ud2", ud2(), "0f0b"],
  ["movabs rcx, 0x123456789abcdef0", movImm64("rcx", 0x123456789abcdef0n), "48b9f0debc9a78563412"],
  ["movabs r13, 0x400120", movImm64("r13", 0x400120n), "49bd2001400000000000"],
  ["mov rbp, rsp", mov("rbp", "rsp"), "4889e5"],
  ["mov r8, rbx", mov("r8", "rbx"), "4989d8"],
  ["lea r13, [r13+0x38]", lea("r13", at("r13", 0x38)), "4d8d6d38"],
  ["mov rsp, QWORD PTR [rdi+0x30]", load("rsp", at("rdi", 0x30)), "488b6730"],
  ["mov r15, QWORD PTR [rdi+0x28]", load("r15", at("rdi", 0x28)), "4c8b7f28"],
  ["cmp r13, 0x401000", cmpImm("r13", 0x401000), "4981fd00104000"],
  ["and ecx, 0x80000001", andImm("ecx", 0x8000_0001), "81e101000080"],
  ["cpuid", cpuid(), "0fa2"],
  ["ret", ret(), "c3"],
];

/** `expectedHex`: the same of `name .+distance`, near ones with `{disp32}`. */
const jumps: readonly [name: string, jump: Jump, distance: number, expectedHex: string][] = [
  ["jae", short("jae", "to"), 0x0, "73fe"],
  ["je", short("je", "to"), 0x81, "747f"],
  ["jb", short("jb", "to"), -0x7e, "7280"],
  ["jmp", short("jmp", "to"), 0x10, "eb0e"],
  ["jne", near("jne", "to"), 0x1000, "0f85fa0f0000"],
  ["jb", near("jb", "to"), 0x40, "0f823a000000"],
  ["jmp", near("jmp", "to"), -0x200, "e9fbfdffff"],
];

for (const [text, emitted, expectedHex] of instructions) {
  Deno.test(`x86-64: ${text}`, () => {
    assertEquals(emitted.text, text);
    assertEquals(Uint8Array.from(emitted.bytes).toHex(), expectedHex);
  });
}

for (const [name, jump, distance, expectedHex] of jumps) {
  Deno.test(`x86-64: ${name} over ${distance} bytes`, () => {
    const bytes = jump.encode(distance);
    assertEquals(jump.text, name);
    assertEquals(bytes.length, jump.size);
    assertEquals(Uint8Array.from(bytes).toHex(), expectedHex);
  });
}

Deno.test("x86-64: what an instruction cannot hold is refused", () => {
  const refused: readonly (() => unknown)[] = [
    () => short("je", "far").encode(130),
    () => short("je", "far").encode(-127),
    () => load("eax", at("rbx", 128)),
    () => store(element("rbx", "rax", 8, -129), "rax"),
    () => mov("eax", "rax"),
    () => movImm("r12b", 256),
    () => cmpImm("eax", 2 ** 32),
  ];
  for (const form of refused) assertThrows(form, RangeError);
});
