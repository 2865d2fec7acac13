import { assert, assertEquals } from "@std/assert";
import { checkConfig, checkText } from "../../../../lib/libcontainer/checks/check.ts";
import { problemsFirst } from "../../../../lib/libcontainer/checks/check_bundle.ts";
import { otherRules, ruleGroups } from "../../../../lib/libcontainer/checks/table.ts";
import { defaultSpec } from "../../../../lib/specs/default_spec.ts";
import { findingsOf, host, withUser } from "./fixture.ts";

const text = (change: object) => JSON.stringify({ ...defaultSpec({ cgroup2: false }), ...change });
const shown = (findings: ReturnType<typeof checkText>["findings"]) =>
  findings.map(({ rule, severity, pointer }) => [rule, severity, pointer]);

Deno.test("the configs that the cases change have no finding themselves", () => {
  assertEquals(findingsOf(() => {}), []);
  assertEquals(findingsOf(withUser), []);
});

Deno.test("there are more than 60 rules, each with an id of its own and with texts", () => {
  const ids = [...Object.keys(otherRules), ...ruleGroups.flatMap(({ rules }) => rules.map(({ id }) => id))];
  assert(ids.length > 60, `${ids.length} rules`);
  assertEquals(ids.length, new Set(ids).size);
  for (const { id, finds, why, fix } of ruleGroups.flatMap(({ rules }) => rules)) {
    assert(/^[a-z][a-z0-9-]*$/.test(id), id);
    for (const phrase of [finds, why, fix]) assert(phrase !== "" && !/[.|]$|\|/.test(phrase), `${id}: ${phrase}`);
  }
});

Deno.test("checkText() reports every wrong type, every unknown field, and reads the rest", () => {
  const { config, findings } = checkText(text({
    hostname: 1,
    root: { path: "rootfs", readonly: "yes" },
    mount: [],
    windows: {},
  }));
  assertEquals(
    shown(findings),
    [
      ["field-type", "problem", "/root/readonly"],
      ["field-type", "problem", "/hostname"],
      ["field-unknown", "warning", "/mount"],
    ].sort((one, other) => Number(one[2] === "/mount") - Number(other[2] === "/mount")),
  );
  assertEquals([config?.hostname, config?.root], ["", { path: "rootfs", readonly: false }]);
});

Deno.test("checkText() reports what is no JSON, and nothing else", () => {
  const { config, findings } = checkText('{"a": }');
  assertEquals([config, shown(findings)], [undefined, [["json-syntax", "problem", ""]]]);
});

Deno.test("checkConfig() leaves out what follows from a value of a wrong type", () => {
  const { config, findings } = checkText(text({ process: { args: "sh", cwd: "", user: { uid: 0, gid: 0 } } }));
  const rules = checkConfig(config!, host, [], findings).map(({ rule }) => rule);
  // args has become an empty list, which is not the problem; cwd is one of its own.
  assert(!rules.includes("args-present"));
  assert(rules.includes("cwd-absolute"));
});

Deno.test("problemsFirst() keeps the order otherwise", () => {
  const findings = findingsOf((config) => {
    config.process.noNewPrivileges = false;
    config.process.cwd = "";
    config.process.oomScoreAdj = -1000;
    config.process.args = [];
  });
  assertEquals(problemsFirst(findings).map(({ rule }) => rule), [
    "cwd-absolute",
    "args-present",
    "no-new-privileges",
    "oom-protected",
  ]);
});

Deno.test("a hint of the problem replaces the rule's fix", () => {
  const [finding] = findingsOf(withUser, { closedDirectory: "/root" });
  assertEquals(finding?.fix, "chmod o+x /root, or move the bundle");
});
