import { assertEquals } from "@std/assert";
import { parseNote } from "../../../../lib/libcontainer/state/creation_note.ts";

const mountPoints = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified"];
const parse = (note: unknown) => parseNote(JSON.stringify(note), mountPoints);
const stage = { pid: 7, startTime: 70 };

Deno.test("parseNote() reads what a creation has written", () => {
  const cgroupPaths = { pids: "/sys/fs/cgroup/pids/a/b", "": "/sys/fs/cgroup/unified/a" };
  assertEquals(parse({ stage, cgroupPaths }), { stage, cgroupPaths, systemd: undefined });
  const systemd = { slice: "machine.slice", prefix: "runc", name: "a" };
  assertEquals(parse({ stage, cgroupPaths: {}, systemd }), { stage, cgroupPaths: {}, systemd });
});

const broken: readonly [name: string, note: unknown][] = [
  ["no object", []],
  ["no stage", { cgroupPaths: {} }],
  ["no cgroups", { stage }],
  ["a pid that is no number", { stage: { ...stage, pid: "7" }, cgroupPaths: {} }],
  ["a negative pid, which kill(2) takes for a group", { stage: { ...stage, pid: -1 }, cgroupPaths: {} }],
  ["a path that is no text", { stage, cgroupPaths: { pids: 1 } }],
  ["a relative path", { stage, cgroupPaths: { pids: "sys/fs/cgroup/pids/a" } }],
  ["a path outside of cgroups", { stage, cgroupPaths: { pids: "/etc" } }],
  ["a hierarchy itself", { stage, cgroupPaths: { pids: "/sys/fs/cgroup/pids" } }],
  ["the name of a hierarchy and more", { stage, cgroupPaths: { pids: "/sys/fs/cgroup/pids2/a" } }],
  ["a path that leaves the hierarchy", { stage, cgroupPaths: { pids: "/sys/fs/cgroup/pids/../cpu/a" } }],
  ["one good and one bad path", { stage, cgroupPaths: { pids: "/sys/fs/cgroup/pids/a", cpu: "/" } }],
  ["half a unit", { stage, cgroupPaths: {}, systemd: { slice: "a" } }],
];

for (const [name, note] of broken) {
  Deno.test(`parseNote() takes for no note: ${name}`, () => assertEquals(parse(note), undefined));
}

Deno.test("parseNote() takes half a text for no note", () =>
  assertEquals(parseNote('{"stage":', mountPoints), undefined));
