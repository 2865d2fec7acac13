/** What commands on an existing container do, read from top to bottom. */

import { assert, assertEquals } from "@std/assert";
import type { Act } from "../../../../../lib/libcontainer/plans/parent/act.ts";
import {
  deleteActs,
  destroyActs,
  killActs,
  pauseActs,
  poststartActs,
  resumeActs,
  startCreatedActs,
  updateActs,
} from "../../../../../lib/libcontainer/plans/parent/control.ts";
import { containerNames, containers } from "../../parent_plans.ts";

const { typical, "with everything": everything } = containers;
const update = { resources: { pids: { limit: 1 } }, rdt: {} };

/** The labels, with the conditions. */
function lines(acts: readonly Act[]): readonly string[] {
  return acts.map(({ label, when = [] }) =>
    [label, ...when.map(({ flag, is }) => `${is ? "if" : "unless"} ${flag}`)].join(", ")
  );
}

const locked = "lock the container and read its state", status = "find out the status";
const unlocked = "release the container's lock";
const removal = ["remove the cgroups", "remove the state directory", unlocked];

const lists: readonly (readonly [string, readonly Act[], readonly string[]])[] = [
  ["start", startCreatedActs(typical), [
    locked,
    status,
    "prepare for the start",
    "read the exec fifo, which init waits to open",
    unlocked,
  ]],
  ["start with hooks", startCreatedActs(everything), [
    locked,
    status,
    "prepare for the start",
    "read the exec fifo, which init waits to open",
    unlocked,
    "run poststart hook /started",
    "run poststart hook /watched",
  ]],
  ["poststart without hooks", poststartActs(typical), []],
  ["poststart", poststartActs(everything), [
    "open init",
    "run poststart hook /started",
    "run poststart hook /watched",
  ]],
  ["kill 15", killActs(typical, { signal: 15 }), ["send signal 15 to init"]],
  ["kill 9", killActs(typical, { signal: 9 }), [
    "send signal 9 to init, unless cgroup killed",
    "thaw killed processes, unless cgroup killed",
  ]],
  ["kill 9 in another's pid namespace", killActs(everything, { signal: 9 }), [
    "kill all processes of the cgroup",
    "send signal 9 to init, unless cgroup killed",
    "thaw killed processes, unless cgroup killed",
  ]],
  ["delete", deleteActs(typical, { force: false }), [
    locked,
    status,
    "open init, unless stopped",
    "send signal 9 to init, unless stopped, unless cgroup killed",
    "thaw killed processes, unless stopped, unless cgroup killed",
    "wait for init's end, unless stopped",
    "thaw the cgroup, if paused",
    ...removal,
  ]],
  ["delete --force of everything", deleteActs(everything, { force: true }), [
    locked,
    status,
    "open init",
    "kill all processes of the cgroup",
    "send signal 9 to init, unless cgroup killed",
    "thaw killed processes, unless cgroup killed",
    "wait for init's end",
    "thaw the cgroup, if paused",
    "kill what is left in the cgroup",
    "remove the cgroups",
    "remove the Intel RDT group",
    "remove the state directory",
    unlocked,
    "run poststop hook /stop",
    "run poststop hook /clean",
  ]],
  ["destroy", destroyActs(typical), [locked, ...removal]],
  ["destroy what a killed restore has left", destroyActs({ ...typical, isUnfinished: true }), [
    locked,
    "let CRIU take back what it has done",
    "kill what is left in the cgroup",
    ...removal,
  ]],
  ["pause", pauseActs(typical), [
    locked,
    status,
    "freeze the cgroup",
    "check that init was not killed meanwhile",
    unlocked,
  ]],
  ["resume", resumeActs(typical), [locked, status, "thaw the cgroup", unlocked]],
  ["update", updateActs(typical, update), [
    locked,
    status,
    "merge the new limits with the old ones",
    "read the limits",
    "set the limits",
    "read the Intel RDT schemas, if has schemas",
    "set the Intel RDT schemas, if has schemas",
    "save the state",
    unlocked,
  ]],
];

for (const [name, acts, expected] of lists) {
  Deno.test(`${name}, from top to bottom`, () => assertEquals(lines(acts), expected));
}

const commands = containerNames.flatMap((name) => {
  const container = containers[name];
  return [
    startCreatedActs(container),
    poststartActs(container),
    killActs(container, { signal: 9 }),
    deleteActs(container, { force: false }),
    deleteActs(container, { force: true }),
    destroyActs(container),
    pauseActs(container),
    resumeActs(container),
    updateActs(container, update),
  ];
});
const verbs = (acts: readonly Act[]) => acts.map(({ does }) => does.verb);

Deno.test("a command that has the lock reads the state first, and releases it before hooks, and when it fails", () => {
  for (const acts of commands) {
    const names = verbs(acts);
    const [lock, unlock, hook] = [names.indexOf("lockState"), names.indexOf("unlockState"), names.indexOf("runHook")];
    assertEquals(lock < 0, unlock < 0);
    if (lock < 0) continue;
    assertEquals(lock, 0);
    assertEquals(acts[0]!.undo?.map(({ does }) => does.verb), ["unlockState"]);
    assert(hook < 0 || unlock < hook);
    assertEquals(names.slice(unlock + 1).every((name) => name === "runHook"), true);
  }
});

Deno.test("the state goes after everything that is found by it", () => {
  for (const acts of commands) {
    const names = verbs(acts);
    const gone = names.indexOf("removeStateDirectory");
    if (gone < 0) continue;
    for (const each of ["killCgroup", "awaitInitEnd", "removeCgroups", "removeRdtGroup"] as const) {
      assert(names.lastIndexOf(each) < gone, each);
    }
    assert(names.lastIndexOf("awaitInitEnd") < names.indexOf("removeCgroups"));
    assert(names.lastIndexOf("killCgroup") < names.indexOf("removeCgroups"));
  }
});

Deno.test("what a refused update may have changed is remembered before", () => {
  const names = verbs(updateActs(typical, update));
  for (const [before, after] of [["rememberLimits", "setLimits"], ["rememberSchemata", "setSchemata"]] as const) {
    assertEquals(names.indexOf(before) + 1, names.indexOf(after));
  }
  assert(names.indexOf("saveState") > names.indexOf("setSchemata"));
});
