/** One case for each rule that `create` applies, too; validate_test.ts has the details. */

import { addMount, type Case, checkCases, remove, without, withUser } from "../fixture.ts";

const rootless = { rootlessEuid: true };

const cases: readonly Case[] = [
  ["process-present", (c) => remove(c, "process"), {}, "/process"],
  ["cwd-absolute", (c) => c.process.cwd = "tmp", {}, "/process/cwd"],
  ["args-present", (c) => c.process.args = [], {}, "/process/args"],
  ["selinux-label", (c) => c.process.selinuxLabel = "a:b:c:d", {}, "/process/selinuxLabel"],
  ["root-present", (c) => remove(c, "root"), {}, "/root"],
  ["mount-fields", (c) => c.mounts[0]!.destination = "", {}, "/mounts/0/destination"],
  ["device-type", (c) => c.linux.devices = [{ path: "/dev/x", type: "x" } as never], {}, "/linux/devices/0/type"],
  ["systemd-cgroups-path", (c) => c.linux.cgroupsPath = "/a", { systemdCgroup: true }, "/linux/cgroupsPath"],
  [
    "device-rules",
    (c) => c.linux.resources.devices = [{ allow: false, access: "" } as never],
    {},
    "/linux/resources/devices/0/access",
  ],
  ["rootfs-propagation", (c) => c.linux.rootfsPropagation = "loud", {}, "/linux/rootfsPropagation"],
  ["namespace-types", (c) => c.linux.namespaces.push({ type: "pid", path: "" }), {}, "/linux/namespaces/5"],
  [
    "joined-user-mappings",
    (c) => c.linux.namespaces.push({ type: "user", path: "/proc/9/ns/user" }),
    { joinedUser: { error: "gone" } },
    "/linux/namespaces",
  ],
  [
    "root-mapped",
    (c) => c.linux.namespaces.push({ type: "user", path: "" }),
    {},
    "/linux/uidMappings",
    "/linux/gidMappings",
  ],
  ["seccomp-words", (c) => c.linux.seccomp.defaultAction = "DENY", {}, "/linux/seccomp/defaultAction"],
  [
    "memory-policy-words",
    (c) => c.linux.memoryPolicy = { mode: "MPOL_X", nodes: "0", flags: [] },
    {},
    "/linux/memoryPolicy/mode",
  ],
  ["personality-domain", (c) => c.linux.personality = { domain: "BSD", flags: [] }, {}, "/linux/personality/domain"],
  [
    "cpu-affinity",
    (c) => c.process.execCPUAffinity = { initial: "x", final: "" },
    {},
    "/process/execCPUAffinity/initial",
  ],
  ["unified-cgroup2", (c) => c.linux.resources.unified = { "memory.high": "1" }, {}, "/linux/resources/unified"],
  [
    "memory-swap",
    (c) => c.linux.resources.memory = { limit: 2000000, swap: 1 } as never,
    { cgroup2: true },
    "/linux/resources/memory/swap",
  ],
  ["rootfs-usable", () => {}, { rootfs: { path: "/b/rootfs", error: "stat: no" } }, "/root/path"],
  [
    "net-devices",
    (c) => {
      c.linux.netDevices = { eth0: { name: "" } };
      without(c, "network");
    },
    {},
    "/linux/netDevices",
  ],
  ["names-need-uts", (c) => without(c, "uts"), {}, "/hostname"],
  ["paths-need-mount", (c) => without(c, "mount"), {}, "/linux/maskedPaths", "/linux/readonlyPaths"],
  ["namespace-kernel", () => {}, { kernelNamespaces: ["pid", "network", "mount", "ipc"] }, "/linux/namespaces/3/type"],
  [
    "mappings-need-user",
    (c) => c.linux.uidMappings = [{ containerID: 0, hostID: 1, size: 1 }],
    {},
    "/linux/uidMappings",
  ],
  ["time-offsets", (c) => c.linux.timeOffsets = { monotonic: { secs: 1, nanosecs: 0 } }, {}, "/linux/timeOffsets"],
  ["sysctl-namespaced", (c) => c.linux.sysctl = { "vm.swappiness": "1" }, {}, "/linux/sysctl/vm.swappiness"],
  ["intel-rdt", (c) => c.linux.intelRdt = {} as never, {}, "/linux/intelRdt"],
  ["rootless-user", () => {}, rootless, "/linux/namespaces"],
  [
    "rootless-mount-ids",
    (c) => {
      withUser(c);
      c.mounts[2]!.options = ["gid=5000"];
    },
    rootless,
    "/mounts/2/options",
  ],
  [
    "bind-options",
    (c) => addMount(c, { destination: "/a", source: "/a", options: ["bind", "size=1"] }),
    {},
    "/mounts/7/options",
  ],
  ["idmap-mappings", (c) => addMount(c, { destination: "/a", type: "tmpfs", options: ["idmap"] }), {}, "/mounts/7"],
  ["scheduler", (c) => c.process.scheduler = { policy: "" } as never, {}, "/process/scheduler/policy"],
  ["io-priority", (c) => c.process.ioPriority = { class: "X", priority: 0 }, {}, "/process/ioPriority/class"],
  [
    "memory-policy-nodes",
    (c) => c.linux.memoryPolicy = { mode: "MPOL_BIND", nodes: "", flags: [] },
    {},
    "/linux/memoryPolicy/nodes",
  ],
  [
    "rootless-groups",
    (c) => {
      withUser(c);
      c.process.user.additionalGids = [7];
    },
    { ...rootless, groups: { mappings: [], isDenied: true } },
    "/process/user/additionalGids",
  ],
  ["rlimits", (c) => c.process.rlimits[0]!.type = "RLIMIT_X", {}, "/process/rlimits/0/type"],
  ["env-entries", (c) => c.process.env = ["A"], {}, "/process/env/0"],
  ["process-nul", (c) => c.process.cwd = "/\0", {}, "/process/cwd"],
  ["oom-score", (c) => c.process.oomScoreAdj = 2000, {}, "/process/oomScoreAdj"],
  ["seccomp-agent", (c) => c.linux.seccomp.defaultAction = "SCMP_ACT_NOTIFY", {}, "/linux/seccomp/defaultAction"],
  ["name-nul", (c) => c.hostname = "a\0", {}, "/hostname"],
  ["path-length", (c) => c.process.cwd = `/${"a".repeat(5000)}`, {}, "/process/cwd"],
  ["hook-fields", (c) => c.hooks = { poststop: [{ path: "" }] } as never, {}, "/hooks/poststop/0/path"],
  ["destination-relative", (c) => c.mounts[0]!.destination = "proc", {}, "/mounts/0/destination"],
  [
    "device-access-letters",
    (c) => c.linux.resources.devices.push({ allow: true, type: "c", access: "rx" } as never),
    {},
    "/linux/resources/devices/1/access",
  ],
  [
    "mappings-repeated",
    (c) => {
      withUser(c);
      c.linux.namespaces.at(-1)!.path = "/proc/9/ns/user";
    },
    {},
    "/linux/uidMappings",
    "/linux/gidMappings",
  ],
];

checkCases("Rules that create and run apply, too", cases);
