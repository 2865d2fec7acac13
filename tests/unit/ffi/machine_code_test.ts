/** How listings become bytes. What the bytes mean is tested with objdump: tests/integration/machine_code_test.ts. */

import { assertEquals } from "@std/assert";
import { type Listing, listingBytes, signalHandlerListing, trampolineListing } from "../../../lib/ffi/machine_code.ts";

Deno.test("listingBytes() puts the rows' bytes one after the other and patches immediates in, lowest byte first", () => {
  const cases: readonly [listing: Listing, immediate: bigint, hex: string][] = [
    [[], 0n, ""],
    [[["90", "nop"], ["0f 05", "syscall"]], 0n, "900f05"],
    [[["48 b8 {imm64}", "movabs"]], 0x123456789abcdef0n, "48b8f0debc9a78563412"],
    [[["bf {imm32}", "mov"]], 0x12345678n, "bf78563412"],
    [[["{imm64}", ".quad"]], 0xffffffffffffffffn, "ffffffffffffffff"],
    // What `as` makes of: mov w0, #0; mov w0, #1; mov w0, #0x1234; mov w0, #0xffff.
    [[["{movz-w0}", "mov"]], 0n, "00008052"],
    [[["{movz-w0}", "mov"]], 1n, "20008052"],
    [[["{movz-w0}", "mov"]], 0x1234n, "80468252"],
    [[["{movz-w0}", "mov"]], 0xffffn, "e0ff9f52"],
  ];
  for (const [listing, immediate, hex] of cases) assertEquals(listingBytes(listing, immediate).toHex(), hex);
});

Deno.test("assembled code holds the address or the descriptor where the instruction has it", () => {
  const address = 0x7f1122334455n;
  const bytes = "5544332211" + "7f0000";
  const x86 = listingBytes(trampolineListing.x86_64, address).toHex();
  assertEquals(x86.split(bytes).length, 2);
  assertEquals(x86.slice(0, x86.indexOf(bytes)).endsWith("48b8"), true);
  assertEquals(listingBytes(trampolineListing.aarch64, address).toHex().endsWith(bytes), true);
  assertEquals(listingBytes(signalHandlerListing.x86_64, 300n).toHex().includes("bf2c010000"), true);
  assertEquals(listingBytes(signalHandlerListing.aarch64, 300n).toHex().includes("80258052"), true);
});

Deno.test("aarch64 instructions are four bytes each", () => {
  for (const listing of [trampolineListing.aarch64, signalHandlerListing.aarch64]) {
    for (const row of listing.filter(([, mnemonic]) => mnemonic !== ".quad")) {
      assertEquals(listingBytes([row], 0n).length, 4, row[1]);
    }
  }
});
