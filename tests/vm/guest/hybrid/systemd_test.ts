/** Containers that systemd manages the cgroups of, on cgroup v1 with cgroup2 beside it. Runs in the virtual machine, as root. */

import { assert, assertEquals } from "@std/assert";
import { parseProcCgroup, readCgroupLayout } from "../../../../lib/cgroups/layout.ts";
import { type Box, boxTest, comparing, execute, kernel } from "../../../integration/harness.ts";

const unitOf = (box: Box) => `test-${box.name}.scope`;

/** The process's cgroup in each hierarchy, those of no limit left out. */
function cgroupsOf(text: string): Record<string, string> {
  return Object.fromEntries(parseProcCgroup(text).map(({ controllers, path }) => [controllers.join(","), path]));
}

Deno.test("the machine has cgroup v1 and cgroup2 beside it", () => {
  assertEquals(readCgroupLayout(kernel).mode, "hybrid");
});

comparing("the container is a scope, in every hierarchy", (box) => {
  box.write((config) => {
    config.process.args = ["cat", "/proc/self/cgroup"];
    config.linux.cgroupsPath = `a-b.slice:test:${box.name}`;
  });
  const cgroups = cgroupsOf(box.must(["--systemd-cgroup", "run", box.id]));
  const expected = `/a.slice/a-b.slice/${unitOf(box)}`;
  assertEquals(cgroups, Object.fromEntries(Object.keys(cgroups).map((controllers) => [controllers, expected])));
  assert(["devices", "freezer", "name=systemd", ""].every((name) => name in cgroups));
});

for (
  const [slice, prefix, cgroup] of [
    ["", "_p", "/system.slice/__p"],
    ["", "cgroup.p", "/system.slice/_cgroup.p"],
    ["memory-a.slice", ".p", "/_memory.slice/memory-a.slice/_.p"],
  ]
) {
  boxTest(`a name that systemd escapes is one cgroup in every hierarchy: ${slice}:${prefix}`, (box) => {
    box.write((config) => {
      config.process.args = ["cat", "/proc/self/cgroup"];
      config.linux.cgroupsPath = `${slice}:${prefix}:${box.name}`;
    });
    const cgroups = cgroupsOf(box.must(["--systemd-cgroup", "run", box.id]));
    const expected = `${cgroup}-${box.name}.scope`;
    assertEquals(cgroups, Object.fromEntries(Object.keys(cgroups).map((controllers) => [controllers, expected])));
  });
}

boxTest("the slice of an annotation counts more than that of cgroupsPath", (box) => {
  box.write((config) => {
    config.process.args = ["cat", "/proc/self/cgroup"];
    config.linux.cgroupsPath = `system.slice:test:${box.name}`;
    config.annotations = { "org.systemd.property.Slice": "'other-one.slice'" };
  });
  const cgroups = cgroupsOf(box.must(["--systemd-cgroup", "run", box.id]));
  const expected = `/other.slice/other-one.slice/${unitOf(box)}`;
  assertEquals(cgroups, Object.fromEntries(Object.keys(cgroups).map((controllers) => [controllers, expected])));
});

boxTest("pause, resume, exec, ps and delete", (box) => {
  box.startSleeping((config) => config.linux.cgroupsPath = `/${box.name}`);
  box.remove();
  box.write((config) => {
    config.process.args = ["sleep", "1000"];
    config.linux.cgroupsPath = `:test:${box.name}`;
  });
  box.must(["--systemd-cgroup", "run", "--detach", box.id]);
  box.must(["exec", "--detach", box.id, "sleep", "1000"]);
  assertEquals(JSON.parse(box.must(["ps", "--format", "json", box.id])).length, 2);
  box.must(["pause", box.id]);
  assertEquals(box.state().status, "paused");
  box.must(["resume", box.id]);
  box.remove();
  const show = execute(["/usr/bin/systemctl", "show", "--property=LoadState", unitOf(box)]);
  assertEquals(show.stdout, "LoadState=not-found\n");
});

comparing("systemd's device list and the container's are the same", (box) => {
  box.write((config) => {
    config.process.args = ["sh", "-c", "mknod /dev/log c 1 11 && (: < /dev/log) 2>&-; : < /dev/null && echo null"];
    for (const set of ["bounding", "effective", "permitted"] as const) {
      config.process.capabilities![set]!.push("CAP_MKNOD");
    }
    config.linux.cgroupsPath = `:test:${box.name}`;
    config.linux.resources = { devices: [{ allow: false, access: "rwm" }] };
  });
  assertEquals(box.must(["--systemd-cgroup", "run", box.id]), "null\n");
});
