/**
 * Writes the files derived from the interpreters' listings: docs/listing_*.txt, and the code that is built into images.
 *
 *     deno run --allow-write=docs,lib/plan/native tools/listing.ts
 *
 * @module
 */

import type { Arch } from "../lib/ffi/syscalls.ts";
import { type Assembly, formatListing } from "../lib/plan/native/assembler.ts";
import { baseAfterCode } from "../lib/plan/native/elf.ts";
import { interpreterAarch64 } from "../lib/plan/native/interpreter_aarch64.ts";
import { interpreterX86_64 } from "../lib/plan/native/interpreter_x86_64.ts";

/**
 * The interpreter for `arch`, assembled for the address that programs get. Its length does not depend on that address.
 */
export function assembleInterpreter(arch: Arch): Assembly {
  const interpreter = arch === "x86_64" ? interpreterX86_64 : interpreterAarch64;
  return interpreter(baseAfterCode(interpreter(0).code.length));
}

/** The text of docs/listing_`arch`.txt. */
export function listing(arch: Arch): string {
  const { code, lines } = assembleInterpreter(arch);
  return `The interpreter for ${arch}, ${code.length} bytes. Made by tools/listing.ts from ` +
    `lib/plan/native/interpreter_${arch}.ts.\n\n${formatListing(lines)}`;
}

/** The text of lib/plan/native/interpreter_code.ts. */
export function codeModule(): string {
  const constant = (arch: Arch) => {
    const rows = assembleInterpreter(arch).code.toHex().match(/.{1,96}/g)!;
    return `  ${arch}: ${rows.map((row) => `"${row}"`).join(" +\n    ")},\n`;
  };
  const exit = (arch: Arch) => `${arch}: 0x${assembleInterpreter(arch).labels.get("exit")!.toString(16)}`;
  return `/**
 * The interpreters' machine code, as hexadecimal digits. Made by tools/listing.ts; docs/listing_*.txt show the same
 * bytes with their meaning. Assembling takes longer than the start of a container may, so it is done beforehand.
 *
 * @module
 */

import type { Arch } from "../../ffi/syscalls.ts";

/** Loaded at file offset 232 of an image, entered at its first byte. */
export const interpreterCode: Readonly<Record<Arch, string>> = {
${constant("x86_64")}${constant("aarch64")}};

/** Offset in the code of its label \`exit\`, which ends the process with status 1. */
export const exitOffset: Readonly<Record<Arch, number>> = { ${exit("x86_64")}, ${exit("aarch64")} };
`;
}

if (import.meta.main) {
  for (const arch of ["x86_64", "aarch64"] as const) Deno.writeTextFileSync(`docs/listing_${arch}.txt`, listing(arch));
  Deno.writeTextFileSync("lib/plan/native/interpreter_code.ts", codeModule());
}
