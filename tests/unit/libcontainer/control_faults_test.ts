/** Each act of the commands on an existing container fails, with each error that it can have. */

import { assert, assertEquals } from "@std/assert";
import { RuncError } from "../../../lib/errors.ts";
import type { Act } from "../../../lib/libcontainer/plans/parent/act.ts";
import {
  deleteActs,
  destroyActs,
  killActs,
  pauseActs,
  poststartActs,
  resumeActs,
  startCreatedActs,
  updateActs,
} from "../../../lib/libcontainer/plans/parent/control.ts";
import type { Status } from "../../../lib/specs/state.ts";
import { FakeHost, pids } from "./fake_host.ts";
import { type Done, FakeWorld, type Fault } from "./fake_world.ts";
import { faultsAt } from "./faults.ts";
import { containerNames, containers, DIRECTORY } from "./parent_plans.ts";

/** One command on a container in one state. */
interface Case {
  readonly acts: readonly Act[];
  readonly status: Status;
  readonly name: keyof typeof containers;
}

function hostOf({ status, name }: Case): FakeHost {
  const host = new FakeHost();
  const { cgroups, ...container } = containers[name];
  host.paths.set(DIRECTORY, "directory");
  host.paths.set(`${DIRECTORY}/state.json`, "state with old limits");
  if (status === "created") host.paths.set(`${DIRECTORY}/exec.fifo`, "fifo");
  for (const path of cgroups) host.cgroups.add(path);
  if ("rdtGroup" in container) host.rdtGroups.add(container.rdtGroup);
  if (status !== "stopped") host.start(pids.init, false, cgroups);
  if (status !== "stopped" || !container.ownsPids) host.start(pids.left, false, cgroups);
  host.isFrozen = status === "paused";
  return host;
}

function run(each: Case, faults: readonly Fault[] = []) {
  const { acts, status, name } = each;
  const { ownsPids } = containers[name];
  const world = new FakeWorld({ acts, host: hostOf(each), status, ownsPids, faults });
  return { world, error: world.run() };
}

/** Calls `look` with each run in which one act fails. */
function failEach(each: Case, look: (world: FakeWorld, fault: Fault, done: readonly Done[]) => void): void {
  const { world: whole, error } = run(each);
  assertEquals(error, undefined);
  whole.done.forEach((does, at) => {
    for (const fault of faultsAt(at, does)) {
      const { world, error } = run(each, [fault]);
      const ignored = does.verb === "runHook" && does.goOn;
      const what = `${does.verb}: ${JSON.stringify(fault)}`;
      assert(ignored || error instanceof RuncError, what);
      assertEquals([world.host.isLocked, [...world.host.descriptors]], [false, []], what);
      const undone = each.acts.filter(({ does, undo }) => undo !== undefined && whole.done.slice(0, at).includes(does));
      const undos = undone.toReversed().flatMap(({ undo }) => undo!.map(({ does }) => does));
      if (!ignored) assertEquals(world.done.slice(at + 1), undos, what);
      look(world, fault, whole.done);
    }
  });
}

/** Whether an act was done before a fault. */
const isBefore = (verb: Done["verb"], { at }: Fault, done: readonly Done[]) =>
  done.slice(0, at).some((each) => each.verb === verb);

const resources = { pids: { limit: 5 } }, rdt = { schemata: ["L3:0=1"] };

for (const name of containerNames) {
  const container = containers[name];
  const hasPoststart = "poststart" in container.hooks;

  Deno.test(`start fails: what it has started is killed, and else nothing has changed: ${name}`, () => {
    const each = { acts: startCreatedActs(container), status: "created", name } as const;
    const before = hostOf(each).snapshot();
    failEach(each, ({ host }, fault, done) => {
      const isStarted = isBefore("readExecFifo", fault, done);
      assertEquals(host.processes.has(pids.init), !isStarted);
      if (!isStarted) assertEquals(host.snapshot(), before);
      // It is still found, and can be deleted.
      assert(host.paths.has(`${DIRECTORY}/state.json`));
    });
  });

  Deno.test(`poststart hooks fail: init is killed: ${name}`, () => {
    const each = { acts: poststartActs(container), status: "running", name } as const;
    assertEquals(each.acts.length > 0, hasPoststart);
    failEach(each, ({ host }, fault, done) => {
      assertEquals(host.processes.has(pids.init), !isBefore("openInit", fault, done));
    });
  });

  for (const signal of [9, 15]) {
    for (const status of ["running", "created", "paused"] as const) {
      Deno.test(`kill ${signal} fails: nothing is taken back: ${name}, ${status}`, () => {
        const each = { acts: killActs(container, { signal }), status, name };
        failEach(each, ({ host }) => assertEquals(host.paths.size, hostOf(each).paths.size));
        assertEquals(run(each).world.host.processes.has(pids.init), signal !== 9);
      });
    }
  }

  const removals = [
    ...(["stopped", "created"] as const).map((status) => ["delete", { force: false }, status] as const),
    ...(["stopped", "created", "running", "paused"] as const).map((status) =>
      ["delete --force", { force: true }, status] as const
    ),
    ["destroy", undefined, "stopped"] as const,
  ];
  for (const [command, options, status] of removals) {
    const acts = options === undefined ? destroyActs(container) : deleteActs(container, options);
    const each = { acts, status, name };

    Deno.test(`${command} removes everything: ${name}, ${status}`, () => {
      const { world: { host, warnings } } = run(each);
      assertEquals({ ...host.snapshot(), isFrozen: false }, new FakeHost().snapshot());
      assertEquals(warnings, []);
    });

    Deno.test(`${command} fails: what is left is found by the state, and a second one removes it: ${name}, ${status}`, () => {
      failEach(each, ({ host }, fault, done) => {
        const { cgroups, rdtGroups, processes, paths } = host.snapshot();
        const isLeft = [cgroups, rdtGroups, processes].some(({ length }) => length > 0);
        assert(!isLeft || host.paths.has(`${DIRECTORY}/state.json`));
        assertEquals(paths.length === 1, isBefore("removeStateDirectory", fault, done));
        if (!host.paths.has(DIRECTORY)) return;
        const acts = deleteActs(container, { force: true });
        const again = host.processes.has(pids.init) ? status : "stopped";
        const second = new FakeWorld({ acts, host, status: again, ownsPids: container.ownsPids });
        assertEquals(second.run(), undefined);
        assertEquals({ ...host.snapshot(), isFrozen: false }, new FakeHost().snapshot());
      });
    });
  }

  for (const status of ["created", "running", "paused"] as const) {
    Deno.test(`update fails: limits, schemata and the state are the old ones: ${name}, ${status}`, () => {
      const each = { acts: updateActs(container, { resources, rdt }), status, name };
      const before = hostOf(each).snapshot();
      failEach(each, ({ host }) => assertEquals(host.snapshot(), before));
      const { limits, schemata, paths } = run(each).world.host.snapshot();
      assertEquals([limits, schemata], ["new", "new"]);
      assert(paths.some(([, content]) => content === "state with new limits"));
    });
  }

  Deno.test(`update fails, and so does an undo: the others still run: ${name}`, () => {
    const each = { acts: updateActs(container, { resources, rdt }), status: "running", name } as const;
    const { done } = run(each).world;
    const at = done.findIndex(({ verb }) => verb === "saveState");
    const undos = run(each, [{ at, trouble: "ENOSPC" }]).world.done.slice(at + 1);
    assertEquals(undos.map(({ verb }) => verb), ["restoreSchemata", "restoreLimits", "unlockState"]);
    for (const index of [0, 1]) {
      const faults = [{ at, trouble: "ENOSPC" }, { at: at + 1 + index, trouble: "EINVAL" }] as const;
      const { world: { host, done, warnings }, error } = run(each, faults);
      assertEquals([done.slice(at + 1), (error as RuncError).errnoName], [undos, "ENOSPC"]);
      assertEquals([host.schemata, host.limits], index === 0 ? ["new", "old"] : ["old", "new"]);
      assertEquals([warnings.length, host.isLocked], [1, false]);
    }
  });

  Deno.test(`pause and resume fail: the container is as it was, and not locked: ${name}`, () => {
    for (
      const each of [
        { acts: pauseActs(container), status: "running", name },
        { acts: resumeActs(container), status: "paused", name },
      ] as const
    ) {
      const before = hostOf(each).snapshot();
      failEach(each, ({ host }) => assertEquals(host.snapshot(), before));
      assertEquals(run(each).world.host.isFrozen, each.status === "running");
    }
  });
}

const wrong: readonly (readonly [string, (container: typeof containers.v2) => readonly Act[], readonly Status[]])[] = [
  ["start", startCreatedActs, ["running", "paused", "stopped"]],
  ["delete", (container) => deleteActs(container, { force: false }), ["running", "paused"]],
  ["pause", pauseActs, ["paused", "stopped"]],
  ["resume", resumeActs, ["created", "running", "stopped"]],
  ["update", (container) => updateActs(container, { resources, rdt }), ["stopped"]],
];

for (const [command, actsOf, statuses] of wrong) {
  Deno.test(`${command} refuses a container that is ${statuses.join(" or ")}, and changes nothing`, () => {
    for (const status of statuses) {
      const each = { acts: actsOf(containers.v2), status, name: "v2" } as const;
      const before = hostOf(each).snapshot();
      const { world, error } = run(each);
      assertEquals((error as RuncError).code, "container-state");
      assertEquals(world.host.snapshot(), before);
    }
  });
}
