import { assertEquals } from "@std/assert";
import { misfit } from "../../../lib/specs/shape.ts";
import type { Rule } from "../../../lib/specs/schema.ts";

const rule: Rule = {
  fields: {
    name: { required: "string" },
    on: "boolean",
    count: "uint32",
    texts: { list: "string" },
    parts: { list: { fields: { size: { required: "int64" } } } },
    sizes: { map: "uint64" },
  },
};

const cases: readonly [value: unknown, at: string | undefined][] = [
  [{ name: "a" }, undefined],
  [{ name: "a", on: true, count: 1, texts: ["a"], parts: [{ size: -1n }], sizes: { a: 2n ** 64n - 1n } }, undefined],
  // What the table does not have may be anything.
  [{ name: "a", other: [{}] }, undefined],
  // As Go writes absent pointers, lists and maps.
  [{ name: "a", count: null, texts: null, parts: null, sizes: null }, undefined],
  [null, undefined],
  [{}, "/name"],
  [{ name: null }, "/name"],
  [{ name: 1 }, "/name"],
  [{ name: "a", on: null }, "/on"],
  [{ name: "a", count: 2 ** 32 }, "/count"],
  [{ name: "a", count: 1.5 }, "/count"],
  [{ name: "a", count: "1" }, "/count"],
  [{ name: "a", texts: {} }, "/texts"],
  [{ name: "a", texts: ["a", null] }, "/texts/1"],
  [{ name: "a", parts: [null] }, "/parts/0"],
  [{ name: "a", parts: [{}] }, "/parts/0/size"],
  [{ name: "a", parts: [{ size: 2n ** 63n }] }, "/parts/0/size"],
  [{ name: "a", sizes: [] }, "/sizes"],
  [{ name: "a", sizes: { "a/b": -1 } }, "/sizes/a~1b"],
  [[], ""],
  ["text", ""],
  // Names that every object has are absent unless they are its own.
  [JSON.parse('{"__proto__": {"name": "a"}}'), "/name"],
];

Deno.test("misfit() points to the first value of another type", () => {
  for (const [value, at] of cases) assertEquals(misfit(rule, value), at);
});
