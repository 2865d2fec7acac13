/** All actors in one list. */

import { assertEquals } from "@std/assert";
import { act } from "../../../../lib/libcontainer/plans/parent/act.ts";
import { explainSteps, explainWhole, type WholePlan } from "../../../../lib/libcontainer/plans/whole.ts";
import { awaitGo, tell, tellValue } from "../../../../lib/libcontainer/steps/protocol.ts";
import { call, slot, step } from "../../../../lib/plan/build.ts";

const umask = (mode: number) => call("umask", [mode]);

const plan: WholePlan = {
  parent: [
    act("make it", "/root", { verb: "makeDirectory", path: "/x", mode: 0o700 }, {
      undo: [{ label: "take it back", does: { verb: "removeStateDirectory", path: "/x" } }],
      when: [{ flag: "cgroup refused", is: true }],
    }),
    act("start them", "", { verb: "startStage" }),
    act("hear the pid", "", { verb: "await", kind: "child", by: "stage" }),
    act("let go", "", { verb: "go" }),
    act("hear the end", "", { verb: "await", kind: "end", by: "init" }),
    act("leave", "", { verb: "becomeMonitor" }),
  ],
  plan: {
    stage: [
      step("prepare", "", [umask(0)]),
      step("fork", "", [{
        op: "fork",
        flags: 17,
        out: slot("child"),
        child: [],
        parent: tellValue("child", slot("child")),
      }]),
      step("first of init", "/mounts/0", [umask(1)]),
    ],
    init: [step("tell", "", [tell("created"), ...awaitGo()]), step("become the program", "/process/args", [umask(2)])],
  },
  monitor: { stage: [step("watch", "", [umask(3)])], init: [] },
};

Deno.test("explainSteps() has all actors in an order that they can have", () => {
  assertEquals(explainSteps(plan).map(({ number, actor, label, from }) => [number, actor, label, from]), [
    [1, "parent", "make it", "/root"],
    [2, "parent", "start them", ""],
    [1, "stage", "prepare", ""],
    [2, "stage", "fork", ""],
    [3, "parent", "hear the pid", ""],
    [4, "parent", "let go", ""],
    [3, "init", "first of init", "/mounts/0"],
    [4, "init", "tell", ""],
    [5, "init", "become the program", "/process/args"],
    [5, "parent", "hear the end", ""],
    [6, "parent", "leave", ""],
    [1, "monitor", "watch", ""],
  ]);
});

Deno.test("an act shows its conditions, what it does and what takes it back", () => {
  assertEquals(explainSteps(plan)[0]!.calls, [
    "only if a cgroup was refused",
    'mkdir("/x", 0700)',
    "if a later act fails: take it back",
  ]);
});

Deno.test("what comes after the last message of a created container follows at the end", () => {
  const created = { ...plan, monitor: undefined, parent: plan.parent.slice(0, 4) };
  assertEquals(explainSteps(created).map(({ label }) => label), [
    "make it",
    "start them",
    "prepare",
    "fork",
    "hear the pid",
    "let go",
    "first of init",
    "tell",
    "become the program",
  ]);
});

Deno.test("explainWhole() names the actors, and each of them where it goes on", () => {
  assertEquals(
    explainWhole({ parent: [plan.parent[1]!], plan: { stage: [], init: plan.plan!.init.slice(1) } }),
    `parent: the runtime, in the host's namespaces
init: the stage's child, which becomes the container's process

parent:
  1. start them
       <sync> = socketpair(AF_UNIX, SOCK_SEQPACKET)
       posix_spawn the encoded plan of stage and init

init:
  1. become the program  (/process/args)
       umask(02)
`,
  );
});
