import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../lib/errors.ts";
import { parseJson } from "../../../lib/specs/json.ts";

Deno.test("parseJson() keeps integers exact", () => {
  const cases: readonly [text: string, value: unknown][] = [
    ["1024", 1024],
    ["9007199254740991", 9007199254740991],
    ["9007199254740993", 9007199254740993n],
    ["18446744073709551615", 18446744073709551615n],
    ["-9223372036854775808", -9223372036854775808n],
    ["9223372036854771712", 9223372036854771712n],
    ['"18446744073709551615"', "18446744073709551615"],
    ["1234567890123456.5", 1234567890123456.5],
  ];
  for (const [text, value] of cases) {
    assertEquals(parseJson(text, "f"), value);
    assertEquals(parseJson(`[{"a": ${text}}]`, "f"), [{ a: value }]);
  }
});

Deno.test("parseJson() says where the text is broken", () => {
  const cases: readonly [text: string, message: string][] = [
    ["", "f:1:1: expected a value, found the end"],
    ["{", 'f:1:2: expected a field name or "}", found the end'],
    ["[", 'f:1:2: expected a value or "]", found the end'],
    ['{"a": 1,}', 'f:1:9: expected a field name, found "}"'],
    ["[1, 2,\n  ]", 'f:2:3: expected a value, found "]"'],
    ['{"a" 1}', 'f:1:6: expected ":", found "1"'],
    ['{"a": tru}', 'f:1:7: expected a value, found "t"'],
    ["{'a': 1}", `f:1:2: expected a field name or "}", found "'"`],
    ['{"a": [1, {"b": 2]]}', 'f:1:18: expected "," or "}", found "]"'],
    ['{"a": 1\n "b": 2}', 'f:2:2: expected "," or "}", found "\\""'],
    ['{"a": "x\ny"}', 'f:1:7: expected a value, found "\\""'],
    ['{"a": "\\x"}', 'f:1:7: expected a value, found "\\""'],
    ['{"a": 01}', 'f:1:8: expected "," or "}", found "1"'],
    ['{"a": "\\', 'f:1:7: expected a value, found "\\""'],
    ["[1e]", 'f:1:3: expected "," or "]", found "e"'],
    ["\ufeff{}", 'f:1:1: expected a value, found "\ufeff"'],
  ];
  for (const [text, message] of cases) {
    const error = assertThrows(() => parseJson(text, "f"), RuncError);
    assertEquals([error.code, error.message], ["config-invalid", message]);
  }
});

Deno.test("parseJson() reads the first value, and tells where something follows it", () => {
  const cases: readonly [text: string, value: unknown, place?: string][] = [
    ['{"a": [1, "b\\"}", null, true, -1.5e3]}\n\n', { a: [1, 'b"}', null, true, -1500] }],
    ['{"a": [1, "b\\"}", null, true, -1.5e3]}\n\n }', { a: [1, 'b"}', null, true, -1500] }, "3:2"],
    ["{}]", {}, "1:3"],
    ["[] []", [], "1:4"],
    ["[18446744073709551615, 1.5, {}] x", [18446744073709551615n, 1.5, {}], "1:33"],
    ['{"a": 1, "a": {"b": 2}} ,', { a: { b: 2 } }, "1:25"],
    ['"a" "b"', "a", "1:5"],
    ["1 2", 1, "1:3"],
  ];
  for (const [text, value, place] of cases) {
    const places: string[] = [];
    assertEquals(
      [parseJson(text, "f", (at) => places.push(at)), ...places],
      place === undefined ? [value] : [value, place],
    );
  }
  const odd = parseJson('{"__proto__": 1} x', "f") as object;
  assertEquals([Object.entries(odd), Object.getPrototypeOf(odd)], [[["__proto__", 1]], Object.prototype]);
});

Deno.test("parseJson() reads long strings whatever follows", () => {
  const long = "\\n".repeat(5_000_000);
  assertEquals((parseJson(`"${long}" x`, "f") as string).length, 5_000_000);
});
