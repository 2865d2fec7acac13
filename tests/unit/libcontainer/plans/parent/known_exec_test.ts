import { assertEquals } from "@std/assert";
import { act } from "../../../../../lib/libcontainer/plans/parent/act.ts";
import { execActs } from "../../../../../lib/libcontainer/plans/parent/exec.ts";
import { usualExec } from "../../../../../lib/libcontainer/plans/parent/known_exec.ts";
import { executionNames, executions } from "../../parent_plans.ts";

Deno.test("an exec without more than namespaces, limits and a filter is a usual one", () => {
  const usual = executionNames.filter((name) => usualExec(execActs(executions[name])) !== undefined);
  assertEquals(usual, ["without a filter", "early filter", "late filter"]);
});

Deno.test("what differs between usual execs: namespaces, limits, and what init says at the end", () => {
  const { namespaces, rlimits, created, end } = usualExec(execActs(executions["late filter"]))!;
  const { init: { pid } } = executions["late filter"];
  assertEquals(namespaces, [
    { fd: "ns-pid", path: `/proc/${pid}/ns/pid` },
    { fd: "ns-mount", path: `/proc/${pid}/ns/mnt` },
  ]);
  assertEquals([rlimits.map(({ resource }) => resource), created, end], [[7], true, true]);
  const filtered = usualExec(execActs(executions["early filter"]))!;
  assertEquals([filtered.created, filtered.end], [false, true]);
});

Deno.test("one act more, less, elsewhere or with a condition, and the exec is no usual one", () => {
  const acts = execActs(executions["without a filter"]);
  const warning = act("warn", "", { verb: "warn", text: "x" });
  for (let index = 0; index <= acts.length; index++) {
    assertEquals(usualExec([...acts.slice(0, index), warning, ...acts.slice(index)]), undefined, `at ${index}`);
    const each = acts[index];
    if (each === undefined) continue;
    const conditional = { ...each, when: [{ flag: "cgroup refused", is: true } as const] };
    assertEquals(usualExec(acts.with(index, conditional)), undefined, each.label);
    const without = acts.toSpliced(index, 1);
    const isOptional = ["openNamespace", "setRlimit", "restoreFileLimit"].includes(each.does.verb) ||
      (each.does.verb === "await" && each.does.kind === "created");
    assertEquals(usualExec(without) !== undefined, isOptional, each.label);
  }
});
