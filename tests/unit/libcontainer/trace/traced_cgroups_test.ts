import { assertEquals, assertThrows } from "@std/assert";
import type { LimitWrite } from "../../../../lib/cgroups/limits/limit.ts";
import * as code from "../../../../lib/cgroups/limits/limits.ts";
import type { Limits } from "../../../../lib/cgroups/limits/limited.ts";
import type { CgroupManager } from "../../../../lib/cgroups/manager.ts";
import { TracedCgroups } from "../../../../lib/libcontainer/trace/traced_cgroups.ts";
import { Clock, recorder } from "../../trace/fixed.ts";

const writes: readonly LimitWrite[] = [
  { controller: "memory", file: "memory.limit", value: "1" },
  { controller: "memory", file: "memory.swap", value: "2" },
  { controller: "cpu", file: "cpu.shares", value: "3" },
  { controller: "memory", file: "memory.more", value: "4" },
];

/** Cgroups that only tell what was called. */
function fake(called: unknown[]): CgroupManager {
  const tell = (name: string) => (...args: unknown[]) => void called.push([name, ...args]);
  const set = ({ code }: Limits) => code.setLimits(writes, () => "/directory");
  return {
    paths: { "": "/group" },
    refused: true,
    selfJoin: { taskFiles: [] },
    selfJoinOfExec: () => ({ taskFiles: [], cloneInto: "/group" }),
    create: tell("create"),
    join: tell("join"),
    setDevices: tell("setDevices"),
    set,
    remember: () => tell("restore"),
    oomKills: () => 3,
    processes: () => [1, 2],
    exists: () => true,
    kill: () => true,
    freezerState: () => "frozen",
    freeze: tell("freeze"),
    thaw: tell("thaw"),
    thawToKill: tell("thawToKill"),
    destroy: () => {
      throw new Error("busy");
    },
  };
}

Deno.test("every call is passed on with what it is given, and told of", () => {
  const called: unknown[] = [];
  const trace = recorder(new Clock());
  const cgroups = new TracedCgroups(fake(called), trace);
  assertEquals([cgroups.paths, cgroups.refused, cgroups.exists(), cgroups.freezerState()], [
    { "": "/group" },
    true,
    true,
    "frozen",
  ]);
  assertEquals([cgroups.oomKills(), cgroups.processes()], [3, [1, 2]]);
  assertEquals([cgroups.selfJoin, cgroups.selfJoinOfExec(1).cloneInto], [{ taskFiles: [] }, "/group"]);
  cgroups.create(undefined, 7);
  cgroups.join(7, 1);
  cgroups.setDevices([]);
  cgroups.remember({ resources: {}, code }, { resources: {}, code })();
  assertEquals(cgroups.kill(() => {}), true);
  cgroups.freeze();
  cgroups.thaw();
  cgroups.thawToKill();
  assertThrows(() => cgroups.destroy(), Error, "busy");
  assertEquals(called, [
    ["create", undefined, 7],
    ["join", 7, 1],
    ["setDevices", []],
    ["restore"],
    ["freeze"],
    ["thaw"],
    ["thawToKill"],
  ]);
  const spans = trace.finish().spans.slice(1);
  assertEquals(spans.map(({ name, error }) => error === undefined ? name : `${name}: ${error}`), [
    "make the cgroups",
    "put process 7 into the cgroups",
    "set the device rules",
    "read the limits",
    "set the limits back",
    "kill all processes of the cgroup",
    "freeze the cgroup",
    "thaw the cgroup",
    "remove the cgroups: busy",
  ]);
});

Deno.test("limits are written in their order, with a span for those of one controller that follow each other", () => {
  const written: string[] = [];
  const trace = recorder(new Clock());
  const limits: Limits = {
    resources: {},
    code: { ...code, setLimits: (group) => void written.push(...group.map(({ file }) => file)) },
  };
  new TracedCgroups(fake([]), trace).set(limits);
  assertEquals(written, writes.map(({ file }) => file));
  const [, set, ...groups] = trace.finish().spans;
  assertEquals([set!.name, ...groups.map(({ parentId }) => parentId === set!.id)], [
    "set the limits",
    true,
    true,
    true,
  ]);
  assertEquals(groups.map(({ name, attributes }) => [name, attributes["runc.cgroup.files"]]), [
    ["set the limits of memory", "memory.limit=1 memory.swap=2"],
    ["set the limits of cpu", "cpu.shares=3"],
    ["set the limits of memory", "memory.more=4"],
  ]);
});
