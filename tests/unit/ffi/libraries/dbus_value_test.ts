import { assertEquals, assertThrows } from "@std/assert";
import { type BasicType, completeTypes, encodeNumber } from "../../../../lib/ffi/libraries/dbus_value.ts";

Deno.test("completeTypes() takes a signature apart", () => {
  const cases: readonly [signature: string, types: string[]][] = [
    ["", []],
    ["ssa(sv)a(sa(sv))", ["s", "s", "a(sv)", "a(sa(sv))"]],
    ["aas(i(tt))v", ["aas", "(i(tt))", "v"]],
  ];
  for (const [signature, types] of cases) assertEquals(completeTypes(signature), types);
  for (const signature of ["a", "(s", "z", ")", `${"a".repeat(33)}s`, "s".repeat(256), "(".repeat(200_000)]) {
    assertThrows(() => completeTypes(signature), TypeError);
  }
  assertEquals(completeTypes(`${"a".repeat(32)}s`).length, 1);
});

Deno.test("encodeNumber() writes what C reads, and refuses what does not fit", () => {
  const cases: readonly [type: BasicType, value: number | bigint | boolean, hex: string][] = [
    ["b", true, "0100000000000000"],
    ["y", 255, "ff00000000000000"],
    ["i", -2, "feffffffffffffff"],
    ["u", 0xffffffff, "ffffffff00000000"],
    ["t", 0xffff_ffff_ffff_ffffn, "ffffffffffffffff"],
    ["d", 1.5, "000000000000f83f"],
  ];
  for (const [type, value, hex] of cases) assertEquals(encodeNumber(type, value).toHex(), hex);
  for (const [type, value] of [["y", 256], ["u", -1], ["i", 0x80000000], ["q", 65536]] as const) {
    assertThrows(() => encodeNumber(type, value), RangeError);
  }
});
