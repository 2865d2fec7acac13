/**
 * The interpreter for AArch64, as a listing. format.ts describes what it executes.
 *
 * It has no stack and writes to the program only. System calls preserve every register except x0: x19 is the program's
 * start, x20 the current instruction, x21 its handlers, w22 the number of tries left. docs/listing_aarch64.txt is the
 * assembled result.
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
  addImm,
  addShifted,
  and,
  at,
  b,
  bCond,
  brk,
  cbnz,
  cbz,
  cmnImm,
  cmp,
  cmpImm,
  ldr,
  ldrb,
  ldrbIndexed,
  ldrh,
  ldrNext,
  ldrswNext,
  lsr,
  lsrImm,
  mov,
  movImm,
  movkHigh,
  movSp,
  neg,
  str,
  strbNext,
  sub,
  subImm,
  subImmHigh,
  subsImm,
  svc,
  tbnz,
  tbz,
  ubfiz,
} from "./asm_aarch64.ts";
import { assemble, type Assembly, type Row } from "./assembler.ts";
import {
  ANY_ERRNO,
  ERRNO_SHIFT,
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
export function interpreterAarch64(programBase: number): Assembly {
  return assemble([
    movImm("x19", programBase % 0x10000),
    movkHigh("x19", Math.floor(programBase / 0x10000)),
    movSp("x9"),
    str("x9", at("x19", header.slots + 8 * STACK_SLOT)),
    ldr("w20", at("x19", header.entry)),
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
const field = (name: keyof typeof head) => at("x20", head[name]);
/** A field of the report. */
const reportField = (name: "kind" | "instruction" | "value") => at("x19", header.report + report[name]);
/** Dispatch counts opcodes from 0. */
const numberOf = (opcode: number) => opcode - Opcode.jump;

const startInstruction: readonly Row[] = [
  "go_to:",
  [add("x20", "x19", "x20"), "an offset becomes an address"],
  "fetch:",
  movImm("w22", RETRY_LIMIT),
];

const evaluateOperands: readonly Row[] = [
  "execute:",
  [ldrh("w9", field("kinds")), "the current operand's kind is in the two lowest bits"],
  ldrb("w10", field("operands")),
  addImm("x21", "x20", HEAD_SIZE),
  movImm("w11", 6),
  "operand:",
  [movImm("x6", 0), "a missing operand is 0"],
  cbz("w10", "shift"),
  subImm("w10", "w10", 1),
  ldrswNext("x6", "x21", 4),
  tbz("w9", 0, "not_slot"),
  addShifted("x6", "x19", "x6", 3),
  ldr("x6", at("x6", header.slots)),
  "not_slot:",
  tbz("w9", 1, "shift_kinds"),
  [mov("w6", "w6"), "an address is zero-extended"],
  "shift_kinds:",
  lsrImm("w9", "w9", 2),
  "shift:",
  [mov("x0", "x1"), "after six turns the first operand is in x0"],
  mov("x1", "x2"),
  mov("x2", "x3"),
  mov("x3", "x4"),
  mov("x4", "x5"),
  mov("x5", "x6"),
  subImm("w11", "w11", 1),
  cbnz("w11", "operand"),
];

const makeCall: readonly Row[] = [
  ldrh("w8", field("code")),
  [tbnz("w8", 15, "opcode"), "0x8000 or more is an opcode"],
  svc(),
  cmpImm("w8", syscallNumber("exit_group", "aarch64")),
  [bCond("eq", "stop"), "a seccomp filter answers it"],
  [cmnImm("x0", MAX_ERRNO), "as unsigned numbers, -4095 to -1 are the largest"],
  bCond("cc", "next"),
];

const handleFailure: readonly Row[] = [
  [neg("w6", "w0"), "errno"],
  cmpImm("w6", Errno.EINTR),
  bCond("eq", "execute"),
  cmpImm("w6", Errno.EAGAIN),
  bCond("ne", "find"),
  ldrb("w9", field("flags")),
  [tbz("w9", 0, "find"), "Flag.retryAgain"],
  subsImm("w22", "w22", 1),
  bCond("cs", "execute"),
  "find:",
  [ldrb("w9", field("handlers")), "handlers left"],
  mov("x12", "x21"),
  "handler:",
  cbz("w9", "unhandled"),
  subImm("w9", "w9", 1),
  ldrNext("w7", "x12", 4),
  [lsrImm("w10", "w7", ERRNO_SHIFT), "the handler's errno"],
  cmp("w10", "w6"),
  bCond("eq", "handled"),
  cmpImm("w10", ANY_ERRNO),
  bCond("ne", "handler"),
  "handled:",
  [ubfiz("w7", "w7", 2, ERRNO_SHIFT), "the target, times 4"],
  b("done"),
];

const sendReport: readonly Row[] = [
  "warn:",
  movImm("w7", ReportKind.warning),
  b("send"),
  "unhandled:",
  mov("w0", "w6"),
  "fail:",
  movImm("w7", ReportKind.error),
  "send:",
  str("w7", reportField("kind")),
  sub("w9", "w20", "w19"),
  str("w9", reportField("instruction")),
  str("x0", reportField("value")),
  ldr("w0", at("x19", header.reportFd)),
  addImm("x1", "x19", header.report),
  movImm("x2", report.size),
  movImm("x3", MsgFlag.MSG_NOSIGNAL),
  [movImm("x4", 0), "the address is NULL, so its length in x5 does not matter"],
  movImm("w8", syscallNumber("sendto", "aarch64")),
  [svc(), "if this fails, the parent sees the socket close"],
  cmpImm("w7", ReportKind.warning),
  bCond("eq", "next"),
  "exit:",
  [movImm("x0", 1), "also a signal handler: elf.ts, exitAddress"],
  movImm("w8", syscallNumber("exit_group", "aarch64")),
  svc(),
  "stop:",
  [brk(), "as process 1, too: nobody can ignore or catch it"],
];

const dispatchOpcode: readonly Row[] = [
  "opcode:",
  [mov("w7", "w2"), "operands a, b, c are in x0, x1, x2; some jump to c"],
  subImmHigh("w8", "w8", Opcode.jump >> 12),
  cmpImm("w8", numberOf(Opcode.jumpEqual)),
  bCond("cc", "jump"),
  bCond("eq", "jump_equal"),
  cmpImm("w8", numberOf(Opcode.load)),
  bCond("cc", "jump_not_equal"),
  bCond("eq", "load"),
  cmpImm("w8", numberOf(Opcode.and)),
  bCond("cc", "store"),
  bCond("eq", "and"),
  cmpImm("w8", numberOf(Opcode.shr)),
  bCond("cc", "add"),
  bCond("eq", "shr"),
  cmpImm("w8", numberOf(Opcode.warn)),
  bCond("cc", "fail"),
  bCond("eq", "warn"),
  cmpImm("w8", numberOf(Opcode.sub)),
  bCond("eq", "sub"),
  movImm("x0", Errno.ENOSYS),
  b("fail"),
];

const opcodes: readonly Row[] = [
  "jump_equal:",
  cmp("x0", "x1"),
  bCond("eq", "done"),
  b("next"),
  "jump_not_equal:",
  cmp("x0", "x1"),
  bCond("ne", "done"),
  b("next"),
  "jump:",
  mov("w7", "w0"),
  b("done"),
  "load:",
  [subImm("w1", "w1", 1), "from the last byte (the highest) to the first"],
  ldrbIndexed("w3", "x0", "x1"),
  [addShifted("x2", "x3", "x2", 8), "load has no c, so this starts as 0"],
  cbnz("w1", "load"),
  mov("x0", "x2"),
  b("next"),
  "store:",
  [strbNext("w2", "x0", 1), "from the first byte (the lowest) to the last"],
  lsrImm("x2", "x2", 8),
  subImm("w1", "w1", 1),
  cbnz("w1", "store"),
  b("next"),
  "and:",
  and("x0", "x0", "x1"),
  b("next"),
  "sub:",
  sub("x0", "x0", "x1"),
  b("next"),
  "shr:",
  lsr("x0", "x0", "x1"),
  b("next"),
  "add:",
  add("x0", "x0", "x1"),
];

const finishInstruction: readonly Row[] = [
  "next:",
  movImm("w7", 0),
  "done:",
  [ldrb("w9", field("out")), "x0: the result; w7: offset of the next instruction, or 0 for the following one"],
  cmpImm("w9", NO_SLOT),
  bCond("eq", "stored"),
  addShifted("x9", "x19", "x9", 3),
  str("x0", at("x9", header.slots)),
  "stored:",
  [ldrb("w9", field("handlers")), "x20 still points to this instruction"],
  mov("w20", "w7"),
  cbnz("w7", "go_to"),
  addShifted("x20", "x21", "x9", 2),
  b("fetch"),
];
