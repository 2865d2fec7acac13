/** How listings become bytes. What the bytes mean is tested with objdump: tests/integration/machine_code_test.ts. */

import { assertEquals } from "@std/assert";
import { type Listing, listingBytes, signalHandlerListing, trampolineListing } from "../../../lib/ffi/machine_code.ts";

Deno.test("listingBytes() puts the rows' bytes one after the other and patches immediates in, lowest byte first", () => {
  const cases: readonly [listing: Listing, immediate: bigint, hex: string][] = [
    [[], 0n, ""],
    [[["90", "nop"], ["0f 05", "syscall"]], 0n, "900f05"],
    [[["48 b8 {imm64}", "movabs"]], 0x123456789abcdef0n, "48b8f0debc9a78563412"],
    [[["{imm64}", ".quad"]], 0xffffffffffffffffn, "ffffffffffffffff"],
  ];
  for (const [listing, immediate, hex] of cases) assertEquals(listingBytes(listing, immediate).toHex(), hex);
});

Deno.test("assembled code holds the address where the instruction has it", () => {
  const address = 0x7f1122334455n;
  const bytes = "5544332211" + "7f0000";
  for (const { x86_64, aarch64 } of [trampolineListing, signalHandlerListing]) {
    const x86 = listingBytes(x86_64, address).toHex();
    assertEquals(x86.split(bytes).length, 2);
    assertEquals(x86.slice(0, x86.indexOf(bytes)).endsWith("48b8"), true);
    assertEquals(listingBytes(aarch64, address).toHex().endsWith(bytes), true);
  }
});

Deno.test("aarch64 instructions are four bytes each", () => {
  for (const listing of [trampolineListing.aarch64, signalHandlerListing.aarch64]) {
    for (const row of listing.filter(([, mnemonic]) => mnemonic !== ".quad")) {
      assertEquals(listingBytes([row], 0n).length, 4, row[1]);
    }
  }
});
