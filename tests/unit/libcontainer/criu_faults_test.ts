/** Each act of a checkpoint and of a restore fails: the container goes on, or nothing is left. */

import { assert, assertEquals } from "@std/assert";
import { RuncError } from "../../../lib/errors.ts";
import { makesNamespace } from "../../../lib/libcontainer/config/namespaces.ts";
import type { Act, Flag } from "../../../lib/libcontainer/plans/parent/act.ts";
import { destroyActs } from "../../../lib/libcontainer/plans/parent/control.ts";
import { dumpActs, restoreActs } from "../../../lib/libcontainer/plans/parent/criu.ts";
import { FakeHost, pids } from "./fake_host.ts";
import { type Done, type FakeOptions, FakeWorld, type Fault } from "./fake_world.ts";
import { faultsAt, halves, troubles } from "./faults.ts";
import { containerNames, containers, DIRECTORY, dumpNames, dumps, restoreNames, restores } from "./parent_plans.ts";

/** A world for one run. */
type Make = (faults?: readonly Fault[]) => FakeWorld;

/** What takes back the acts that were done, as a list. */
function undosOf(acts: readonly Act[], done: readonly Done[], flags: ReadonlySet<Flag>): readonly Done[] {
  return acts.filter(({ does, undo }) => undo !== undefined && done.includes(does)).toReversed()
    .flatMap(({ undo }) => undo!)
    .filter(({ when = [] }) => when.every(({ flag, is }) => flags.has(flag) === is))
    .map(({ does }) => does);
}

/** Calls `look` after each run in which one act fails. */
function failEach(
  acts: readonly Act[],
  make: Make,
  look: (world: FakeWorld, what: string, fault: Fault) => void,
): void {
  const whole = make();
  assertEquals(whole.run(), undefined);
  whole.done.forEach((does, at) => {
    for (const fault of faultsAt(at, does)) {
      const world = make([fault]);
      const error = world.run();
      const what = `${does.verb} at ${at}: ${JSON.stringify(fault)}`;
      assert(error instanceof RuncError, what);
      assertEquals(world.done.slice(at + 1), undosOf(acts, whole.done.slice(0, at), world.flags), what);
      assertEquals(world.warnings, [], what);
      look(world, what, fault);
    }
  });
}

/** Each act fails, and then each undo: the others still run. */
function failTwice(make: Make): void {
  const whole = make();
  whole.run();
  whole.done.forEach((does, at) => {
    const [fault] = faultsAt(at, does);
    if (fault === undefined) return;
    const first = make([fault]);
    const error = first.run() as RuncError;
    const undos = first.done.slice(at + 1);
    undos.forEach((undo, index) => {
      const [second] = faultsAt(at + 1 + index, undo);
      if (second === undefined) return;
      const world = make([fault, second]);
      const what = `${does.verb} and ${undo.verb} fail`;
      assertEquals((world.run() as RuncError).message, error.message, what);
      assertEquals(world.done.slice(at + 1), undos, what);
      assert(world.warnings[0]!.startsWith("while cleaning up: "), what);
      assertEquals([...world.host.descriptors], [], what);
    });
  });
}

for (const name of restoreNames) {
  const acts = restoreActs(restores[name]);
  const ownsPids = makesNamespace(restores[name].config, "pid");
  const make: Make = (faults = []) => new FakeWorld({ acts, ownsPids, faults });

  Deno.test(`each act of a restore fails, and the host is as it was: ${name}`, () => {
    const before = new FakeHost().snapshot();
    failEach(acts, make, (world, what) => assertEquals(world.host.snapshot(), before, what));
  });

  Deno.test(`an undo of a restore fails too, and the others still run: ${name}`, () => failTwice(make));

  Deno.test(`a restore leaves the container, and nothing of its own: ${name}`, () => {
    const world = make();
    assertEquals(world.run(), undefined);
    const { paths, processes, descriptors } = world.host.snapshot();
    assertEquals([processes, descriptors], [[pids.init, pids.left], []]);
    assert(paths.some(([path]) => path === `${DIRECTORY}/state.json`));
    assert(!paths.some(([path]) => path.includes("criu-root")));
  });
}

Deno.test("a restore that cannot end its processes by their pidfds ends them by the cgroup", () => {
  const acts = restoreActs(restores.typical);
  const at = new FakeWorld({ acts });
  at.run();
  const index = at.done.findIndex((does) => does.verb === "awaitCriu");
  // CRIU has made the process, and dies before it names it.
  const world = new FakeWorld({ acts, faults: [{ at: index, trouble: "dies", partly: true }] });
  assert(world.run() instanceof RuncError);
  assertEquals(world.done.some(({ verb }) => verb === "adoptRestored"), false);
  assertEquals(world.host.snapshot(), new FakeHost().snapshot());
});

for (const name of dumpNames) {
  for (const sort of containerNames) {
    for (const status of ["running", "paused"] as const) {
      const container = containers[sort];
      const options = dumps[name];
      const leavesRunning = "leaveRunning" in options || "preDump" in options;
      const acts = dumpActs(container, options);
      const host = () => {
        const made = new FakeHost();
        made.paths.set(DIRECTORY, "directory").set(`${DIRECTORY}/state.json`, "state with old limits");
        for (const path of container.cgroups) made.cgroups.add(path);
        if ("rdtGroup" in container) made.rdtGroups.add(container.rdtGroup);
        for (const pid of [pids.init, pids.left]) made.start(pid, false, container.cgroups);
        made.isFrozen = status === "paused";
        return made;
      };
      const base: FakeOptions = { acts, status, leavesRunning, ownsPids: container.ownsPids };
      const make: Make = (faults = []) => new FakeWorld({ ...base, host: host(), faults });
      /** Without the images. */
      const lookAt = (seen: FakeHost) => {
        const { paths, ...more } = seen.snapshot();
        return { ...more, paths: paths.filter(([path]) => !path.startsWith("/images")) };
      };

      Deno.test(`each act of a checkpoint fails, and the container is as it was: ${name}, ${sort}, ${status}`, () => {
        const before = lookAt(host());
        failEach(acts, make, (world, what, { at, partly }) => {
          const answer = world.done.findIndex((does) => does.verb === "awaitCriu" && does.moment === "answer");
          // CRIU kills the processes before it answers.
          const isSaved = !leavesRunning && answer >= 0 && (at > answer || Boolean(partly));
          assertEquals(lookAt(world.host), isSaved ? { ...before, processes: [] } : before, what);
        });
      });

      Deno.test(`an undo of a checkpoint fails too: ${name}, ${sort}, ${status}`, () => failTwice(make));

      Deno.test(`what is saved is then removed, unless it has to go on: ${name}, ${sort}, ${status}`, () => {
        const world = make();
        assertEquals(world.run(), undefined);
        if (leavesRunning) return assertEquals(lookAt(world.host), lookAt(host()));
        const removal = { ...base, acts: destroyActs(container), host: world.host };
        assertEquals(new FakeWorld(removal).run(), undefined);
        assertEquals({ ...lookAt(world.host), isFrozen: false }, lookAt(new FakeHost()));
      });
    }
  }
}

Deno.test("a checkpoint is refused in other states before anything is made", () => {
  for (const status of ["created", "stopped"] as const) {
    const world = new FakeWorld({ acts: dumpActs(containers.v2, dumps.typical), status });
    assertEquals((world.run() as RuncError).code, "container-state");
    assertEquals(world.done.map(({ verb }) => verb), ["lockState", "readStatus", "unlockState"]);
    assertEquals(world.host.snapshot(), new FakeHost().snapshot());
  }
});

Deno.test("a verb of CRIU's that an act takes back does nothing if it fails", () => {
  const acts = [
    ...restoreNames.flatMap((name) => restoreActs(restores[name])),
    ...dumpNames.flatMap((name) => dumpActs(containers.typical, dumps[name])),
  ];
  for (const { does, undo } of acts) {
    // The command closes the lock at its end, whether it has been taken or not.
    assert(undo === undefined || does.verb === "lockState" || !halves.includes(does.verb), does.verb);
  }
  const verbs = new Set([...acts, ...acts.flatMap(({ undo = [] }) => undo)].map(({ does }) => does.verb));
  const silent = [...verbs].filter((verb) => troubles[verb].length === 0).sort();
  assertEquals(silent, ["endCriu", "endRestored", "tellReady", "unlockState", "unmountRootfs"]);
});
