import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { parseSystemdPath } from "../../../../lib/cgroups/path.ts";
import {
  dependsOnVersion,
  escapeCgroup,
  isSlice,
  sliceLevels,
  systemdUnit,
  unitCgroup,
  unitObject,
} from "../../../../lib/cgroups/systemd/unit.ts";

Deno.test("sliceLevels() makes a level of each dash", () => {
  const cases: readonly [slice: string, levels: readonly string[]][] = [
    ["-.slice", []],
    ["system.slice", ["system.slice"]],
    ["test-a-b.slice", ["test.slice", "test-a.slice", "test-a-b.slice"]],
    ["user-1000.slice", ["user.slice", "user-1000.slice"]],
  ];
  for (const [slice, levels] of cases) assertEquals(sliceLevels(slice), levels);
});

Deno.test("sliceLevels() refuses what is no slice", () => {
  for (const slice of ["", ".slice", "a", "a.slicer", "-a.slice", "a-.slice", "a--b.slice", "../a.slice", "/.slice"]) {
    const { code, message } = assertThrows(() => sliceLevels(slice), RuncError);
    assertEquals([code, message], ["config-invalid", `invalid slice name: ${slice}`]);
  }
});

Deno.test("systemdUnit() names the unit and finds its cgroup", () => {
  const user = "/user.slice/user-1.slice/user@1.service";
  const cases: readonly [cgroupsPath: string, rootless: boolean, manager: string, name: string, cgroup: string][] = [
    ["", false, "/", "runc-box.scope", "/system.slice/runc-box.scope"],
    ["", true, user, "runc-box.scope", `${user}/user.slice/runc-box.scope`],
    ["a-b.slice:docker:id", false, "/", "docker-id.scope", "/a.slice/a-b.slice/docker-id.scope"],
    ["-.slice:x:id", false, "/", "x-id.scope", "/x-id.scope"],
    ["machine.slice:x:pod.slice", false, "/", "pod.slice", "/machine.slice/pod.slice"],
    ["::id", false, "/", "-id.scope", "/system.slice/-id.scope"],
    ["_a-b.slice:_p:id", false, "/", "_p-id.scope", "/__a.slice/__a-b.slice/__p-id.scope"],
    ["cpu-a.slice:.p:id", true, user, ".p-id.scope", `${user}/_cpu.slice/cpu-a.slice/_.p-id.scope`],
  ];
  for (const [cgroupsPath, rootless, manager, name, cgroup] of cases) {
    const unit = systemdUnit(parseSystemdPath({ id: "box", cgroupsPath }), rootless);
    const host = { managerCgroup: manager, systemdVersion: 252 };
    assertEquals([unit.name, unitCgroup(unit, host)], [name, cgroup]);
    assertEquals(isSlice(unit), name.endsWith(".slice"));
  }
});

Deno.test("escapeCgroup() does what systemd does with names that files of the kernel may have", () => {
  const cases: readonly [unit: string, before254: string, since254: string][] = [
    ["a-b.scope", "a-b.scope", "a-b.scope"],
    ["a.cpu.scope", "a.cpu.scope", "a.cpu.scope"],
    ["_a.scope", "__a.scope", "__a.scope"],
    [".a.scope", "_.a.scope", "_.a.scope"],
    ["cgroup.a.scope", "_cgroup.a.scope", "_cgroup.a.scope"],
    ["cgroup-a.scope", "cgroup-a.scope", "cgroup-a.scope"],
    ["cgroups.slice", "cgroups.slice", "cgroups.slice"],
    ["memory.slice", "_memory.slice", "_memory.slice"],
    ["bpf-firewall.scope", "_bpf-firewall.scope", "_bpf-firewall.scope"],
    ["cpu.web-a.scope", "cpu.web-a.scope", "_cpu.web-a.scope"],
    ["cpux.scope", "cpux.scope", "cpux.scope"],
    ["tasks-a.scope", "tasks-a.scope", "tasks-a.scope"],
  ];
  for (const [unit, before, since] of cases) {
    assertEquals([253, 254].map((version) => escapeCgroup(unit, version)), [before, since]);
  }
});

Deno.test("dependsOnVersion() is true only where systemd's version matters", () => {
  const cases: readonly [cgroupsPath: string, depends: boolean][] = [
    ["a.slice:b:id", false],
    [":a.b:id", false],
    [":_cpu.b:id", false],
    [":cpu:id", false],
    ["cpu.slice:b:id", false],
    [":cpu.b:id", true],
    ["cpu.b.slice:b:id", true],
  ];
  for (const [cgroupsPath, depends] of cases) {
    const unit = systemdUnit(parseSystemdPath({ id: "box", cgroupsPath }), false);
    assertEquals(dependsOnVersion(unit), depends, cgroupsPath);
  }
});

Deno.test("unitObject() escapes what an object's path cannot have", () => {
  assertEquals(unitObject("docker-1a_é.scope"), "/org/freedesktop/systemd1/unit/docker_2d1a_5f_c3_a9_2escope");
  assertEquals(unitObject("1a.slice"), "/org/freedesktop/systemd1/unit/_31a_2eslice");
});

Deno.test("the property Slice of an annotation counts more than cgroupsPath, and is named where it cannot be", () => {
  const property = (value: string) => ["Slice", { signature: "s", value }] as const;
  const path = parseSystemdPath({ id: "box", cgroupsPath: "a.slice:test:box" });
  const host = { managerCgroup: "/", systemdVersion: 252 };
  const unit = systemdUnit(path, false, [
    ["Nice", { signature: "i", value: 1n }],
    property("b.slice"),
    property("c-d.slice"),
  ]);
  assertEquals([unit.slice, unitCgroup(unit, host)], ["c-d.slice", "/c.slice/c-d.slice/test-box.scope"]);
  const wrong = systemdUnit(path, false, [property("b.scope")]);
  const { message, field } = assertThrows(() => unitCgroup(wrong, host), RuncError);
  assertEquals([message, field], ["invalid slice name: b.scope", "/annotations/org.systemd.property.Slice"]);
});
