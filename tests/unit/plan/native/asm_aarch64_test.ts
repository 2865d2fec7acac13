/** Each form against GNU as: the text and the bytes. */

import { assertEquals, assertThrows } from "@std/assert";
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
} from "../../../../lib/plan/native/asm_aarch64.ts";
import type { Instruction, Jump } from "../../../../lib/plan/native/assembler.ts";

/** `expectedHex`: aarch64-linux-gnu-as (GNU Binutils for Debian) 2.40. */
const instructions: readonly [text: string, emitted: Instruction, expectedHex: string][] = [
  ["mov x19, #0x220", movImm("x19", 0x220), "134480d2"],
  ["mov x9, sp", movSp("x9"), "e9030091"],
  ["mov w22, #0x80", movImm("w22", 128), "16108052"],
  ["movk x19, #0x1000, lsl #16", movkHigh("x19", 0x1000), "1300a2f2"],
  ["mov x0, x1", mov("x0", "x1"), "e00301aa"],
  ["mov w6, w6", mov("w6", "w6"), "e603062a"],
  ["neg w6, w0", neg("w6", "w0"), "e603004b"],
  ["add x20, x19, x20", add("x20", "x19", "x20"), "7402148b"],
  ["sub w9, w20, w19", sub("w9", "w20", "w19"), "8902134b"],
  ["sub x0, x0, x1", sub("x0", "x0", "x1"), "000001cb"],
  ["and x0, x0, x1", and("x0", "x0", "x1"), "0000018a"],
  ["add x6, x19, x6, lsl #3", addShifted("x6", "x19", "x6", 3), "660e068b"],
  ["add x21, x20, #0x8", addImm("x21", "x20", 8), "95220091"],
  ["sub w10, w10, #0x1", subImm("w10", "w10", 1), "4a050051"],
  ["subs w22, w22, #0x1", subsImm("w22", "w22", 1), "d6060071"],
  ["sub w8, w8, #0x8, lsl #12", subImmHigh("w8", "w8", 8), "08214051"],
  ["cmp x0, x1", cmp("x0", "x1"), "1f0001eb"],
  ["cmp w10, w6", cmp("w10", "w6"), "5f01066b"],
  ["cmp w10, #0xfff", cmpImm("w10", 0xfff), "5ffd3f71"],
  ["cmn x0, #0xfff", cmnImm("x0", 4095), "1ffc3fb1"],
  ["lsr w10, w7, #20", lsrImm("w10", "w7", 20), "ea7c1453"],
  ["lsr x2, x2, #8", lsrImm("x2", "x2", 8), "42fc48d3"],
  ["lsr x0, x0, x1", lsr("x0", "x0", "x1"), "0024c19a"],
  ["lsr w9, w10, w11", lsr("w9", "w10", "w11"), "4925cb1a"],
  ["ubfiz w7, w7, #2, #20", ubfiz("w7", "w7", 2, 20), "e74c1e53"],
  ["ldr w20, [x19, #8]", ldr("w20", at("x19", 8)), "740a40b9"],
  ["ldr x6, [x6, #80]", ldr("x6", at("x6", 80)), "c62840f9"],
  ["str w7, [x19, #64]", str("w7", at("x19", 64)), "674200b9"],
  ["str x0, [x9, #80]", str("x0", at("x9", 80)), "202900f9"],
  ["ldrb w9, [x20, #5]", ldrb("w9", at("x20", 5)), "89164039"],
  ["ldrh w8, [x20]", ldrh("w8", at("x20", 0)), "88024079"],
  ["ldrh w9, [x20, #2]", ldrh("w9", at("x20", 2)), "89064079"],
  ["ldrb w3, [x0, x1]", ldrbIndexed("w3", "x0", "x1"), "03686138"],
  ["ldr w7, [x12], #4", ldrNext("w7", "x12", 4), "874540b8"],
  ["ldrsw x6, [x21], #4", ldrswNext("x6", "x21", 4), "a64680b8"],
  ["strb w2, [x0], #1", strbNext("w2", "x0", 1), "02140038"],
  ["svc #0x0", svc(), "010000d4"],
  ["brk #0x0", brk(), "000020d4"],
];

/** `expectedHex`: the same of `text .+distance`. */
const jumps: readonly [text: string, jump: Jump, distance: number, expectedHex: string][] = [
  ["b", b("to"), -0x8000000, "00000016"],
  ["b.eq", bCond("eq", "to"), -0x4, "e0ffff54"],
  ["b.ne", bCond("ne", "to"), 0x8, "41000054"],
  ["b.cs", bCond("cs", "to"), 0xffffc, "e2ff7f54"],
  ["b.cc", bCond("cc", "to"), -0x100000, "03008054"],
  ["cbz w9,", cbz("w9", "to"), 0x100, "09080034"],
  ["cbz x9,", cbz("x9", "to"), 0x100, "090800b4"],
  ["cbnz w11,", cbnz("w11", "to"), -0x44, "ebfdff35"],
  ["tbz w9, #1,", tbz("w9", 1, "to"), 0x8, "49000836"],
  ["tbnz w8, #15,", tbnz("w8", 15, "to"), -0x8000, "08007c37"],
];

for (const [text, emitted, expectedHex] of instructions) {
  Deno.test(`aarch64: ${text}`, () => {
    assertEquals(emitted.text, text);
    assertEquals(Uint8Array.from(emitted.bytes).toHex(), expectedHex);
  });
}

for (const [text, jump, distance, expectedHex] of jumps) {
  Deno.test(`aarch64: ${text} over ${distance} bytes`, () => {
    const bytes = jump.encode(distance);
    assertEquals(jump.text, text);
    assertEquals(bytes.length, jump.size);
    assertEquals(Uint8Array.from(bytes).toHex(), expectedHex);
  });
}

Deno.test("aarch64: what an instruction cannot hold is refused", () => {
  const refused: readonly (() => unknown)[] = [
    () => b("far").encode(0x8000000),
    () => bCond("eq", "far").encode(0x100000),
    () => tbz("w9", 0, "far").encode(-0x8004),
    () => b("odd").encode(2),
    () => ldr("w0", at("x19", 6)),
    () => ldr("x0", at("x19", 8 * 4096)),
    () => addImm("x0", "x0", 4096),
    () => subImm("w0", "w0", -1),
    () => movImm("x0", 0x10000),
    () => mov("w0", "x0"),
    () => mov("x0", "x32"),
  ];
  for (const form of refused) assertThrows(form, RangeError);
});
