import { assertEquals, assertThrows } from "@std/assert";
import { parse } from "../../../../lib/cli/parse.ts";
import { parseSize, resourcesOf } from "../../../../lib/cli/commands/update.ts";
import { RuncError } from "../../../../lib/errors.ts";
import type { Resources } from "../../../../lib/specs/config.ts";

function resourcesFor(...words: readonly string[]): Resources {
  const parsed = parse(["update", "box", ...words], () => undefined);
  if (parsed.kind !== "command" || parsed.command !== "update") throw new Error(`not understood: ${words.join(" ")}`);
  return resourcesOf(parsed.options, parsed.given);
}

Deno.test("parseSize() reads what docker/go-units reads", () => {
  const cases: readonly [string, bigint][] = [
    ["-1", -1n],
    ["0", 0n],
    ["32", 32n],
    ["32b", 32n],
    ["32kb", 32n << 10n],
    ["32 KiB", 32n << 10n],
    ["1.5G", 3n << 29n],
    [".5m", 1n << 19n],
    ["2tb", 2n << 40n],
    ["9223372036854771712", 9223372036854771712n],
    ["9223372036854775807", 9223372036854775807n],
  ];
  for (const [text, expected] of cases) assertEquals(parseSize(text), expected, text);
  const large = ["9223372036854775808", "8192p", "8192.5p", "9".repeat(500), `${"9".repeat(500)}.5`];
  for (const text of ["", "-2", "m", "1x", "1.m.", "1 2", "kb", ...large]) {
    assertThrows(() => parseSize(text), RuncError, `invalid size: '${text}'`);
  }
});

Deno.test("update's options become linux.resources", () => {
  const cases: readonly [words: readonly string[], part: keyof Resources, expected: unknown][] = [
    [["--memory", "50M"], "memory", { limit: 52428800n }],
    [["--memory=-1", "--memory-swap", "-1"], "memory", { limit: -1n, swap: -1n }],
    [["--memory-reservation", "1g"], "memory", { reservation: 1073741824n }],
    [["--cpu-quota", "-1", "--cpu-period", "100000"], "cpu", { quota: -1n, period: 100000n }],
    [["--cpu-share", "18446744073709551615"], "cpu", { shares: 18446744073709551615n }],
    [["--cpu-burst", "0", "--cpu-idle", "1"], "cpu", { burst: 0n, idle: 1n }],
    [["--cpu-rt-period", "2", "--cpu-rt-runtime", "1"], "cpu", { realtimePeriod: 2n, realtimeRuntime: 1n }],
    [["--cpuset-cpus", "0-1", "--cpuset-mems", "0"], "cpu", { cpus: "0-1", mems: "0" }],
    [["--pids-limit", "-1"], "pids", { limit: -1 }],
    [["--pids-limit", "0"], "pids", { limit: 0 }],
    [["--memory", "1"], "pids", {}],
    [["--blkio-weight", "500"], "blockIO", { weight: 500 }],
    [["--blkio-weight", "0"], "blockIO", {}],
  ];
  for (const [words, part, expected] of cases) {
    const found = Object.entries(resourcesFor(...words)[part] ?? {}).filter(([, value]) => value !== undefined);
    assertEquals(Object.fromEntries(found), expected, words.join(" "));
  }
});

Deno.test("update refuses what is no number, and says for which option", () => {
  const cases: readonly [words: readonly string[], message: string][] = [
    [["--memory", "much"], "invalid value for memory: invalid size: 'much'"],
    [["--cpu-period", "-5"], 'invalid value for cpu-period: strconv.ParseUint: parsing "-5": invalid syntax'],
    [["--cpu-quota", "1.5"], 'invalid value for cpu-quota: strconv.ParseInt: parsing "1.5": invalid syntax'],
    [
      ["--cpu-share", "18446744073709551616"],
      'invalid value for cpu-share: strconv.ParseUint: parsing "18446744073709551616": value out of range',
    ],
  ];
  for (const [words, message] of cases) {
    assertEquals(assertThrows(() => resourcesFor(...words), RuncError).message, message);
  }
});
