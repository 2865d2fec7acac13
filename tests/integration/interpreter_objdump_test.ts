/** What listings say is what objdump reads in their bytes, and the checked-in ones are current. */

import { assertEquals } from "@std/assert";
import type { Arch } from "../../lib/ffi/syscalls.ts";
import { firstProcessCode } from "../../lib/sandbox/run/first_process.ts";
import { assemble, type Assembly } from "../../lib/plan/native/assembler.ts";
import { compileFront } from "../../tools/snapshot/front/front.ts";
import { assembleInterpreter, listing } from "../../tools/listing.ts";
import { resumeCode } from "../../tools/snapshot/resume_x86_64.ts";
import { lacks } from "./interpreter_harness.ts";

const disassemblers: Record<Arch, { command: string; args: readonly string[] }> = {
  x86_64: {
    command: Deno.build.arch === "x86_64" ? "/usr/bin/objdump" : "/usr/bin/x86_64-linux-gnu-objdump",
    args: ["-m", "i386:x86-64", "-M", "intel", "--insn-width=16"],
  },
  aarch64: {
    command: Deno.build.arch === "aarch64" ? "/usr/bin/objdump" : "/usr/bin/aarch64-linux-gnu-objdump",
    args: ["-m", "aarch64"],
  },
};

for (const arch of ["x86_64", "aarch64"] as const) {
  const { command, args } = disassemblers[arch];

  Deno.test({
    name: `objdump reads the ${arch} interpreter as its listing says (needs ${command})`,
    ignore: lacks(command),
    fn: () => {
      const assembly = assembleInterpreter(arch);
      assertEquals(disassemble(command, args, assembly.code), expectedLines(assembly));
    },
  });

  Deno.test({
    name: `objdump reads the first process of sandboxes on ${arch} as its listing says (needs ${command})`,
    ignore: lacks(command),
    fn: () => {
      const assembly = firstProcessCode(arch);
      assertEquals(disassemble(command, args, assembly.code), expectedLines(assembly));
    },
  });

  Deno.test(`docs/listing_${arch}.txt is current (else run tools/listing.ts)`, () => {
    const path = new URL(`../../docs/listing_${arch}.txt`, import.meta.url);
    assertEquals(Deno.readTextFileSync(path), listing(arch));
  });
}

Deno.test({
  name: `objdump reads what a frozen program begins with as its listing says (needs ${disassemblers.x86_64.command})`,
  ignore: lacks(disassemblers.x86_64.command),
  fn: () => {
    const { command, args } = disassemblers.x86_64;
    const point = { registers: 0x1234_5678_9abcn, environ: 2n, threadPointer: 3n, robustList: 4n, rseq: 5n };
    const places = {
      map: { from: 0x400800, to: 0x401f00 },
      thread: { from: 0x401f00, to: 0x402000 },
      readAhead: { from: 0x403400, to: 0x403500 },
      lastRead: { address: 0x2000_0000_0000n, offset: 0x600_0000 },
      isTraced: true,
      populate: [
        { hasWord: ["run", "create"], table: { from: 0x403200, to: 0x403300 } },
        { hasWord: [], table: { from: 0x403300, to: 0x403300 } },
      ],
      reserve: { from: 0x402000, to: 0x403000 },
      canaries: { from: 0x403000, to: 0x403100 },
      guards: { from: 0x403100, to: 0x403108 },
      pointers: { from: 0x403108, to: 0x403200 },
      leastAddresses: 0x10000000,
      leastData: 0x4000000,
      ownPath: 0x400700,
      sayings: {
        processor: 0x400720,
        file: 0x400740,
        memory: 0x400760,
        damaged: 0x400780,
        descriptors: 0x4007a0,
        crash: 0x4007c0,
      },
      fileSize: 0x1234_5678,
      point,
      threadId: 6n,
    };
    const assembly = resumeCode(places, [{ leaf: 7, register: "ebx", bits: 0x8000_0021 }]);
    assertEquals(disassemble(command, args, assembly.code), expectedLines(assembly));
  },
});

Deno.test({
  name: `objdump reads the front as its listing says (needs ${disassemblers.x86_64.command})`,
  ignore: lacks(disassemblers.x86_64.command),
  fn: () => {
    const { command, args } = disassemblers.x86_64;
    const assembly = assemble(compileFront({ constants: 0x410000, zeroed: 0x500000 }).rows);
    assertEquals(disassemble(command, args, assembly.code), expectedLines(assembly));
  },
});

/** `offset: instruction`, one each. */
function disassemble(command: string, args: readonly string[], code: Uint8Array): string[] {
  const path = Deno.makeTempFileSync({ prefix: "interpreter-code-" });
  try {
    Deno.writeFileSync(path, code);
    const { stdout } = new Deno.Command(command, { args: ["-D", "-b", "binary", ...args, path] }).outputSync();
    const lines = new TextDecoder().decode(stdout).matchAll(/^ *([0-9a-f]+):\t[0-9a-f ]+\t(.*)$/gm);
    return [...lines].map(([, offset, text]) => `${parseInt(offset!, 16)}: ${normal(text!)}`);
  } finally {
    Deno.removeSync(path);
  }
}

/** The listing with offsets in the place of labels, as objdump has it. */
function expectedLines({ lines, labels }: Assembly): string[] {
  return lines.map(({ offset, text }) => {
    const [label] = text.match(/\w+$/) ?? [];
    const target = label === undefined ? undefined : labels.get(label);
    const isJump = target !== undefined && /^(j|b |b\.|cb|tb)/.test(text);
    return `${offset}: ${normal(isJump ? text.replace(/\w+$/, `0x${target.toString(16)}`) : text)}`;
  });
}

/** Without objdump's comments and column spaces, numbers in decimal: what differs between its versions. */
function normal(text: string): string {
  return text.replace(/\s*\/\/.*/, "").trim().replace(/\s+/g, " ").replace(/, /g, ",")
    .replace(/0x[0-9a-f]+/g, (number) => BigInt(number).toString());
}
