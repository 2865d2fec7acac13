import { assertEquals, assertThrows } from "@std/assert";
import { subCgroupPaths } from "../../../lib/cgroups/sub_cgroup.ts";

const v1 = { memory: "/m/box", cpu: "/c/box", cpuacct: "/c/box", "": "/u/box" };

const accepted: readonly [fact: string, sub: Record<string, string>, paths: Record<string, string>][] = [
  ["nothing asked", {}, v1],
  ["the container's own cgroup", { "": "/" }, v1],
  ["every hierarchy", { "": "a/b" }, {
    memory: "/m/box/a/b",
    cpu: "/c/box/a/b",
    cpuacct: "/c/box/a/b",
    "": "/u/box/a/b",
  }],
  ["one controller", { memory: "a" }, { ...v1, memory: "/m/box/a" }],
  ["one that shares its hierarchy", { cpuacct: "/a/" }, { ...v1, cpu: "/c/box/a", cpuacct: "/c/box/a" }],
  ["both of them", { cpu: "a", cpuacct: "./a" }, { ...v1, cpu: "/c/box/a", cpuacct: "/c/box/a" }],
  ["a path that comes back", { memory: "a/../b" }, { ...v1, memory: "/m/box/b" }],
];
for (const [fact, sub, paths] of accepted) {
  Deno.test(`sub-cgroups: ${fact}`, () => assertEquals(subCgroupPaths(v1, sub), paths));
}

const refused: readonly [sub: Record<string, string>, message: string][] = [
  [{ whaaat: "/" }, "unknown controller whaaat in SubCgroupPaths"],
  [{ "": ".." }, "bad sub cgroup path: .."],
  [{ memory: "../box2" }, "bad sub cgroup path: ../box2"],
  [{ memory: "a/../../other" }, "bad sub cgroup path: a/../../other"],
  [{ cpu: "a", cpuacct: "b" }, "controller cpuacct shares its hierarchy with another: /c/box/b and /c/box/a"],
];
for (const [sub, message] of refused) {
  Deno.test(`sub-cgroups refused: ${message}`, () => {
    assertThrows(() => subCgroupPaths(v1, sub), Error, message);
  });
}

Deno.test("sub-cgroups refused: a controller on v2, whose hierarchy has no names", () => {
  assertThrows(() => subCgroupPaths({ "": "/u/box" }, { cpu: "a" }), Error, "unknown controller cpu");
});
