import { assertEquals, assertThrows } from "@std/assert";
import { parseSubCgroups } from "../../../../lib/cli/words/sub_cgroup.ts";

const accepted: readonly [values: string[], paths: Record<string, string>][] = [
  [[], {}],
  [["a/b"], { "": "a/b" }],
  [["cpu:a"], { cpu: "a" }],
  [["memory:m", "cpu,cpuacct:c"], { memory: "m", cpu: "c", cpuacct: "c" }],
  [["name=systemd:a:b"], { "name=systemd": "a:b" }],
];
for (const [values, paths] of accepted) {
  Deno.test(`--cgroup ${values.join(" --cgroup ")}`, () => assertEquals(parseSubCgroups(values), paths));
}

const refused: readonly [values: string[], message: string][] = [
  [[":a"], "invalid --cgroup argument: :a (empty <controller> prefix)"],
  [["cpu,:a"], "invalid --cgroup argument: cpu,:a (empty <controller> prefix)"],
  [["cpu:a", "b"], "invalid --cgroup argument: b (missing <controller>: prefix)"],
  [["a", "b"], "invalid --cgroup argument: a (missing <controller>: prefix)"],
  [["cpu:a", "cpu:b"], "invalid --cgroup argument(s): controller cpu specified multiple times"],
];
for (const [values, message] of refused) {
  Deno.test(`refused: --cgroup ${values.join(" --cgroup ")}`, () => {
    assertEquals(assertThrows(() => parseSubCgroups(values), Error).message, message);
  });
}
