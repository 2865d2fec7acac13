/** The bytes that images are built with are the ones that the listings assemble to. */

import { assert, assertEquals } from "@std/assert";
import { programBase } from "../../../../lib/plan/native/elf.ts";
import { interpreterAarch64 } from "../../../../lib/plan/native/interpreter_aarch64.ts";
import { interpreterCode } from "../../../../lib/plan/native/interpreter_code.ts";
import { interpreterX86_64 } from "../../../../lib/plan/native/interpreter_x86_64.ts";

const interpreters = [
  { arch: "x86_64", interpreter: interpreterX86_64, limitBytes: 400 },
  { arch: "aarch64", interpreter: interpreterAarch64, limitBytes: 500 },
] as const;

for (const { arch, interpreter, limitBytes } of interpreters) {
  Deno.test(`interpreter_code.ts holds the ${arch} listing, for that image's base (else run tools/listing.ts)`, () => {
    assertEquals(interpreterCode[arch], interpreter(programBase(arch)).code.toHex());
  });

  Deno.test(`the ${arch} interpreter has less than ${limitBytes} bytes`, () => {
    assert(interpreter(0).code.length < limitBytes);
  });

  Deno.test(`every label of the ${arch} interpreter is used`, () => {
    const { lines, labels } = interpreter(programBase(arch));
    const used = new Set(lines.map((line) => line.text.split(" ").at(-1)));
    assertEquals([...labels.keys()].filter((label) => !used.has(label)), []);
  });
}
