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
    ["{}\n\n{}", 'f:3:1: expected the end, found "{"'],
    ["{}]", 'f:1:3: expected the end, found "]"'],
    ["\ufeff{}", 'f:1:1: expected a value, found "\ufeff"'],
  ];
  for (const [text, message] of cases) {
    const error = assertThrows(() => parseJson(text, "f"), RuncError);
    assertEquals([error.code, error.message], ["config-invalid", message]);
  }
});
