/** The rules about the host. */

import { addMount, type Case, checkCases, directory, file, host, only, withUser } from "../fixture.ts";

const bind = { destination: "/data", source: "/srv/data", type: "bind", options: ["bind"] };
const program = (format: object) => ({ program: { state: "found", path: "/bin/sh", format } as const });
const user = { rootlessEuid: true, caller: { ...host.caller, uid: 1000, gid: 1000 } };
const withNotify: Case[1] = (c) => {
  c.linux.seccomp.listenerPath = "/run/agent";
  c.linux.seccomp.syscalls.push({ names: ["mount"], action: "SCMP_ACT_NOTIFY" } as never);
};

const programs: readonly Case[] = [
  ["program-missing", () => {}, { program: { state: "missing" } }, "/process/args/0"],
  [
    "program-missing",
    (c) => c.hooks = { startContainer: [{ path: "/x" }] } as never,
    { startHooks: [{ state: "missing" }] },
    "/hooks/startContainer/0/path",
  ],
  ["program-missing", () => {}, { program: { state: "unknown" } }],
  ["program-refused", () => {}, { program: { state: "refused", path: "/bin/sh" } }, "/process/args/0"],
  ["program-architecture", () => {}, program({ machine: 183 }), "/process/args/0"],
  ["program-architecture", () => {}, program({ machine: 3 })],
  ["program-architecture", () => {}, { ...program({ machine: 183 }), hasEmulators: true }],
  ["program-interpreter", () => {}, program({ interpreter: "/lib/ld.so", hasInterpreter: false }), "/process/args/0"],
  ["program-interpreter", () => {}, program({ interpreter: "/lib/ld.so", hasInterpreter: true })],
  ["program-format", () => {}, program({ isUnknown: true }), "/process/args/0"],
  ["hook-missing", (c) => c.hooks = { poststart: [{ path: "/x" }] } as never, only({}), "/hooks/poststart/0/path"],
  ["hook-missing", (c) => c.hooks = { startContainer: [{ path: "/x" }] } as never, only({})],
  [
    "hook-refused",
    (c) => c.hooks = { poststop: [{ path: "/x" }, { path: "/y" }, { path: "/z" }] } as never,
    only({ "/x": { ...file, mode: 0o644 }, "/y": directory, "/z": file }),
    "/hooks/poststop/0/path",
    "/hooks/poststop/1/path",
  ],
];

const mounts: readonly Case[] = [
  ["mount-source-missing", (c) => addMount(c, bind), only({}), "/mounts/7/source"],
  ["mount-source-missing", (c) => addMount(c, { ...bind, source: "data" }), only({ "/b/data": directory })],
  ["mount-source-missing", (c) => addMount(c, { ...bind, options: ["bind", "copy-symlink"] }), only({})],
  ["mount-target-type", (c) => addMount(c, bind), { targetOf: () => "directory" }, "/mounts/7/destination"],
  ["mount-target-type", (c) => addMount(c, bind), { targetOf: () => "file" }],
  ["mount-type-unknown", (c) => addMount(c, { destination: "/a", type: "zfs" }), {}, "/mounts/7/type"],
  [
    "idmap-file-system",
    (c) => addMount(c, { ...bind, uidMappings: [], gidMappings: [], options: ["bind", "idmap"] }),
    { refusesIdmap: (path) => path === "/srv/data" },
    "/mounts/7/source",
  ],
  ["idmap-file-system", (c) => addMount(c, bind), { refusesIdmap: () => true }],
  ["proc-hidden", withUser, { showsAllOfProc: false }, "/mounts/0"],
  ["proc-hidden", () => {}, { showsAllOfProc: false }],
  ["rootfs-noexec", () => {}, { isNoexec: true }, "/root/path"],
  ["rootfs-closed", withUser, { closedDirectory: "/root" }, "/root/path"],
  [
    "namespace-missing",
    (c) => c.linux.namespaces[1]!.path = "/run/netns/a",
    { namespaceAt: () => ({ error: "no such file" }) },
    "/linux/namespaces/1/path",
  ],
  [
    "namespace-other-type",
    (c) => c.linux.namespaces[0]!.path = "/proc/9/ns/net",
    {},
    "/linux/namespaces/0/path",
  ],
  ["namespace-other-type", (c) => c.linux.namespaces[1]!.path = "/proc/9/ns/net", {}],
];

const memory: Case[1] = (c) => c.linux.resources.memory = { limit: 1 << 30, swap: 1 << 30 } as never;

const resources: readonly Case[] = [
  ["controller-missing", memory, { controllers: ["pids"] }, "/linux/resources/memory"],
  ["controller-missing", (c) => c.linux.resources.blockIO = { weight: 10 } as never, {
    cgroup2: true,
    controllers: ["blkio"],
  }, "/linux/resources/blockIO"],
  ["controller-missing", () => {}, { controllers: [] }],
  ["cgroup-closed", memory, { cgroup: { ...host.cgroup, closed: ["/sys/fs/cgroup"] } }, "/linux/resources/memory"],
  ["cgroup-closed", () => {}, { cgroup: { ...host.cgroup, closed: ["/sys/fs/cgroup"] } }],
  [
    "cgroup-in-use",
    (c) => c.linux.cgroupsPath = "/a",
    { cgroup: { ...host.cgroup, processes: 2 } },
    "/linux/cgroupsPath",
  ],
  ["swap-accounting", memory, { cgroup: { ...host.cgroup, swap: false } }, "/linux/resources/memory/swap"],
  ["swap-accounting", memory, { cgroup2: true, cgroup: { ...host.cgroup, swap: false } }],
  [
    "cpus-missing",
    (c) => {
      c.linux.resources.cpu = { cpus: "0-3" } as never;
      c.process.execCPUAffinity = { initial: "1", final: "2" };
    },
    {},
    "/linux/resources/cpu/cpus",
    "/process/execCPUAffinity/final",
  ],
  ["nodes-missing", (c) => c.linux.resources.cpu = { mems: "1" } as never, {}, "/linux/resources/cpu/mems"],
  [
    "hugepage-size",
    (c) => c.linux.resources.hugepageLimits = [{ pageSize: "1GB", limit: 1 }],
    {},
    "/linux/resources/hugepageLimits/0/pageSize",
  ],
  [
    "block-device-missing",
    (c) =>
      c.linux.resources.blockIO = {
        throttleReadBpsDevice: [8, 9].map((major) => ({ major, minor: 0, rate: 1 })),
      } as never,
    {},
    "/linux/resources/blockIO/throttleReadBpsDevice/1",
  ],
  ["rdma-device-missing", (c) => c.linux.resources.rdma = { "x/y": {} as never }, {}, "/linux/resources/rdma/x~1y"],
  ["interface-missing", (c) => c.linux.netDevices = { eth0: {}, eth9: {} } as never, {}, "/linux/netDevices/eth9"],
  [
    "device-source-missing",
    (c) => {
      withUser(c);
      c.linux.devices = [{ path: "/dev/fuse", type: "c", major: 10, minor: 229 } as never];
    },
    only({}),
    "/linux/devices/0/path",
  ],
  [
    "sysctl-missing",
    (c) => c.linux.sysctl = { "net.nonsense": "1", "net/ipv4/ip_forward": "1" },
    { hasSysctl: (name) => name === "net.ipv4.ip_forward" },
    "/linux/sysctl/net.nonsense",
  ],
];

const security: readonly Case[] = [
  ["user-namespace-refused", withUser, { userNamespaceErrno: 28 }, "/linux/namespaces/5"],
  [
    "subordinate-ids",
    (c) => {
      withUser(c);
      c.linux.uidMappings = [{ containerID: 0, hostID: 1000, size: 1 }, { containerID: 1, hostID: 5000, size: 10 }];
    },
    user,
    "/linux/uidMappings/1",
  ],
  ["subordinate-ids", withUser, { ...user, subordinate: { missingTools: [] } }],
  ["mapping-tools", withUser, {
    ...user,
    subordinate: { ...host.subordinate, missingTools: ["newgidmap"] },
  }, "/linux/gidMappings"],
  ["rlimit-too-high", (c) => c.process.rlimits[0]!.hard = 2n ** 30n, {}, "/process/rlimits/0/hard"],
  [
    "rlimit-too-high",
    (c) => c.process.rlimits[0]!.hard = 8192,
    { caller: { ...host.caller, capabilities: [] } },
    "/process/rlimits/0/hard",
  ],
  [
    "capability-not-held",
    () => {},
    { caller: { ...host.caller, capabilities: ["CAP_KILL", "CAP_NET_BIND_SERVICE"] } },
    "/process/capabilities/permitted/0",
  ],
  ["apparmor-off", (c) => c.process.apparmorProfile = "docker-default", {}, "/process/apparmorProfile"],
  [
    "apparmor-profile",
    (c) => c.process.apparmorProfile = "docker-default",
    { appArmor: { isEnabled: true, profiles: ["other"] } },
    "/process/apparmorProfile",
  ],
  ["apparmor-profile", (c) => c.process.apparmorProfile = "docker-default", { appArmor: { isEnabled: true } }],
  ["mount-label", (c) => c.linux.mountLabel = "a:b:c:d", {}, "/linux/mountLabel"],
  [
    "landlock-missing",
    (c) => c.annotations = { "org.opencontainers.landlock.read": "/" },
    { hasLandlock: false },
    "/annotations",
  ],
  ["seccomp-library", () => {}, { seccomp: { ...host.seccomp, hasLibrary: false } }, "/linux/seccomp"],
  ["seccomp-name", (c) => c.linux.seccomp.syscalls[0]!.names.push("nonsense"), {}, "/linux/seccomp/syscalls/0/names"],
  [
    "seccomp-action",
    withNotify,
    { seccomp: { ...host.seccomp, actions: ["errno", "allow"] } },
    "/linux/seccomp/syscalls/1/action",
  ],
  [
    "seccomp-flag",
    (c) => c.linux.seccomp.flags = ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
    { seccomp: { ...host.seccomp, waitsKillable: false } },
    "/linux/seccomp/flags/0",
  ],
  ["seccomp-agent-missing", withNotify, only({}), "/linux/seccomp/listenerPath"],
  ["seccomp-agent-missing", withNotify, only({ "/run/agent": { ...file, kind: "socket" } })],
];

checkCases("This host", [...programs, ...mounts, ...resources, ...security]);
