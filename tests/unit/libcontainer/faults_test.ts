/**
 * Each act of each plan fails, with each error that it can have: what was done is taken back, last first, and the host
 * is as it was.
 */

import { assert, assertEquals } from "@std/assert";
import { RuncError } from "../../../lib/errors.ts";
import { Errno } from "../../../lib/ffi/errno.ts";
import type { Act } from "../../../lib/libcontainer/plans/parent/act.ts";
import { createActs, startActs } from "../../../lib/libcontainer/plans/parent/create.ts";
import { execActs } from "../../../lib/libcontainer/plans/parent/exec.ts";
import { makesNamespace } from "../../../lib/libcontainer/config/namespaces.ts";
import { FakeHost, pids } from "./fake_host.ts";
import { type Done, FakeWorld, type Fault } from "./fake_world.ts";
import { faultsAt, halves, troubles } from "./faults.ts";
import { creationNames, creations, DIRECTORY, executionNames, executions, RESCTRL } from "./parent_plans.ts";

/** One plan and the host that it begins on. */
interface Case {
  readonly acts: readonly Act[];
  readonly host: () => FakeHost;
  readonly ownsPids: boolean;
  readonly init?: number;
}

/** The world after a run. */
interface Run {
  readonly world: FakeWorld;
  readonly error: unknown;
}

function run({ acts, host, ownsPids, init }: Case, faults: readonly Fault[] = []): Run {
  const world = new FakeWorld({ acts, host: host(), ownsPids, init, faults });
  return { world, error: world.run() };
}

/** A host with a running container. */
function hostWithContainer(): FakeHost {
  const host = new FakeHost();
  host.paths.set(DIRECTORY, "directory");
  host.paths.set(`${DIRECTORY}/state.json`, "state with old limits");
  host.cgroups.add("/sys/fs/cgroup/box").add("/sys/fs/cgroup/box/below");
  host.rdtGroups.add(`${RESCTRL}/box`);
  host.start(pids.first, false, ["/sys/fs/cgroup/box"]);
  return host;
}

const cases: readonly (readonly [string, Case])[] = [
  ...creationNames.map((name) => {
    const acts = createActs(creations[name]);
    return [name, {
      acts,
      host: () => new FakeHost(),
      ownsPids: makesNamespace(creations[name].config, "pid"),
    }] as const;
  }),
  ...executionNames.map((name) => {
    return [`exec ${name}`, { acts: execActs(executions[name]), host: hostWithContainer, ownsPids: true }] as const;
  }),
];

/** What takes back the acts that were done, as a list. */
function undosOf(acts: readonly Act[], done: readonly Done[]): readonly Done[] {
  const undone = acts.filter(({ does, undo }) => undo !== undefined && done.includes(does));
  return undone.toReversed().flatMap(({ undo }) => undo!.map(({ does }) => does));
}

/** What a run without a failure does. */
function doneOf(each: Case): readonly Done[] {
  const { world, error } = run(each);
  assertEquals(error, undefined);
  return world.done;
}

function check(each: Case, fault: Fault, done: readonly Done[]): Run {
  const failing = run(each, [fault]);
  const { world, error } = failing;
  const what = `${done[fault.at]!.verb} fails with ${fault.trouble}${fault.partly ? ", partly done" : ""}`;
  assert(error instanceof RuncError, what);
  const isErrno = fault.trouble in Errno;
  if (isErrno) assertEquals([error.errnoName, error.call], [fault.trouble, done[fault.at]!.verb], what);
  // The message that is taken may have more to be done: a report of how its sender ended.
  const before = world.done.slice(0, fault.at + (fault.trouble === "dies" ? 2 : 1));
  assertEquals(before.slice(0, fault.at), done.slice(0, fault.at).map((_, index) => world.done[index]));
  assertEquals(world.done.slice(before.length), undosOf(each.acts, before.slice(0, fault.at)), what);
  assertEquals(world.messages.map(({ disposals }) => disposals), world.messages.map(() => 1), what);
  return failing;
}

for (const [name, each] of cases) {
  const done = doneOf(each);
  Deno.test(`each act fails, and the host is as it was: ${name}`, () => {
    const before = each.host().snapshot();
    done.forEach((does, at) => {
      for (const fault of faultsAt(at, does)) {
        const { world } = check(each, fault, done);
        assertEquals(world.host.snapshot(), before, `${does.verb} at ${at}: ${JSON.stringify(fault)}`);
        assertEquals(world.warnings, []);
      }
    });
  });

  Deno.test(`an undo fails too, and the others still run: ${name}`, () => {
    done.forEach((does, at) => {
      const [fault] = faultsAt(at, does);
      if (fault === undefined) return;
      const undos = check(each, fault, done).world.done.slice(at + (fault.trouble === "dies" ? 2 : 1));
      undos.forEach((undo, index) => {
        const second = faultsAt(at + 1 + index, undo)[0];
        if (second === undefined) return;
        const { world, error } = run(each, [fault, second]);
        const what = `${does.verb} and ${undo.verb} fail`;
        assertEquals(world.done.slice(at + 1), undos, what);
        assertEquals((error as RuncError).message, (run(each, [fault]).error as RuncError).message, what);
        assert(world.warnings[0]!.startsWith(`while cleaning up: ${undo.verb}: `), what);
        assertEquals([...world.host.descriptors], [], what);
      });
    });
  });
}

Deno.test("a creation leaves the container, and no descriptor of its own", () => {
  for (const name of creationNames) {
    const { world } = run(cases.find(([each]) => each === name)![1]);
    const { paths, descriptors, processes, received } = world.host.snapshot();
    assert(paths.some(([path]) => path === `${DIRECTORY}/state.json`), name);
    assert(!paths.some(([, what]) => what === "note"), name);
    assertEquals([descriptors, processes, received], [[], [pids.init, pids.left], 0], name);
  }
});

Deno.test("the start of what the parent has created fails with each error", () => {
  for (const name of ["run", "late seccomp listener", "everything"] as const) {
    const acts = startActs(creations[name]);
    const host = () => {
      const made = new FakeHost();
      made.start(pids.init, true);
      return made;
    };
    const each = { acts, host, ownsPids: true, init: pids.init };
    const done = doneOf(each);
    done.forEach((does, at) => {
      // Whoever has created the container ends it: nothing is undone here.
      for (const fault of faultsAt(at, does)) check(each, fault, done);
    });
  }
});

Deno.test("a verb that an act takes back does nothing if it fails", () => {
  const acts = cases.flatMap(([, { acts }]) => acts);
  for (const { does, undo } of acts) assert(undo === undefined || !halves.includes(does.verb), does.verb);
  const verbs = new Set([...acts, ...acts.flatMap(({ undo = [] }) => undo)].map(({ does }) => does.verb));
  // What has no errno is what the table says of it.
  const silent = [...verbs].filter((verb) => troubles[verb].length === 0).sort();
  assertEquals(silent, ["adopt", "debug", "endProcesses", "warn"]);
});
