import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { type RdtSchemas, updatedRdt } from "../../../../lib/libcontainer/container/update_rdt.ts";
import type { IntelRdt } from "../../../../lib/specs/config.ts";

const both = { cat: true, mba: true };
const neither = { cat: false, mba: false };
const stored: IntelRdt = { closID: "gold", l3CacheSchema: "L3:0=f", schemata: ["L2:0=3"] };

Deno.test("updatedRdt() replaces the schemas that are given, and keeps the others", () => {
  const cases: readonly [given: RdtSchemas, expected: IntelRdt][] = [
    [{}, stored],
    [{ l3CacheSchema: "", memBwSchema: "" }, stored],
    [{ l3CacheSchema: "L3:0=3" }, { ...stored, l3CacheSchema: "L3:0=3" }],
    [{ memBwSchema: "MB:0=20" }, { ...stored, memBwSchema: "MB:0=20" }],
  ];
  for (const [given, expected] of cases) assertEquals(updatedRdt(stored, given, both), expected);
  assertEquals(updatedRdt(undefined, {}, neither), undefined);
});

Deno.test("updatedRdt() tells what lacks, in runc's words", () => {
  const cases: readonly [
    stored: IntelRdt | undefined,
    given: RdtSchemas,
    features: typeof both,
    code: string,
    message: string,
  ][] = [
    [stored, { l3CacheSchema: "x" }, neither, "host-lacks", "Intel RDT/CAT: l3 cache schema is not enabled"],
    [
      stored,
      { memBwSchema: "x" },
      { cat: true, mba: false },
      "host-lacks",
      "Intel RDT/MBA: memory bandwidth schema is not enabled",
    ],
    [
      undefined,
      { memBwSchema: "x" },
      both,
      "unsupported",
      "updating a non-existent Intel RDT configuration is not supported",
    ],
  ];
  for (const [rdt, given, features, code, message] of cases) {
    const error = assertThrows(() => updatedRdt(rdt, given, features), RuncError);
    assertEquals([error.code, error.message], [code, message]);
  }
});
