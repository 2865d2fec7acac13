import { assertEquals } from "@std/assert";
import { standIn } from "../../../tools/snapshot/vdso.ts";

const CODE_AT = 0x40, NAMES_AT = 0x80, SYMBOLS_AT = 0x100, SECTIONS_AT = 0x200, NOTE_AT = 0x280;
/** The kernel's release. */
const RELEASE = "6.1.0-test";

/** A vDSO with these functions, each 16 bytes of `nop`. elf(5) */
function vdso(names: readonly string[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(new ArrayBuffer(0x300));
  const view = new DataView(bytes.buffer);
  const word = (at: number, value: number) => view.setBigUint64(at, BigInt(value), true);
  bytes.fill(0x90, CODE_AT, NAMES_AT);
  let name = NAMES_AT + 1;
  names.forEach((text, index) => {
    // The first symbol is none.
    const symbol = SYMBOLS_AT + 24 * (index + 1);
    view.setUint32(symbol, name - NAMES_AT, true);
    word(symbol + 8, CODE_AT + 16 * index);
    word(symbol + 16, 16);
    bytes.set(new TextEncoder().encode(`__vdso_${text}\0`), name);
    name += text.length + 8;
  });
  word(0x28, SECTIONS_AT);
  view.setUint16(0x3c, 2, true);
  bytes.set(new TextEncoder().encode(RELEASE), NOTE_AT);
  // Among the names, after the last one.
  bytes.set(new TextEncoder().encode(`${RELEASE}\0`), name);
  // Symbols, SHT_DYNSYM, whose names are in the second section.
  view.setUint32(SECTIONS_AT + 4, 11, true);
  word(SECTIONS_AT + 0x18, SYMBOLS_AT);
  word(SECTIONS_AT + 0x20, 24 * (names.length + 1));
  view.setUint32(SECTIONS_AT + 0x28, 1, true);
  word(SECTIONS_AT + 64 + 0x18, NAMES_AT);
  word(SECTIONS_AT + 64 + 0x20, SYMBOLS_AT - NAMES_AT);
  return bytes;
}

const codeAt = (bytes: Uint8Array<ArrayBuffer>, index: number, length: number) =>
  bytes.slice(CODE_AT + 16 * index, CODE_AT + 16 * index + length).toHex();

Deno.test("the vDSO's functions become system calls, and one that libc never asks for is refused", () => {
  const before = vdso(["clock_gettime", "sgx_enter_enclave"]);
  const after = standIn(before);
  // mov eax, 228; syscall; ret
  assertEquals(codeAt(after, 0, 8), "b8e40000000f05c3");
  // mov eax, -38; ret
  assertEquals(codeAt(after, 1, 6), "b8daffffffc3");
  assertEquals(codeAt(before, 0, 8), "90".repeat(8), "what it is made of stays as it is");
});

Deno.test("of the rest of the vDSO, the names of its functions are kept, and the kernel's release is not", () => {
  const text = (bytes: Uint8Array<ArrayBuffer>) => new TextDecoder("latin1").decode(bytes);
  const before = vdso(["clock_gettime"]);
  const after = standIn(before);
  assertEquals([text(before).includes(RELEASE), text(after).includes(RELEASE)], [true, false]);
  assertEquals(text(after).includes("__vdso_clock_gettime\0"), true);
});
