/** What whole runs may not do to the host. */

import { assertEquals } from "@std/assert";
import type { Config } from "../../../lib/specs/config.ts";
import { defaultSpec } from "../../../lib/specs/default_spec.ts";
import { caseOf } from "./cases.ts";
import { confinedConfig, namesOwnCgroups, type Place } from "./confine.ts";

const place: Place = { bundle: "/tmp/bundle", cgroups: "/runc-fuzz-1-0" };

function confined(change: object): Config {
  return JSON.parse(confinedConfig(JSON.stringify({ ...defaultSpec({ cgroup2: false }), ...change }), place));
}

Deno.test("a cgroup is one of the fuzzer's, whatever is asked for", () => {
  for (
    const cgroupsPath of [undefined, "", "/", "/process_api", "../../x", "/runc-fuzz-1-0/../x", "a:b:c", "/a/b/.."]
  ) {
    const path = confined({ linux: { cgroupsPath } }).linux!.cgroupsPath!;
    assertEquals([path.startsWith(`${place.cgroups}/`), path.split("/").length, path.includes("..")], [true, 3, false]);
  }
  // Names of fields match in any case.
  assertEquals(confined({ linux: { CGROUPSPATH: "/x" } }).linux!.cgroupsPath, `${place.cgroups}/x`);
});

Deno.test("mounts have sources in the bundle, and are made in a mount namespace of their own", () => {
  const sources = ["/", "/etc", "/sys/fs/cgroup/memory", "../..", "/tmp/bundle/../x", "rootfs/a", "/dev/null", "proc"];
  const { mounts = [], linux } = confined({
    mounts: sources.map((source) => ({ destination: "/x", type: "bind", source })),
    linux: { namespaces: [{ type: "mount", path: "/proc/1/ns/mnt" }] },
  });
  const other = "rootfs/tmp";
  assertEquals(mounts.map(({ source }) => source), [
    other,
    other,
    other,
    other,
    other,
    "rootfs/a",
    "/dev/null",
    "proc",
  ]);
  assertEquals(linux!.namespaces, [{ type: "mount" }]);
});

Deno.test("nothing is mounted in a mount of cgroups: its place would be a cgroup of the host's", () => {
  const { mounts = [] } = confined({
    mounts: [
      { destination: "/sys/fs/cgroup", type: "cgroup2", source: "cgroup" },
      { destination: "/sys/fs/../fs/cgroup/new", type: "tmpfs", source: "tmpfs" },
    ],
  });
  assertEquals(mounts.length, 1);
});

Deno.test("hooks, devices, network devices and parameters of the kernel are harmless", () => {
  const { hooks, linux } = confined({
    hooks: { prestart: [{ path: "/bin/sh", args: ["sh", "-c", "reboot"] }, { path: "/bin/false" }] },
    linux: {
      devices: [
        { path: "/dev/x", type: "b", major: 8, minor: 0 },
        { path: "/dev/mem", type: "c", major: 1, minor: 1 },
        { path: "/dev/y", type: "c", major: 1, minor: 5 },
      ],
      netDevices: { eth0: {} },
      sysctl: {
        "kernel.panic": "1",
        "kernel.shmmax": "5",
        "net.ipv4.ip_forward": "1",
        "vm/swappiness": "1",
        "a b": "",
      },
    },
  });
  assertEquals(hooks!.prestart!.map(({ path }) => path), ["/bin/true", "/bin/false"]);
  assertEquals(linux!.devices!.map(({ type, major, minor }) => [type, major, minor]), [["c", 1, 3], ["c", 1, 3], [
    "c",
    1,
    5,
  ]]);
  assertEquals(linux!.netDevices, undefined);
  assertEquals(Object.keys(linux!.sysctl!), ["kernel.shmmax", "net.ipv4.ip_forward", "a b"]);
});

Deno.test("a root file system is in the bundle", () => {
  for (const path of ["/", "..", "/tmp/bundle/../other"]) {
    assertEquals(confined({ root: { path } }).root!.path, "rootfs");
  }
  assertEquals(confined({ root: { path: "./rootfs/tmp" } }).root!.path, "./rootfs/tmp");
});

Deno.test("a changed state that names cgroups of others is not written", () => {
  const cases: readonly [text: string, isOwn: boolean][] = [
    [`{"a":"/sys/fs/cgroup/memory/runc-fuzz-1-0/box"}`, true],
    [`{"a":"/sys/fs/cgroup/memory/runc-fuzz-1-0/box\\u0000"}`, true],
    [`{"a":"/sys/fs/cgroup/runc-fuzz-1-0/box"}`, true],
    [`{"destination":"/sys/fs/cgroup","type":"cgroup"}`, true],
    [`{"a":"/sys/fs/cgroup"}`, false],
    [`{"a":"/sys/fs/cgroup/memory"}`, false],
    [`{"a":"/sys/fs/cgroup/memory/runc-fuzz-1"}`, false],
    [`{"a":"/sys/fs/cgroup/memory/runc-fuzz-1-0/../x"}`, false],
    [`{"a":"/sys/fs/cgroup/unified/other"}`, false],
    [`{}`, true],
  ];
  for (const [text, isOwn] of cases) assertEquals(namesOwnCgroups(text, place), isOwn, text);
});

Deno.test("a run follows from its seed and its number alone", () => {
  const shown = (index: number) => JSON.stringify(caseOf(7, index, place));
  for (let index = 0; index < 50; index++) assertEquals(shown(index), shown(index));
  assertEquals(new Set(Array.from({ length: 50 }, (_, index) => shown(index))).size, 50);
});
