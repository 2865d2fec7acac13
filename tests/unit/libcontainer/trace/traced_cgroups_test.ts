import { assertEquals, assertThrows } from "@std/assert";
import type { CgroupManager } from "../../../../lib/cgroups/manager.ts";
import { TracedCgroups } from "../../../../lib/libcontainer/trace/traced_cgroups.ts";
import { Clock, recorder } from "../../trace/fixed.ts";

/** Cgroups that only tell what was called. */
function fake(called: unknown[]): CgroupManager {
  const tell = (name: string) => (...args: unknown[]) => void called.push([name, ...args]);
  return {
    paths: { "": "/group" },
    refused: true,
    selfJoin: { taskFiles: [] },
    selfJoinOfExec: () => ({ taskFiles: [], cloneInto: "/group" }),
    create: tell("create"),
    join: tell("join"),
    setDevices: tell("setDevices"),
    set: tell("set"),
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
  cgroups.set({ pids: { limit: 1 } });
  cgroups.remember({}, {})();
  assertEquals(cgroups.kill(() => {}), true);
  cgroups.freeze();
  cgroups.thaw();
  cgroups.thawToKill();
  assertThrows(() => cgroups.destroy(), Error, "busy");
  assertEquals(called, [
    ["create", undefined, 7],
    ["join", 7, 1],
    ["setDevices", []],
    ["set", { pids: { limit: 1 } }],
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
    "set the limits",
    "read the limits",
    "set the limits back",
    "kill all processes of the cgroup",
    "freeze the cgroup",
    "thaw the cgroup",
    "remove the cgroups: busy",
  ]);
});
