import { assertEquals } from "@std/assert";
import { readProgramHead } from "../../../../lib/libcontainer/checks/read/program_format.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

/** The start of an ELF file with one program header of that type. */
function elf(bits: 32 | 64, machine: number, type: number, interpreter: string): Uint8Array {
  const file = new Uint8Array(512);
  const view = new DataView(file.buffer);
  file.set(bytes("\x7fELF"));
  file.set([bits / 32, 1], 4);
  view.setUint16(18, machine, true);
  const wide = bits === 64;
  const text = bytes(`${interpreter}\0`);
  file.set(text, 300);
  view.setUint16(wide ? 54 : 42, wide ? 56 : 32, true);
  view.setUint16(wide ? 56 : 44, 1, true);
  view.setUint32(100, type, true);
  if (wide) {
    view.setBigUint64(32, 100n, true);
    view.setBigUint64(108, 300n, true);
    view.setBigUint64(132, BigInt(text.length), true);
  } else {
    view.setUint32(28, 100, true);
    view.setUint32(104, 300, true);
    view.setUint32(116, text.length, true);
  }
  return file;
}

const cases: readonly [what: string, head: Uint8Array, wanted: object][] = [
  ["a static program", elf(64, 62, 1, ""), { machine: 62 }],
  ["a dynamic program", elf(64, 183, 3, "/lib/ld.so"), { machine: 183, interpreter: "/lib/ld.so" }],
  ["a 32-bit program", elf(32, 3, 3, "/lib/ld-linux.so.2"), { machine: 3, interpreter: "/lib/ld-linux.so.2" }],
  ["a script", bytes("#!/bin/sh -e\necho"), { interpreter: "/bin/sh" }],
  ["a script with a blank", bytes("#! /usr/bin/env python\n"), { interpreter: "/usr/bin/env" }],
  ["a script without an interpreter", bytes("#!\n"), { isUnknown: true }],
  ["a text", bytes("echo hello\n"), { isUnknown: true }],
  ["an empty file", new Uint8Array(), { isUnknown: true }],
  ["an ELF file that is cut", elf(64, 62, 1, "").slice(0, 60), { isUnknown: true }],
];

for (const [what, head, wanted] of cases) {
  Deno.test(`readProgramHead() of ${what}`, () => assertEquals<object>(readProgramHead(head), wanted));
}
