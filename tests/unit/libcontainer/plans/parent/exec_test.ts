/** What the parent does to start another process in a container, read from top to bottom. */

import { assert, assertEquals } from "@std/assert";
import type { Act } from "../../../../../lib/libcontainer/plans/parent/act.ts";
import { execActs } from "../../../../../lib/libcontainer/plans/parent/exec.ts";
import { executionNames, executions } from "../../parent_plans.ts";

const labels = (acts: readonly Act[]) => acts.map(({ label }) => label);

const before = [
  "open the container's pid namespace",
  "open the container's mount namespace",
  "check that these are of the container's init",
  "start the stage",
  "let the stage go on",
  "wait for the stage: init's pid",
  "check that init is our child",
  "wait for init: all but credentials is done",
  "set the limit RLIMIT_NOFILE",
  "reap the stage",
  "let init become the user",
  "prepare for the process",
];
const found = "wait for init: the command was found";
const listener = ["wait for init: the seccomp listener", "hand the seccomp listener to its agent"];
const closed = "wait until init closes the socket";

/** What follows when init has become the user. */
const ends: readonly (readonly [keyof typeof executions, readonly string[]])[] = [
  ["without a filter", [found]],
  // Under a filter, init sends nothing.
  ["early filter", [closed]],
  ["early filter with a listener", [...listener, closed]],
  ["late filter", [found, closed]],
  ["late filter with a listener", [found, ...listener, closed]],
];

for (const [name, end] of ends) {
  Deno.test(`exec, from top to bottom: ${name}`, () => {
    assertEquals(labels(execActs(executions[name])), [...before, ...end, "log"]);
  });
}

Deno.test("exec with a user namespace, a cgroup below and a group in resctrl, from top to bottom", () => {
  const acts = labels(execActs(executions["a cgroup below, resctrl"]));
  assertEquals(acts.slice(0, 8), [
    "open the container's user namespace",
    "open the container's pid namespace",
    "check that these are of the container's init",
    "start the stage",
    "check that the cgroups exist",
    "move the stage into the cgroups",
    "move the stage into the Intel RDT group",
    "let the stage go on",
  ]);
});

Deno.test("a debugger is exec, with a look for tracers before the stage", () => {
  const check = "check that no process could trace the debugger";
  const usual = labels(execActs(executions["without a filter"]));
  const acts = labels(execActs(executions["a debugger"]));
  assertEquals(acts.filter((label) => label !== check), usual);
  assertEquals(acts.indexOf(check), acts.indexOf("start the stage") - 1);
});

Deno.test("only a cgroup that was not asked for may be replaced by init's", () => {
  const join = (name: keyof typeof executions) =>
    execActs(executions[name]).flatMap(({ does }) => does.verb === "joinCgroups" ? [does.initPid] : []);
  assertEquals(join("user namespace"), [executions["user namespace"].init.pid]);
  assertEquals(join("a cgroup below, resctrl"), [undefined]);
  assertEquals(join("without a filter"), []);
});

Deno.test("only the start of the stage is taken back: nothing else is left of an exec", () => {
  for (const name of executionNames) {
    const undos = execActs(executions[name]).filter(({ undo }) => undo !== undefined);
    assertEquals(undos.map(({ does, undo }) => [does.verb, ...undo!.map(({ does }) => does.verb)]), [
      ["startStage", "endProcesses"],
    ]);
  }
});

Deno.test("namespaces are opened before it is checked that their owner is still init", () => {
  for (const name of executionNames) {
    const acts = execActs(executions[name]).map(({ does }) => does.verb);
    assert(acts.lastIndexOf("openNamespace") < acts.indexOf("requireInit"));
    assert(acts.indexOf("requireInit") < acts.indexOf("startStage"));
  }
});
