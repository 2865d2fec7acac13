import { assertEquals, assertThrows } from "@std/assert";
import type { CgroupLayout, Hierarchy } from "../../../lib/cgroups/layout.ts";
import {
  cgroupPaths,
  cleanCgroupsPath,
  neededControllers,
  parseSystemdPath,
  requireSystemd,
} from "../../../lib/cgroups/path.ts";
import { RuncError } from "../../../lib/errors.ts";
import type { Resources } from "../../../lib/specs/config.ts";

const v1 = (controllers: readonly string[], ownPath = "/own"): Hierarchy => ({
  controllers,
  mountPoint: `/sys/fs/cgroup/${controllers.join(",")}`,
  root: "/",
  ownPath,
});
const unified = (mountPoint: string): Hierarchy => ({ controllers: [], mountPoint, root: "/", ownPath: "/user/own" });
const hybrid: CgroupLayout = {
  mode: "hybrid",
  hierarchies: [v1(["cpu", "cpuacct"]), v1(["name=elogind"]), v1(["devices"], "/"), unified("/sys/fs/cgroup/unified")],
};
const v2: CgroupLayout = { mode: "v2", hierarchies: [unified("/sys/fs/cgroup")] };

Deno.test("cgroupPaths() on a hybrid host: by controller in joining order, unknown hierarchies left alone", () => {
  assertEquals(Object.entries(cgroupPaths(hybrid, { id: "c1", cgroupsPath: "/a/c1" })), [
    ["devices", "/sys/fs/cgroup/devices/a/c1"],
    ["cpu", "/sys/fs/cgroup/cpu,cpuacct/a/c1"],
    ["cpuacct", "/sys/fs/cgroup/cpu,cpuacct/a/c1"],
    ["", "/sys/fs/cgroup/unified/a/c1"],
  ]);
  const relative = { devices: "/sys/fs/cgroup/devices/c1", cpu: "/sys/fs/cgroup/cpu,cpuacct/own/c1" };
  assertEquals(cgroupPaths(hybrid, { id: "c1" }), {
    ...relative,
    cpuacct: relative.cpu,
    "": "/sys/fs/cgroup/unified/c1",
  });
});

Deno.test("cgroupPaths() on v2: relative ones are below the parent of the own cgroup", () => {
  const cases: readonly [cgroupsPath: string | undefined, wanted: string][] = [
    [undefined, "/sys/fs/cgroup/user/c1"],
    ["", "/sys/fs/cgroup/user/c1"],
    ["a/b", "/sys/fs/cgroup/user/a/b"],
    ["/a/b", "/sys/fs/cgroup/a/b"],
    ["/", "/sys/fs/cgroup"],
    ["../../../etc", "/sys/fs/cgroup/user/etc"],
    ["/../../../etc/./x//y/", "/sys/fs/cgroup/etc/x/y"],
    ["..", "/sys/fs/cgroup/user"],
  ];
  for (const [cgroupsPath, wanted] of cases) {
    assertEquals(cgroupPaths(v2, { id: "c1", cgroupsPath }), { "": wanted }, cgroupsPath);
  }
});

Deno.test("cgroupPaths() refuses v1 without devices, and a host without cgroups", () => {
  for (const hierarchies of [[], [v1(["cpu"])]]) {
    const error = assertThrows(() => cgroupPaths({ mode: "v1", hierarchies }, { id: "c1" }), RuncError);
    assertEquals([error.code, error.message], ["host-lacks", "mountpoint for devices not found"]);
  }
});

Deno.test("cleanCgroupsPath() never leads upwards", () => {
  const cases: readonly [path: string, wanted: string][] = [
    ["", ""],
    [".", "."],
    ["..", "."],
    ["../..", "."],
    ["../a/../../b", "b"],
    ["a//b/", "a/b"],
    ["/", "/"],
    ["/..", "/"],
    ["/a/../../b", "/b"],
    ["..a/b", "..a/b"],
  ];
  for (const [path, wanted] of cases) assertEquals(cleanCgroupsPath(path), wanted, path);
});

Deno.test("parseSystemdPath() wants two colons", () => {
  assertEquals(parseSystemdPath({ id: "c1" }), { slice: "", prefix: "runc", name: "c1" });
  assertEquals(parseSystemdPath({ id: "c1", cgroupsPath: "system.slice:docker:x" }), {
    slice: "system.slice",
    prefix: "docker",
    name: "x",
  });
  for (const cgroupsPath of ["/a/b", "a:b", "a:b:c:d"]) {
    const error = assertThrows(() => parseSystemdPath({ id: "c1", cgroupsPath }), RuncError);
    assertEquals(error.field, "/linux/cgroupsPath");
    assertEquals(
      error.message,
      `expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got "${cgroupsPath}" instead`,
    );
  }
});

Deno.test("requireSystemd() says that systemd is not there", () => {
  const { message, code } = assertThrows(() => requireSystemd(false), RuncError);
  assertEquals(message, "systemd not running on this host, cannot use systemd cgroups manager");
  assertEquals(code, "host-lacks");
  requireSystemd(true);
});

Deno.test("neededControllers() are those of the limits, devices, and the freezer", () => {
  const cases: readonly [resources: Resources, wanted: readonly string[]][] = [
    [{}, ["devices", "freezer"]],
    [{ devices: [{ allow: false }] }, ["devices", "freezer"]],
    [{ memory: { limit: 1 }, pids: { limit: 1 } }, ["devices", "freezer", "memory", "pids"]],
    [{ cpu: { quota: 1000 } }, ["cpu", "devices", "freezer"]],
    [{ cpu: { mems: "0" } }, ["cpu", "cpuset", "devices", "freezer"]],
    [{ blockIO: {}, rdma: {}, network: {}, hugepageLimits: [{ pageSize: "2MB", limit: 0 }] }, [
      "blkio",
      "devices",
      "freezer",
      "hugetlb",
      "net_cls",
      "net_prio",
      "rdma",
    ]],
  ];
  for (const [resources, wanted] of cases) assertEquals([...neededControllers(resources)].sort(), wanted);
});

Deno.test("cgroupPaths() has only the controllers that are asked for, on v1; v2 has one cgroup", () => {
  const controllers = new Set(["cpu", "devices", "memory"]);
  assertEquals(cgroupPaths(hybrid, { id: "c1", cgroupsPath: "/c1", controllers }), {
    devices: "/sys/fs/cgroup/devices/c1",
    cpu: "/sys/fs/cgroup/cpu,cpuacct/c1",
  });
  assertEquals(cgroupPaths(v2, { id: "c1", cgroupsPath: "/c1", controllers }), { "": "/sys/fs/cgroup/c1" });
});
