/**
 * The interpreter for x86-64, as a listing. format.ts describes what it executes.
 *
 * It has no stack and writes to the program only. Values that must survive a system call are in registers that it
 * preserves: rbx is the program's start, rbp the current instruction, r13 its handlers, r12b the number of tries left.
 * docs/listing_x86_64.txt is the assembled result.
 *
 * Runs in: stage and init.
 *
 * @module
 */

import { MsgFlag } from "../../ffi/constants.ts";
import { Errno } from "../../ffi/errno.ts";
import { syscallNumber } from "../../ffi/syscalls.ts";
import {
  add,
  and,
  at,
  btr,
  cmp,
  cmpByte,
  cmpByteImm,
  cmpImm,
  element,
  inc,
  lea,
  load,
  mov,
  movImm,
  movsxd,
  movzxByte,
  movzxWord,
  near,
  neg,
  repMovsb,
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
} from "./asm_x86_64.ts";
import { assemble, type Assembly, type Row } from "./assembler.ts";
import {
  ANY_ERRNO,
  ERRNO_SHIFT,
  Flag,
  head,
  HEAD_SIZE,
  header,
  MAX_ERRNO,
  NO_SLOT,
  Opcode,
  report,
  ReportKind,
  RETRY_LIMIT,
  STACK_SLOT,
} from "./format.ts";

/** Assembles the interpreter for a program that is mapped at `programBase`. */
export function interpreterX86_64(programBase: number): Assembly {
  return assemble([
    [movImm("ebx", programBase), "the kernel clears every other register and the direction flag"],
    store(at("rbx", header.slots + 8 * STACK_SLOT), "rsp"),
    load("ebp", at("rbx", header.entry)),
    ...startInstruction,
    ...evaluateOperands,
    ...makeCall,
    ...handleFailure,
    ...sendReport,
    ...dispatchOpcode,
    ...opcodes,
    ...finishInstruction,
  ]);
}

/** A field of the current instruction's head. */
const field = (name: keyof typeof head) => at("rbp", head[name]);
/** The slot whose number is in the register. */
const slot = (index: "rax" | "rcx") => element("rbx", index, 8, header.slots);
/** A field of the report. Load and store also use its value as a buffer. */
const reportField = (name: "kind" | "instruction" | "value") => at("rbx", header.report + report[name]);
/** Dispatch counts opcodes from 0. */
const numberOf = (opcode: number) => opcode - Opcode.jump;

const startInstruction: readonly Row[] = [
  "go_to:",
  [add("rbp", "rbx"), "an offset becomes an address"],
  "fetch:",
  movImm("r12b", RETRY_LIMIT),
];

const evaluateOperands: readonly Row[] = [
  "execute:",
  [movzxWord("r11d", field("kinds")), "the current operand's kind is in the two lowest bits"],
  [xor("ecx", "ecx"), "number of the operand"],
  "operand:",
  [xor("eax", "eax"), "a missing operand is 0"],
  cmpByte("cl", field("operands")),
  short("jae", "shift"),
  movsxd("rax", element("rbp", "rcx", 4, HEAD_SIZE)),
  shrOne("r11d"),
  short("jae", "not_slot"),
  load("rax", slot("rax")),
  "not_slot:",
  shrOne("r11d"),
  short("jae", "shift"),
  [mov("eax", "eax"), "an address is zero-extended"],
  "shift:",
  [mov("rdi", "rsi"), "after six turns the first operand is in rdi"],
  mov("rsi", "rdx"),
  mov("rdx", "r10"),
  mov("r10", "r8"),
  mov("r8", "r9"),
  mov("r9", "rax"),
  inc("ecx"),
  cmpImm("ecx", 6),
  short("jb", "operand"),
  movzxByte("ecx", field("operands")),
  lea("r13", element("rbp", "rcx", 4, HEAD_SIZE)),
];

const makeCall: readonly Row[] = [
  movzxWord("eax", field("code")),
  [btr("eax", 15), "carry: the code is 0x8000 or more, an opcode"],
  near("jb", "opcode"),
  syscall(),
  movzxWord("ecx", field("code")),
  cmpImm("ecx", syscallNumber("exit_group", "x86_64")),
  [near("je", "stop"), "a seccomp filter answers it"],
  cmpImm("rax", -MAX_ERRNO),
  near("jb", "next"),
];

const handleFailure: readonly Row[] = [
  mov("ecx", "eax"),
  [neg("ecx"), "errno"],
  cmpImm("ecx", Errno.EINTR),
  short("je", "execute"),
  cmpImm("ecx", Errno.EAGAIN),
  short("jne", "find"),
  testByteImm(field("flags"), Flag.retryAgain),
  short("je", "find"),
  subImm("r12b", 1),
  near("jae", "execute"),
  "find:",
  [xor("edx", "edx"), "number of the handler"],
  "handler:",
  cmpByte("dl", field("handlers")),
  short("jae", "unhandled"),
  load("esi", element("r13", "rdx", 4, 0)),
  inc("edx"),
  mov("edi", "esi"),
  [sarImm("edi", ERRNO_SHIFT), "the handler's errno; ANY_ERRNO becomes -1"],
  cmp("edi", "ecx"),
  short("je", "handled"),
  cmpImm("edi", ANY_ERRNO - 0x100),
  short("jne", "handler"),
  "handled:",
  shlImm("esi", 32 - ERRNO_SHIFT),
  [shrImm("esi", 30 - ERRNO_SHIFT), "the target, times 4"],
  mov("edx", "esi"),
  near("jmp", "done"),
];

const sendReport: readonly Row[] = [
  "warn:",
  movImm("eax", ReportKind.warning),
  short("jmp", "send"),
  "unhandled:",
  mov("edi", "ecx"),
  "fail:",
  movImm("eax", ReportKind.error),
  "send:",
  store(reportField("kind"), "eax"),
  mov("eax", "ebp"),
  sub("eax", "ebx"),
  store(reportField("instruction"), "eax"),
  store(reportField("value"), "rdi"),
  load("edi", at("rbx", header.reportFd)),
  lea("rsi", at("rbx", header.report)),
  movImm("edx", report.size),
  movImm("r10d", MsgFlag.MSG_NOSIGNAL),
  [xor("r8d", "r8d"), "the address is NULL, so its length in r9 does not matter"],
  movImm("eax", syscallNumber("sendto", "x86_64")),
  [syscall(), "if this fails, the parent sees the socket close"],
  cmpByteImm(reportField("kind"), ReportKind.warning),
  near("je", "next"),
  "exit:",
  [movImm("edi", 1), "also a signal handler: elf.ts, exitAddress"],
  movImm("eax", syscallNumber("exit_group", "x86_64")),
  syscall(),
  "stop:",
  [ud2(), "as process 1, too: nobody can ignore or catch it"],
];

const dispatchOpcode: readonly Row[] = [
  "opcode:",
  [
    store(reportField("value"), "rdx"),
    "operands a, b, c are in rdi, rsi, rdx; store copies c from here, load copies to here",
  ],
  mov("ecx", "esi"),
  cmpImm("eax", numberOf(Opcode.jumpEqual)),
  short("jb", "jump"),
  short("je", "jump_equal"),
  cmpImm("eax", numberOf(Opcode.load)),
  short("jb", "jump_not_equal"),
  short("je", "load"),
  cmpImm("eax", numberOf(Opcode.and)),
  short("jb", "store"),
  short("je", "and"),
  cmpImm("eax", numberOf(Opcode.shr)),
  short("jb", "add"),
  short("je", "shr"),
  cmpImm("eax", numberOf(Opcode.warn)),
  short("jb", "fail"),
  short("je", "warn"),
  cmpImm("eax", numberOf(Opcode.sub)),
  short("je", "sub"),
  movImm("edi", Errno.ENOSYS),
  short("jmp", "fail"),
];

const opcodes: readonly Row[] = [
  "jump_equal:",
  cmp("rdi", "rsi"),
  short("je", "done"),
  short("jmp", "next"),
  "jump_not_equal:",
  cmp("rdi", "rsi"),
  short("jne", "done"),
  short("jmp", "next"),
  "jump:",
  mov("edx", "edi"),
  short("jmp", "done"),
  "load:",
  mov("rsi", "rdi"),
  lea("rdi", reportField("value")),
  [repMovsb(), "copies over c; load has no c, so it is 0"],
  load("rax", reportField("value")),
  short("jmp", "next"),
  "store:",
  lea("rsi", reportField("value")),
  repMovsb(),
  short("jmp", "next"),
  "and:",
  and("rdi", "rsi"),
  short("jmp", "result"),
  "sub:",
  sub("rdi", "rsi"),
  short("jmp", "result"),
  "shr:",
  [shrCl("rdi"), "cl is the low byte of b"],
  short("jmp", "result"),
  "add:",
  add("rdi", "rsi"),
  "result:",
  mov("rax", "rdi"),
];

const finishInstruction: readonly Row[] = [
  "next:",
  xor("edx", "edx"),
  "done:",
  [movzxByte("ecx", field("out")), "rax: the result; edx: offset of the next instruction, or 0 for the following one"],
  cmpImm("cl", NO_SLOT),
  short("je", "stored"),
  store(slot("rcx"), "rax"),
  "stored:",
  [movzxByte("ecx", field("handlers")), "rbp still points to this instruction"],
  mov("ebp", "edx"),
  test("edx", "edx"),
  near("jne", "go_to"),
  lea("rbp", element("r13", "rcx", 4, 0)),
  near("jmp", "fetch"),
];
