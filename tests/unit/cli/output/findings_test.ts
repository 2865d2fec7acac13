import { assertEquals } from "@std/assert";
import { plain } from "../../../../lib/cli/output/colour.ts";
import { checkStatus, findingsJson, findingsText } from "../../../../lib/cli/output/findings.ts";
import type { Finding } from "../../../../lib/libcontainer/checks/rule.ts";

const problem: Finding = {
  rule: "cwd-absolute",
  severity: "problem",
  subject: "spec",
  pointer: "/process/cwd",
  found: 2n ** 60n,
  wanted: "an absolute path",
  message: "Cwd must be an absolute path",
  why: "it is so",
  fix: "change it",
};
const warning: Finding = { ...problem, rule: "bundle-open", severity: "warning", pointer: "", message: "a\x1bb" };

Deno.test("findingsText() has three lines for each finding, and the sums", () => {
  assertEquals(
    findingsText([problem, warning], plain),
    `problem: /process/cwd: Cwd must be an absolute path [cwd-absolute]
    why: it is so
    fix: change it

warning: config.json: a\\x1bb [bundle-open]
    why: it is so
    fix: change it

1 problem, 1 warning
`,
  );
  assertEquals(findingsText([], plain), "no problems, no warnings\n");
  assertEquals(findingsText([], (colour, text) => `<${colour}>${text}`), "<green>no problems, no warnings\n");
  assertEquals(findingsText([warning, warning], plain).split("\n").at(-2), "no problems, 2 warnings");
});

Deno.test("findingsJson() has exact numbers", () => {
  const text = findingsJson("/b", [problem]);
  assertEquals(text.includes('"found": 1152921504606846976,'), true);
  const { bundle, problems, warnings, findings } = JSON.parse(text);
  assertEquals([bundle, problems, warnings, findings[0].pointer], ["/b", 1, 0, "/process/cwd"]);
});

Deno.test("checkStatus(): 1 for problems; 2 for warnings if strict", () => {
  const cases: readonly [findings: readonly Finding[], strict: boolean, status: number][] = [
    [[], true, 0],
    [[warning], false, 0],
    [[warning], true, 2],
    [[problem, warning], true, 1],
    [[problem], false, 1],
  ];
  for (const [findings, strict, status] of cases) assertEquals(checkStatus(findings, strict), status);
});
