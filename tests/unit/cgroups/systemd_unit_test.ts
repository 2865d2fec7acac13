import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../lib/errors.ts";
import { parseSystemdPath } from "../../../lib/cgroups/path.ts";
import { expandSlice, isSlice, systemdUnit, unitCgroup } from "../../../lib/cgroups/systemd_unit.ts";

Deno.test("expandSlice() makes a level of each dash", () => {
  const cases: readonly [slice: string, cgroup: string][] = [
    ["-.slice", "/"],
    ["system.slice", "/system.slice"],
    ["test-a-b.slice", "/test.slice/test-a.slice/test-a-b.slice"],
    ["user-1000.slice", "/user.slice/user-1000.slice"],
  ];
  for (const [slice, cgroup] of cases) assertEquals(expandSlice(slice), cgroup);
});

Deno.test("expandSlice() refuses what is no slice", () => {
  for (const slice of ["", ".slice", "a", "a.slicer", "-a.slice", "a-.slice", "a--b.slice", "../a.slice", "/.slice"]) {
    const { code, message } = assertThrows(() => expandSlice(slice), RuncError);
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
  ];
  for (const [cgroupsPath, rootless, manager, name, cgroup] of cases) {
    const unit = systemdUnit(parseSystemdPath({ id: "box", cgroupsPath }), rootless);
    assertEquals([unit.name, unitCgroup(unit, manager)], [name, cgroup]);
    assertEquals(isSlice(unit), name.endsWith(".slice"));
  }
});
