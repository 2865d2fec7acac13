import { assertEquals } from "@std/assert";
import { directoryOf, parseCgroupLayout, parseProcCgroup, v1Mounts } from "../../../lib/cgroups/layout.ts";

/** As systemd mounts it with systemd.unified_cgroup_hierarchy=0; the fields between are what real hosts have there. */
const hybridMounts = `22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
25 22 0:22 / /sys rw,nosuid shared:6 - sysfs sysfs rw
30 25 0:26 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw,nsdelegate
32 30 0:28 / /sys/fs/cgroup/systemd rw,nosuid shared:11 - cgroup cgroup rw,xattr,name=systemd
36 30 0:32 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:15 master:3 - cgroup cgroup rw,cpu,cpuacct
37 30 0:33 / /sys/fs/cgroup/devices rw,nosuid - cgroup cgroup rw,devices
90 22 0:32 / /mnt/cpu rw - cgroup cgroup rw,cpu,cpuacct
`;
const hybridCgroup = `5:devices:/user.slice
4:cpu,cpuacct:/user.slice
1:name=systemd:/user.slice/session-1.scope
0::/user.slice/session-1.scope
`;
const v2Mounts = `25 22 0:22 / /sys rw - sysfs sysfs rw
30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate
`;

Deno.test("parseCgroupLayout() finds the hierarchies of a hybrid host, each where it is below /sys/fs/cgroup", () => {
  assertEquals(parseCgroupLayout(hybridMounts, hybridCgroup), {
    mode: "hybrid",
    hierarchies: [
      {
        controllers: ["name=systemd"],
        mountPoint: "/sys/fs/cgroup/systemd",
        root: "/",
        ownPath: "/user.slice/session-1.scope",
      },
      { controllers: ["cpu", "cpuacct"], mountPoint: "/sys/fs/cgroup/cpu,cpuacct", root: "/", ownPath: "/user.slice" },
      { controllers: ["devices"], mountPoint: "/sys/fs/cgroup/devices", root: "/", ownPath: "/user.slice" },
      { controllers: [], mountPoint: "/sys/fs/cgroup/unified", root: "/", ownPath: "/user.slice/session-1.scope" },
    ],
  });
});

Deno.test("parseCgroupLayout() tells the mode by what is mounted where", () => {
  const withoutUnified = hybridMounts.replaceAll(/^.*cgroup2.*\n/gm, "");
  const elsewhere = hybridMounts.replace("/sys/fs/cgroup/unified", "/mnt/unified");
  const covered = `${v2Mounts}50 30 0:50 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n${
    hybridMounts.slice(hybridMounts.indexOf("31 30"))
  }`;
  const cases: readonly [name: string, mounts: string, cgroup: string, mode: string, count: number][] = [
    ["v1 alone", withoutUnified, hybridCgroup, "v1", 3],
    ["cgroup2 where runc does not look for it", elsewhere, hybridCgroup, "v1", 3],
    ["cgroup2 alone", v2Mounts, "0::/a\n", "v2", 1],
    ["cgroup2 alone, elsewhere", v2Mounts.replace("/sys/fs/cgroup ", "/mnt/c "), "0::/a\n", "v2", 1],
    ["cgroup2 under a tmpfs with v1", covered, hybridCgroup, "hybrid", 4],
    [
      "v1 mounted beside cgroup2",
      `${v2Mounts}51 22 0:33 / /mnt/devices rw - cgroup cgroup rw,devices\n`,
      hybridCgroup,
      "v2",
      1,
    ],
    ["nothing", "22 1 254:1 / / rw - ext4 /dev/vda1 rw\n", hybridCgroup, "v1", 0],
  ];
  for (const [name, mounts, cgroup, mode, count] of cases) {
    const layout = parseCgroupLayout(mounts, cgroup);
    assertEquals([layout.mode, layout.hierarchies.length], [mode, count], name);
  }
});

Deno.test("parseCgroupLayout() asks only for a mount that may be hidden, and leaves out one that is", () => {
  const above = (path: string, parent: number) => `90 ${parent} 0:99 / ${path} rw - tmpfs tmpfs rw\n`;
  // A tmpfs over /sys/fs/cgroup, with one controller of below mounted in it.
  const overAll = `${above("/sys/fs/cgroup", 30)}91 90 0:33 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices\n`;
  const lines = hybridMounts.slice(0, hybridMounts.indexOf("90 22"));
  const allFour = [32, 36, 37, 31];
  const cases: readonly [
    name: string,
    mounts: string,
    hidden: readonly number[],
    asked: readonly number[],
    mode: string,
    count: number,
  ][] = [
    ["nothing is above anything", lines, [], [], "hybrid", 4],
    ["something is above cgroup2", lines + above("/sys/fs/cgroup/unified", 31), [31], [31], "v1", 3],
    ["something is above one of v1", lines + above("/sys/fs/cgroup/devices", 37), [37], [37], "hybrid", 3],
    ["something is above all", lines + above("/sys/fs/cgroup", 30), allFour, [...allFour, 31], "v1", 0],
    // Of the two at the path of devices the kernel says which one it leads to.
    ["above all, with one in it", lines + overAll, allFour, [...allFour, 91], "v1", 1],
    ["something is above /sys", lines + above("/sys", 25), allFour, [...allFour, 31], "v1", 0],
    ["something is above /sys/fs", lines + above("/sys/fs", 25), allFour, [...allFour, 31], "v1", 0],
    ["something is above /", lines + above("/", 22), [], [], "hybrid", 4],
    ["cgroup2 alone", v2Mounts, [], [], "v2", 1],
    ["cgroup2 alone, hidden below /sys", v2Mounts + above("/sys", 25), [30], [30, 30], "v1", 0],
    ["cgroup2 alone, hidden", v2Mounts + above("/sys/fs/cgroup", 30), [30], [30], "v1", 0],
  ];
  for (const [name, mounts, hidden, wanted, mode, count] of cases) {
    const asked: number[] = [];
    const cgroup = mounts.startsWith(v2Mounts) ? "0::/a\n" : hybridCgroup;
    const layout = parseCgroupLayout(mounts, cgroup, ({ id }) => {
      asked.push(id);
      return !hidden.includes(id);
    });
    assertEquals([layout.mode, layout.hierarchies.length], [mode, count], name);
    assertEquals([...new Set(asked)].toSorted(), [...new Set(wanted)].toSorted(), name);
  }
});

Deno.test("parseCgroupLayout() reads escaped paths", () => {
  const [hierarchy] =
    parseCgroupLayout("30 25 0:26 /a\\134b /mnt/c\\040d rw - cgroup2 cgroup2 rw\n", "0::/\n").hierarchies;
  assertEquals([hierarchy?.root, hierarchy?.mountPoint], ["/a\\b", "/mnt/c d"]);
});

Deno.test("parseProcCgroup() keeps colons in paths", () => {
  assertEquals(parseProcCgroup("4:cpu,cpuacct:/a:b\n0::/\n"), [
    { controllers: ["cpu", "cpuacct"], path: "/a:b" },
    { controllers: [], path: "/" },
  ]);
});

Deno.test("directoryOf() follows the part of the hierarchy that is mounted, and never leaves the mount", () => {
  const cases: readonly [root: string, cgroup: string, wanted: string][] = [
    ["/", "/", "/m"],
    ["/", "/a/b", "/m/a/b"],
    ["/", "/../../etc", "/m/etc"],
    ["/docker/x", "/docker/x", "/m"],
    ["/docker/x", "/docker/x/y", "/m/y"],
    ["/docker/x", "/docker/xy", "/m"],
    ["/docker/x", "/docker", "/m"],
    ["/..", "/../other", "/m/other"],
  ];
  for (const [root, cgroup, wanted] of cases) {
    const hierarchy = { controllers: [], mountPoint: "/m", root, ownPath: "/" };
    assertEquals(directoryOf(hierarchy, cgroup), wanted, `${root} ${cgroup}`);
  }
});

Deno.test("v1Mounts() shows the container's cgroups with links for joined controllers, without cgroup2", () => {
  const paths = {
    devices: "/sys/fs/cgroup/devices/c1",
    cpuacct: "/sys/fs/cgroup/cpu,cpuacct/c1",
    "": "/sys/fs/cgroup/unified/c1",
  };
  assertEquals(v1Mounts(parseCgroupLayout(hybridMounts, hybridCgroup), paths), [
    {
      name: "systemd",
      data: "name=systemd",
      // The container has none there.
      source: "/sys/fs/cgroup/systemd/user.slice/session-1.scope",
      links: [],
    },
    { name: "cpu,cpuacct", data: "cpu,cpuacct", source: "/sys/fs/cgroup/cpu,cpuacct/c1", links: ["cpu", "cpuacct"] },
    { name: "devices", data: "devices", source: "/sys/fs/cgroup/devices/c1", links: [] },
  ]);
});
