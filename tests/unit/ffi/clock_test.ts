import { assertEquals } from "@std/assert";
import { formatUtc } from "../../../lib/ffi/clock.ts";

for (
  const [nanoseconds, fraction] of [[0, ""], [1, ".000000001"], [54_809_190, ".05480919"], [
    900_000_000,
    ".9",
  ]] as const
) {
  Deno.test(`formatUtc() writes ${nanoseconds} ns as Go does`, () => {
    assertEquals(formatUtc({ seconds: 1_767_323_045, nanoseconds }), `2026-01-02T03:04:05${fraction}Z`);
  });
}
