import { assertEquals } from "@std/assert";
import { goJson } from "../../../lib/specs/go_json.ts";

Deno.test("goJson() escapes what could be taken for HTML, in keys and values", () => {
  assertEquals(goJson({ "<a>": "b&c", d: "\u2028" }), '{"\\u003ca\\u003e":"b\\u0026c","d":"\\u2028"}');
  assertEquals(goJson([1, { a: [] }], 2), '[\n  1,\n  {\n    "a": []\n  }\n]');
});
