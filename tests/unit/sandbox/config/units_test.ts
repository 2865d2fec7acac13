import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { parseDuration, parseSize } from "../../../../lib/sandbox/config/units.ts";

const sizes: readonly [text: string | number, bytes: number][] = [
  [1, 1],
  ["1", 1],
  ["512b", 512],
  ["64k", 65536],
  ["64K", 65536],
  ["256MiB", 268435456],
  ["256 MiB", 268435456],
  ["1.5GiB", 1610612736],
  ["1kB", 1000],
  ["2MB", 2000000],
  ["1.0001k", 1024],
  ["1T", 1099511627776],
];

Deno.test("parseSize() knows bytes, IEC, SI and one letter", () => {
  for (const [text, bytes] of sizes) assertEquals(parseSize("memory", text), bytes, String(text));
});

const durations: readonly [text: string | number, ms: number][] = [
  [250, 250],
  [0.5, 0.5],
  ["500ms", 500],
  ["30s", 30000],
  ["1.5m", 90000],
  ["2h", 7200000],
];

Deno.test("parseDuration() knows milliseconds, seconds, minutes and hours", () => {
  for (const [text, ms] of durations) assertEquals(parseDuration("timeout", text), ms, String(text));
});

Deno.test("parseSize() and parseDuration() name the option and what is wrong", () => {
  const wrong = ["", "MiB", "-1", "0", "1e3", "1,5G", "1 2", "1X", "constructor", " 1k", "1k\n", "0x10", "٣k"];
  for (const text of [...wrong, 0, -1, NaN, Infinity, 2 ** 60, "9999999T"]) {
    const error = assertThrows(() => parseSize("memory", text), RuncError, "memory: ");
    assertEquals(error.code, "usage");
  }
  for (const text of [...wrong, "30", 0, -1, NaN, Infinity, 2 ** 31, "999h", "1d"]) {
    assertThrows(() => parseDuration("timeout", text), RuncError, "timeout: ");
  }
  const { message } = assertThrows(() => parseSize("disk", "1 X"), RuncError);
  assertEquals(message, 'disk: "1 X" is not a size above 0, such as "256MiB" or a number of bytes');
});
