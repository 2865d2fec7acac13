import { assertEquals } from "@std/assert";
import { allParts, fastParts, type Host, runParts } from "../../../tools/test_parts.ts";

/** Runs parts of which those that `fails` names fail; each takes a second and a half. */
function play(parts: Parameters<typeof runParts>[0], fails: readonly string[]) {
  const printed: string[] = [], ran: string[] = [];
  let ms = 0;
  const host: Host = {
    run(args) {
      ms += 1500;
      ran.push(args.join(" "));
      return !fails.includes(args.join(" "));
    },
    nowMs: () => ms,
    print: (line) => printed.push(line),
  };
  return { failed: runParts(parts, host), ran, printed };
}

Deno.test("runParts() prints the parts, what each took, and a table; a failure does not hide the next", () => {
  const { failed, printed } = play([{ args: ["lint"] }, { args: ["test", "a"] }], ["lint"]);
  assertEquals(failed, ["deno lint"]);
  assertEquals(printed, [
    "parts:",
    "  deno lint",
    "  deno test a",
    "$ deno lint",
    "failed: deno lint, 1.5 s",
    "$ deno test a",
    "ok: deno test a, 1.5 s",
    "results:",
    "     1.5 s  failed   deno lint",
    "     1.5 s  ok       deno test a",
    "     3.0 s  failed   all parts",
  ]);
});

Deno.test("runParts() leaves out what needs a part that failed", () => {
  const { failed, ran, printed } = play([{ args: ["build"], isNeeded: true }, { args: ["test"] }], ["build"]);
  assertEquals([failed, ran], [["deno build"], ["build"]]);
  assertEquals(printed.slice(-3), [
    "     1.5 s  failed   deno build",
    "     0.0 s  not run  deno test",
    "     1.5 s  failed   all parts",
  ]);
});

Deno.test("runParts() prints no line that .ci/run would take for the sum of a test run", () => {
  for (const fails of [[], ["lint", "task build"]]) {
    assertEquals(play(allParts, fails).printed.filter((line) => /^(ok|FAILED) \| /.test(line)), []);
  }
});

Deno.test("the fast parts come first, and need no build; their tests have no permission", () => {
  assertEquals(allParts.slice(0, fastParts.length), fastParts);
  assertEquals(fastParts.filter(({ args }) => args.includes("task")), []);
  const tests = fastParts.filter(({ args: [command] }) => command === "test");
  assertEquals(tests.map(({ args }) => args.filter((arg) => /^(-A|--allow)/.test(arg))), [[]]);
});
