/** The machine code that this process runs is what its listings say: objdump reads each row's bytes as its mnemonic. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  callsListing,
  type Listing,
  listingBytes,
  rowListing,
  signalHandlerListing,
  snapshotListing,
  trampolineListing,
  trapListing,
} from "../../lib/ffi/machine_code.ts";
import type { Arch } from "../../lib/ffi/syscalls.ts";
import { cpuidListing } from "../../tools/snapshot/processor.ts";
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

/** An instruction as objdump prints it. */
interface Line {
  readonly offset: number;
  readonly text: string;
}

/** Row, and where it stands. */
interface Row {
  readonly offset: number;
  readonly mnemonic: string;
}

// Each has different digits in every byte that is patched, so a wrong place or order shows.
const listings: readonly [name: string, listing: Partial<Record<Arch, Listing>>, immediate: bigint][] = [
  ["trampoline", trampolineListing, 0x123456789abcdef0n],
  ["calls", callsListing, 0n],
  ["row", rowListing, 0x123456789abcdef0n],
  ["signal handler", signalHandlerListing, 0x123456789abcdef0n],
  ["trap", trapListing, 0n],
  ["freeze", { x86_64: snapshotListing }, 0n],
  ["cpuid", { x86_64: cpuidListing }, 0n],
];

for (const arch of ["x86_64", "aarch64"] as const) {
  const { command, args } = disassemblers[arch];
  for (const [name, listing, immediate] of listings) {
    const code = listing[arch];
    if (code === undefined) continue;
    const rows = rowsOf(code);

    Deno.test({
      name: `objdump reads the ${arch} ${name} as its listing says (needs ${command})`,
      ignore: lacks(command),
      fn: () => {
        const instructions = rows.filter(({ mnemonic }) => mnemonic !== ".quad");
        const lines = disassemble(command, args, listingBytes(code, immediate)).slice(0, instructions.length);
        assertEquals(
          lines.map(({ offset, text }) => `${offset}: ${normal(text)}`),
          instructions.map(({ offset, mnemonic }) => `${offset}: ${normal(filled(mnemonic, immediate))}`),
        );
      },
    });

    Deno.test(`jumps and loads of the ${arch} ${name} go to the start of a row`, () => {
      for (const { mnemonic } of rows) {
        const [, target] = mnemonic.match(/^(?:jne|je|jmp|b|b\.ne|cbz x20,|ldr x(?:9|16),) (0x[0-9a-f]+)$/) ?? [];
        if (target !== undefined) assert(rows.some(({ offset }) => offset === Number(target)), mnemonic);
      }
    });
  }
}

for (const [name, { aarch64: listing }] of Object.entries({ trampolineListing, rowListing, signalHandlerListing })) {
  Deno.test(`the address that ${name}'s aarch64 code loads is at its end, aligned to its size`, () => {
    const rows = rowsOf(listing);
    const quad = rows.find(({ mnemonic }) => mnemonic === ".quad")!;
    assertEquals(quad.offset % 8, 0);
    assert(rows.some(({ mnemonic }) => new RegExp(`^ldr x\\d+, 0x${quad.offset.toString(16)}$`).test(mnemonic)));
    const code = listingBytes(listing, 0x123456789abcdef0n);
    assertEquals(new DataView(code.buffer).getBigUint64(quad.offset, true), 0x123456789abcdef0n);
    assertEquals(code.length, quad.offset + 8);
  });
}

function rowsOf(listing: Listing): readonly Row[] {
  let offset = 0;
  return listing.map(([hex, mnemonic]) => {
    const row = { offset, mnemonic };
    for (const token of hex.split(" ")) {
      assertMatch(token, /^([0-9a-f]{2}|\{.*\})$/);
      offset += token === "{imm64}" ? 8 : 1;
    }
    return row;
  });
}

function disassemble(command: string, args: readonly string[], code: Uint8Array): readonly Line[] {
  const path = Deno.makeTempFileSync({ prefix: "machine-code-" });
  try {
    Deno.writeFileSync(path, code);
    const { stdout } = new Deno.Command(command, { args: ["-D", "-b", "binary", ...args, path] }).outputSync();
    const lines = new TextDecoder().decode(stdout).matchAll(/^ *([0-9a-f]+):\t[0-9a-f ]+\t(.*)$/gm);
    return [...lines].map(([, offset, text]) => ({ offset: parseInt(offset!, 16), text: text! }));
  } finally {
    Deno.removeSync(path);
  }
}

/** A mnemonic with its immediate. */
function filled(mnemonic: string, immediate: bigint): string {
  return mnemonic.replace(/\{imm\d+\}/, `0x${immediate.toString(16)}`);
}

/** Without objdump's comments, column spaces and `#`, numbers in decimal: what differs between its versions. */
function normal(text: string): string {
  return text.replace(/\s*\/\/.*/, "").replace(/#/g, "").trim().replace(/\s+/g, " ").replace(/, /g, ",")
    .replace(/0x[0-9a-f]+/g, (number) => BigInt(number).toString());
}
