import { assertEquals } from "@std/assert";
import { paintFor, visible } from "../../../../lib/cli/output/colour.ts";

const environment = (values: Readonly<Record<string, string>>) => (name: string) => values[name];
const red = (isTerminal: boolean, values: Readonly<Record<string, string>> = {}) =>
  paintFor(isTerminal, environment(values))("red", "text");

Deno.test("paintFor() colours on a terminal only, and not where the user refuses it", () => {
  assertEquals(red(true), "\x1b[31mtext\x1b[0m");
  assertEquals(red(true, { NO_COLOR: "", TERM: "xterm" }), "\x1b[31mtext\x1b[0m");
  assertEquals([red(false), red(true, { NO_COLOR: "1" }), red(true, { TERM: "dumb" })], ["text", "text", "text"]);
  assertEquals(paintFor(true, environment({}))("dim", ""), "");
});

Deno.test("visible() leaves nothing that controls a terminal", () => {
  assertEquals(visible("a\x1b[31m\n\x7f\x9b é"), "a\\x1b[31m\\x0a\\x7f\\x9b é");
});
