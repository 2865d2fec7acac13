/** The rules of the specification. */

import { addMount, type Case, checkCases, without, withUser } from "../fixture.ts";

const device = { path: "/dev/x", type: "c", major: 1, minor: 9 } as never;
const bind = { source: "/data", type: "bind", options: ["bind"] };
const scheduler = { policy: "SCHED_DEADLINE", runtime: 2000, deadline: 1000, period: 5000 } as never;
const cgroup2 = { cgroup2: true };

const process: readonly Case[] = [
  ["oci-version", (c) => c.ociVersion = "", {}, "/ociVersion"],
  ["oci-version", (c) => c.ociVersion = "2.0.0", {}, "/ociVersion"],
  ["oci-version", (c) => c.ociVersion = "1.0", {}, "/ociVersion"],
  ["oci-version", (c) => c.ociVersion = "1.0.2-dev", {}],
  ["oci-version-newer", (c) => c.ociVersion = "1.99.0", {}, "/ociVersion"],
  ["oci-version-newer", (c) => c.ociVersion = "1.1.0", {}],
  ["root-path-empty", (c) => c.root.path = "", {}, "/root/path"],
  ["name-length", (c) => c.hostname = "a".repeat(65), {}, "/hostname"],
  ["name-length", (c) => c.hostname = "a".repeat(64), {}],
  ["annotation-key", (c) => c.annotations = { "": "x" }, {}, "/annotations/"],
  ["hook-path", (c) => c.hooks = { poststop: [{ path: "bin/x" }] } as never, {}, "/hooks/poststop/0/path"],
  ["hook-deprecated", (c) => c.hooks = { prestart: [{ path: "/x" }] } as never, {}, "/hooks/prestart"],
  ["args-command", (c) => c.process.args = [""], {}, "/process/args/0"],
  ["env-repeated", (c) => c.process.env = ["A=1", "B=1", "A=2"], {}, "/process/env/2"],
  ["rlimit-repeated", (c) => c.process.rlimits.push(c.process.rlimits[0]!), {}, "/process/rlimits/1/type"],
  ["umask-range", (c) => c.process.user.umask = 1022, {}, "/process/user/umask"],
  ["umask-range", (c) => c.process.user.umask = 18, {}],
  [
    "console-size-ignored",
    (c) => {
      c.process.terminal = false;
      c.process.consoleSize = { height: 24, width: 80 };
    },
    {},
    "/process/consoleSize",
  ],
  [
    "capability-unknown",
    (c) => c.process.capabilities.bounding.push("CAP_NONE"),
    {},
    "/process/capabilities/bounding/3",
  ],
  [
    "capability-unknown",
    (c) => c.process.capabilities.bounding.push("CAP_BPF"),
    { lastCapability: 38 },
    "/process/capabilities/bounding/3",
  ],
  [
    "capability-not-permitted",
    (c) => c.process.capabilities.effective.push("CAP_CHOWN"),
    {},
    "/process/capabilities/effective/3",
  ],
  ["capability-ambient", (c) => c.process.capabilities.ambient = ["CAP_KILL"], {}, "/process/capabilities/ambient"],
  [
    "capability-unbound",
    (c) => c.process.capabilities.permitted.push("CAP_CHOWN"),
    {},
    "/process/capabilities/permitted",
  ],
  ["deadline", (c) => c.process.scheduler = scheduler, {}, "/process/scheduler"],
  ["deadline", (c) => c.process.scheduler = { ...scheduler as object, deadline: 3000 } as never, {}],
  [
    "user-unmapped",
    (c) => {
      withUser(c);
      c.process.user = { ...c.process.user, uid: 1000, gid: 999, additionalGids: [5, 4000] };
    },
    {},
    "/process/user/uid",
    "/process/user/additionalGids/1",
  ],
];

const linux: readonly Case[] = [
  ["namespace-path", (c) => c.linux.namespaces[1]!.path = "ns/net", {}, "/linux/namespaces/1/path"],
  [
    "mapping-size",
    (c) => {
      withUser(c);
      c.linux.uidMappings.push({ containerID: 1000, hostID: 1, size: 0 });
    },
    {},
    "/linux/uidMappings/1",
  ],
  [
    "mapping-overlap",
    (c) => {
      withUser(c);
      c.linux.gidMappings.push({ containerID: 5000, hostID: 100999, size: 1 });
    },
    {},
    "/linux/gidMappings/1",
  ],
  ["mapping-overlap", (c) => {
    withUser(c);
    c.linux.gidMappings.push({ containerID: 1000, hostID: 101000, size: 1 });
  }, {}],
  [
    "mapping-count",
    (c) => {
      withUser(c);
      c.linux.uidMappings = Array.from({ length: 341 }, (_, id) => ({ containerID: id, hostID: id, size: 1 }));
    },
    {},
    "/linux/uidMappings",
  ],
  [
    "device-path",
    (c) => c.linux.devices = [{ ...device as object, path: "fuse" } as never],
    {},
    "/linux/devices/0/path",
  ],
  [
    "device-conflict",
    (c) => c.linux.devices = [device, { ...device as object, minor: 8 } as never],
    {},
    "/linux/devices/1/path",
  ],
  ["device-conflict", (c) => c.linux.devices = [device, device], {}],
  [
    "device-repeated",
    (c) => c.linux.devices = [device, { ...device as object, path: "/y" } as never],
    {},
    "/linux/devices/1",
  ],
  ["restricted-path", (c) => c.linux.maskedPaths = ["proc/kcore"], {}, "/linux/maskedPaths/0"],
];

const mounts: readonly Case[] = [
  ["mount-type", (c) => addMount(c, { destination: "/a", type: "bind", source: "/a" }), {}, "/mounts/7/type"],
  ["mount-source", (c) => addMount(c, { destination: "/a", options: ["bind"] }), {}, "/mounts/7/source"],
  [
    "mount-hidden",
    (c) => addMount(c, { ...bind, destination: "/dev" }),
    {},
    "/mounts/1",
    "/mounts/2",
    "/mounts/3",
    "/mounts/4",
  ],
  ["mount-hidden", (c) => addMount(c, { ...bind, destination: "/dev2" }), {}],
  ["mount-hidden", (c) => addMount(c, { ...bind, destination: "/dev", options: ["bind", "remount", "ro"] }), {}],
  [
    "mount-id-unmapped",
    (c) => {
      withUser(c);
      c.mounts[2]!.options = ["gid=5000"];
    },
    {},
    "/mounts/2/options",
  ],
  ["mount-id-unmapped", (c) => c.mounts[2]!.options = ["gid=5000"], {}],
  [
    "mount-needs-namespace",
    (c) => {
      withUser(c);
      without(c, "network");
      without(c, "pid");
    },
    {},
    "/mounts/0/type",
    "/mounts/5/type",
  ],
];

const resources: readonly Case[] = [
  ["cpu-shares", (c) => c.linux.resources.cpu = { shares: 1 } as never, {}, "/linux/resources/cpu/shares"],
  ["cpu-shares", (c) => c.linux.resources.cpu = { shares: 0 } as never, {}],
  ["cpu-period", (c) => c.linux.resources.cpu = { period: 999 } as never, {}, "/linux/resources/cpu/period"],
  ["cpu-quota", (c) => c.linux.resources.cpu = { quota: 999 } as never, {}, "/linux/resources/cpu/quota"],
  ["cpu-quota", (c) => c.linux.resources.cpu = { quota: -1 } as never, {}],
  ["cpu-burst", (c) => c.linux.resources.cpu = { quota: 5000, burst: 6000 } as never, {}, "/linux/resources/cpu/burst"],
  ["cpu-idle", (c) => c.linux.resources.cpu = { idle: 2 } as never, {}, "/linux/resources/cpu/idle"],
  ["cpu-list", (c) => c.linux.resources.cpu = { cpus: "1-0" } as never, {}, "/linux/resources/cpu/cpus"],
  [
    "memory-swappiness",
    (c) => c.linux.resources.memory = { swappiness: 101n } as never,
    {},
    "/linux/resources/memory/swappiness",
  ],
  ["memory-limit-small", (c) => c.linux.resources.memory = { limit: 64 } as never, {}, "/linux/resources/memory/limit"],
  ["memory-limit-small", (c) => c.linux.resources.memory = { limit: -1 } as never, {}],
  [
    "memory-reservation",
    (c) => c.linux.resources.memory = { limit: 2n ** 30n, reservation: 2n ** 31n } as never,
    {},
    "/linux/resources/memory/reservation",
  ],
  ["memory-kernel", (c) => c.linux.resources.memory = { kernel: 1 } as never, {}, "/linux/resources/memory/kernel"],
  ["block-io-weight", (c) => c.linux.resources.blockIO = { weight: 5 } as never, {}, "/linux/resources/blockIO/weight"],
  [
    "hugepage-format",
    (c) => c.linux.resources.hugepageLimits = ["2M", "2MB", "2MB"].map((pageSize) => ({ pageSize, limit: 1 })),
    {},
    "/linux/resources/hugepageLimits/0/pageSize",
    "/linux/resources/hugepageLimits/2/pageSize",
  ],
  [
    "unified-key",
    (c) => c.linux.resources.unified = { "a/b": "1", "memory.high": "1" },
    cgroup2,
    "/linux/resources/unified/a~1b",
  ],
  [
    "resource-only-v1",
    (c) => c.linux.resources.network = { classID: 1, priorities: [] },
    cgroup2,
    "/linux/resources/network/classID",
  ],
  ["resource-only-v1", (c) => c.linux.resources.network = { classID: 1, priorities: [] }, {}],
  ["cgroups-path-dots", (c) => c.linux.cgroupsPath = "/a/../b", {}, "/linux/cgroupsPath"],
];

const notify = { names: ["mount"], action: "SCMP_ACT_NOTIFY" } as never;

const seccomp: readonly Case[] = [
  ["seccomp-errno", (c) => c.linux.seccomp.syscalls[0]!.errnoRet = 1, {}, "/linux/seccomp/syscalls/0/errnoRet"],
  ["seccomp-errno", (c) => c.linux.seccomp.defaultErrnoRet = 5000, {}, "/linux/seccomp/defaultErrnoRet"],
  ["seccomp-errno", (c) => c.linux.seccomp.defaultErrnoRet = 38, {}],
  ["seccomp-no-names", (c) => c.linux.seccomp.syscalls[0]!.names = [], {}, "/linux/seccomp/syscalls/0/names"],
  [
    "seccomp-argument",
    (c) => c.linux.seccomp.syscalls[0]!.args = [{ index: 6, value: 0, valueTwo: 0, op: "SCMP_CMP_EQ" }],
    {},
    "/linux/seccomp/syscalls/0/args/0/index",
  ],
  ["seccomp-metadata", (c) => c.linux.seccomp.listenerMetadata = "x", {}, "/linux/seccomp/listenerMetadata"],
  ["seccomp-agent-unused", (c) => c.linux.seccomp.listenerPath = "/x", {}, "/linux/seccomp/listenerPath"],
  ["seccomp-agent-unused", (c) => {
    c.linux.seccomp.listenerPath = "/x";
    c.linux.seccomp.syscalls.push(notify);
  }, {}],
];

checkCases("The specification, and what every kernel refuses", [
  ...process,
  ...linux,
  ...mounts,
  ...resources,
  ...seccomp,
]);
