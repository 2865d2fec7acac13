/** No test of what protects passes where nothing is run: neither a failure of the runtime nor its silence is taken for a refusal. */

import { assert, assertEquals } from "@std/assert";
import { projectDir } from "../../tools/bundle.ts";
import { findDeno } from "../../tools/build.ts";

/** A line of TAP: `not ok 2 - name # time`. */
const tapLine = /^(ok|not ok) \d+ - (.*?)(?: # (?:SKIP|TODO).*)?$/;

Deno.test("with /usr/bin/false as the runtime every test of tests/security fails", () => {
  const { stdout, stderr } = new Deno.Command(findDeno(), {
    args: ["test", "--allow-all", "--no-check", "--no-lock", "--reporter=tap", "tests/security"],
    cwd: projectDir,
    env: { RUNC: "/usr/bin/false", NO_COLOR: "1", DENO_NO_PROMPT: "1" },
  }).outputSync();
  const output = new TextDecoder().decode(stdout);
  const results = output.split("\n").flatMap((line) => {
    const [, result, name] = tapLine.exec(line) ?? [];
    return result === undefined ? [] : [{ name, passes: result === "ok" && !line.includes("# SKIP") }];
  });
  const skipped = output.split("\n").filter((line) => line.includes("# SKIP"));
  if (skipped.length > 0) console.log(`skipped:\n${skipped.join("\n")}`);
  assertEquals(results.filter(({ passes }) => passes).map(({ name }) => name), [], "pass without a runtime");
  // All files were read, and had tests.
  const files = [...Deno.readDirSync(`${projectDir}/tests/security`)].filter(({ name }) => name.endsWith("_test.ts"));
  const plans = output.match(/^# .*tests\/security\/\w+_test\.ts/gm) ?? [];
  assertEquals(plans.length, files.length, new TextDecoder().decode(stderr) + output);
  assert(results.length > files.length, output);
});
