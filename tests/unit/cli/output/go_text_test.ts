import { assertEquals } from "@std/assert";
import { goQuote, rfc3339 } from "../../../../lib/cli/output/go_text.ts";

// Expected texts follow the rules of strconv.Quote and strconv.IsPrint.
const quoted: readonly [text: string, wanted: string][] = [
  ["plain text", '"plain text"'],
  ['a "b" \\', '"a \\"b\\" \\\\"'],
  ["tab\tnewline\n", '"tab\\tnewline\\n"'],
  ["\x00\x07\x1b\x7f", '"\\x00\\a\\x1b\\x7f"'],
  ["größe €", '"größe €"'],
  ["\u00a0\u200b\u2028", '"\\u00a0\\u200b\\u2028"'],
  ["😀", '"😀"'],
  ["\u{e0001}", '"\\U000e0001"'],
];

Deno.test("goQuote() writes what Go's %q writes", () => {
  for (const [text, wanted] of quoted) assertEquals(goQuote(text), wanted);
});

for (
  const [offsetMinutes, wanted] of [[0, "2026-01-02T03:04:05Z"], [330, "2026-01-02T08:34:05+05:30"], [
    -90,
    "2026-01-02T01:34:05-01:30",
  ]] as const
) {
  Deno.test(`rfc3339() at an offset of ${offsetMinutes} minutes`, () => {
    assertEquals(rfc3339(new Date("2026-01-02T03:04:05.678Z"), offsetMinutes), wanted);
  });
}
