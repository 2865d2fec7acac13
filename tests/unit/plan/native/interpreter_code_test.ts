/** The bytes that images are built with are the ones that the listings assemble to. */

import { assert, assertEquals } from "@std/assert";
import { exitAddress, programBase } from "../../../../lib/plan/native/elf.ts";
import { interpreterAarch64 } from "../../../../lib/plan/native/interpreter_aarch64.ts";
import { interpreterCode } from "../../../../lib/plan/native/interpreter_code.ts";
import { interpreterX86_64 } from "../../../../lib/plan/native/interpreter_x86_64.ts";

const interpreters = [
  { arch: "x86_64", interpreter: interpreterX86_64, limitBytes: 448 },
  { arch: "aarch64", interpreter: interpreterAarch64, limitBytes: 576 },
] as const;

/** Each sets every register that the last one reads: syscall(2), "Architecture calling conventions". */
const exitWithStatus1 = {
  x86_64: ["mov edi, 0x1", "mov eax, 0xe7", "syscall"],
  aarch64: ["mov x0, #0x1", "mov w8, #0x5e", "svc #0x0"],
};

for (const { arch, interpreter, limitBytes } of interpreters) {
  Deno.test(`interpreter_code.ts holds the ${arch} listing, for that image's base (else run tools/listing.ts)`, () => {
    assertEquals(interpreterCode[arch], interpreter(programBase(arch)).code.toHex());
  });

  Deno.test(`the ${arch} interpreter has less than ${limitBytes} bytes`, () => {
    assert(interpreter(0).code.length < limitBytes);
  });

  Deno.test(`exitAddress() is where the ${arch} listing ends the process with status 1`, () => {
    // An image's file offset 0 is mapped at 0x400000, its code stands at file offset 232.
    const offset = exitAddress(arch) - 0x400000 - 232;
    const { lines } = interpreter(programBase(arch));
    const start = lines.findIndex((line) => line.offset === offset);
    assertEquals(lines.slice(start, start + 3).map((line) => line.text), exitWithStatus1[arch]);
  });

  Deno.test(`every label of the ${arch} interpreter is used`, () => {
    const { lines, labels } = interpreter(programBase(arch));
    // Nothing jumps to "exit": exitAddress() is how it is used.
    const used = new Set(["exit", ...lines.map((line) => line.text.split(" ").at(-1))]);
    assertEquals([...labels.keys()].filter((label) => !used.has(label)), []);
  });
}
