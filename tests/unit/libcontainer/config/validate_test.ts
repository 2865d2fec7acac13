import { assertEquals, assertThrows } from "@std/assert";
import {
  configError,
  configWarnings,
  validate,
  validateProcess,
  type ValidationFacts,
} from "../../../../lib/libcontainer/config/validate.ts";
import { dottedName } from "../../../../lib/libcontainer/config/validate/sysctl.ts";
import { parseCpuList } from "../../../../lib/libcontainer/config/validate/cpu_list.ts";
import type { Config, Seccomp, SeccompArg } from "../../../../lib/specs/config.ts";
import { defaultSpec } from "../../../../lib/specs/default_spec.ts";

/** A config that a test may change, with every field at hand. */
type Draft<Type> = { -readonly [Key in keyof Type]-?: Draft<NonNullable<Type[Key]>> };
type Change = (config: Draft<Config>) => void;
/** What is changed, about which host, and what is then said about which field; nothing where it is right. */
type Case = readonly [
  change: Change,
  facts: Partial<ValidationFacts>,
  ...said: (readonly [at: string, message: string])[],
];

const host: ValidationFacts = {
  rootfs: { path: "/b/rootfs", resolved: "/b/rootfs", isDirectory: true },
  rootlessEuid: false,
  rootlessCgroups: false,
  cgroup2: false,
  systemdCgroup: false,
  noPivot: false,
  selinux: false,
  groups: { mappings: [{ containerID: 0, hostID: 1000, size: 10 }], isDenied: false },
  kernelNamespaces: ["pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"],
};
const mappings = [{ containerID: 0, hostID: 1000, size: 10 }];
const rootless: Partial<ValidationFacts> = { rootlessEuid: true };

function draft(): Draft<Config> {
  return structuredClone(defaultSpec({ cgroup2: false })) as Draft<Config>;
}

function without(config: Draft<Config>, type: string): void {
  config.linux.namespaces = config.linux.namespaces.filter((namespace) => namespace.type !== type);
}

function withUser(config: Draft<Config>, path = ""): void {
  config.linux.namespaces.push({ type: "user", path });
  if (path === "") Object.assign(config.linux, { uidMappings: mappings, gidMappings: mappings });
}

function check(cases: readonly Case[]): void {
  for (const [change, facts, ...said] of cases) {
    const config = draft();
    change(config);
    const problems = validate(config as Config, { ...host, ...facts });
    assertEquals(problems.map(({ at, message }) => [at, message] as const), said, String(change));
  }
}

Deno.test("validate() has nothing to say about the default config", () => check([[() => {}, {}]]));

Deno.test("validate() checks that there is something to run", () =>
  check([
    [(c) => Reflect.deleteProperty(c, "process"), {}, ["/process", "process property must not be empty"]],
    [(c) => c.process.cwd = "", {}, ["/process/cwd", "Cwd property must not be empty"]],
    [(c) => c.process.cwd = "tmp", {}, ["/process/cwd", "Cwd must be an absolute path"]],
    [(c) => c.process.args = [], {}, ["/process/args", "args must not be empty"]],
    [(c) => Reflect.deleteProperty(c.process, "args"), {}, ["/process/args", "args must not be empty"]],
    [(c) => c.process.selinuxLabel = "a:b:c:d", {}, [
      "/process/selinuxLabel",
      "selinux label is specified in config, but selinux is disabled or not supported",
    ]],
    [(c) => c.process.selinuxLabel = "a:b:c:d", { selinux: true }],
  ]));

Deno.test("validate() checks the root file system", () => {
  const path = "/b/rootfs";
  check([
    [(c) => Reflect.deleteProperty(c, "root"), {}, ["/root", "root must be specified"]],
    [() => {}, { rootfs: { path, resolved: "/c/rootfs", isDirectory: true } }, [
      "/root/path",
      "invalid rootfs: not an absolute path, or a symlink",
    ]],
    [() => {}, { rootfs: { path, error: `stat ${path}: no such file or directory` } }, [
      "/root/path",
      "invalid rootfs: stat /b/rootfs: no such file or directory",
    ]],
    [() => {}, { rootfs: { path, resolved: path, isDirectory: false } }, [
      "/root/path",
      "invalid rootfs: /b/rootfs: not a directory",
    ]],
  ]);
});

Deno.test("validate() checks rlimits", () =>
  check([
    [(c) => c.process.rlimits = [{ type: "RLIMIT_CORE", hard: 2n ** 64n - 1n, soft: 0 }], {}],
    [(c) => c.process.rlimits = [{ type: "RLIMIT_FILES", hard: 1, soft: 1 }], {}, [
      "/process/rlimits/0/type",
      "wrong rlimit value: RLIMIT_FILES",
    ]],
    [(c) => c.process.rlimits = [{ type: "RLIMIT_CORE", hard: 1, soft: 2n ** 64n - 1n }], {}, [
      "/process/rlimits/0/soft",
      "RLIMIT_CORE: soft limit 18446744073709551615 is above hard limit 1",
    ]],
  ]));

Deno.test("validate() checks what execve() and its like are given", () =>
  check([
    [(c) => c.process.env = ["A=", "B=c=d"], {}],
    [(c) => c.process.env = ["A"], {}, ["/process/env/0", "invalid environment variable: missing '='"]],
    [(c) => c.process.env = ["A=b", "=c"], {}, [
      "/process/env/1",
      "invalid environment variable: name cannot be empty",
    ]],
    [(c) => c.process.env = ["A=b\0"], {}, [
      "/process/env/0",
      'invalid environment variable "A": contains nul byte (\\x00)',
    ]],
    [(c) => c.process.args = ["a", "b\0"], {}, ["/process/args/1", "process args/1 contains nul byte (\\x00)"]],
    [(c) => c.process.cwd = "/\0", {}, ["/process/cwd", "process cwd contains nul byte (\\x00)"]],
    [(c) => c.hostname = "a\0b", {}, ["/hostname", "hostname contains nul byte (\\x00)"]],
    [(c) => c.process.oomScoreAdj = -1000, {}],
    [(c) => c.process.oomScoreAdj = 1001, {}, ["/process/oomScoreAdj", "invalid oomScoreAdj: 1001"]],
  ]));

Deno.test("validate() checks CPU lists", () =>
  check([
    [(c) => c.process.execCPUAffinity = { initial: "0-3, 7,", final: "" }, {}],
    [(c) => c.process.execCPUAffinity = { initial: "a", final: "3-1" }, {}, [
      "/process/execCPUAffinity/initial",
      'bad CPUAffinity.Initial: invalid number "a"',
    ], ["/process/execCPUAffinity/final", "bad CPUAffinity.Final: invalid range: 3-1"]],
  ]));

Deno.test("parseCpuList() reads lists", () => {
  assertEquals(parseCpuList("0-3, 7,,2"), [0, 1, 2, 3, 7]);
  assertEquals(parseCpuList("7,0-1,5-9,8-8,6-10,2000,65536"), [0, 1, 5, 6, 7, 8, 9, 10, 2000, 65536]);
  assertEquals(parseCpuList("0-65536,".repeat(10_000)).length, 65537);
  assertEquals(parseCpuList(""), []);
  for (const list of [",", "1-", "-1", "1-2-3", "65537", "0-65537", "0x1"]) {
    assertThrows(() => parseCpuList(list), RangeError);
  }
});

Deno.test("validate() checks the scheduler", () => {
  const scheduler = { policy: "SCHED_OTHER", nice: 0, priority: 0, flags: [], runtime: 0, deadline: 0, period: 0 };
  const set = (values: Partial<typeof scheduler>): Change => (c) => c.process.scheduler = { ...scheduler, ...values };
  const here = "/process/scheduler";
  check([
    [set({ nice: -20 }), {}],
    [set({ policy: "SCHED_FIFO", priority: 10 }), {}],
    [set({ policy: "SCHED_DEADLINE", runtime: 10, deadline: 20, period: 30 }), {}],
    [set({ policy: "" }), {}, [`${here}/policy`, "scheduler policy is required"]],
    [set({ nice: 20 }), {}, [`${here}/nice`, "invalid scheduler.nice: 20 when scheduler.policy is SCHED_OTHER"]],
    [set({ priority: 1 }), {}, [
      `${here}/priority`,
      "scheduler.priority can only be specified for SchedFIFO or SchedRR policy",
    ]],
    [set({ period: 1 }), {}, [
      here,
      "scheduler runtime/deadline/period can only be specified for SchedDeadline policy",
    ]],
  ]);
});

Deno.test("validate() checks the I/O priority", () =>
  check([
    [(c) => c.process.ioPriority = { class: "IOPRIO_CLASS_BE", priority: 7 }, {}],
    [(c) => c.process.ioPriority = { class: "BE", priority: 8 }, {}, [
      "/process/ioPriority/priority",
      "invalid ioPriority.Priority: 8",
    ], ["/process/ioPriority/class", 'invalid ioPriority.Class: "BE"']],
  ]));

Deno.test("validate() checks namespaces", () => {
  const add = (type: string, path = ""): Change => (c) => c.linux.namespaces.push({ type: type as "pid", path });
  check([
    [add("cgroup"), {}],
    [add("network2"), {}, ["/linux/namespaces/5/type", 'namespace {"network2" ""} does not exist']],
    [add("pid", "/proc/1/ns/pid"), {}, [
      "/linux/namespaces/5",
      'malformed spec file: duplicated ns {"pid" "/proc/1/ns/pid"}',
    ]],
    [add("time"), { kernelNamespaces: ["pid", "network", "mount", "ipc", "uts"] }, [
      "/linux/namespaces/5/type",
      "time namespaces aren't enabled in the kernel",
    ]],
  ]);
});

Deno.test("validate() checks that names and masks have a namespace to be in", () =>
  check([
    [(c) => (without(c, "uts"), c.hostname = ""), {}],
    [(c) => without(c, "uts"), {}, ["/hostname", "unable to set hostname without a private UTS namespace"]],
    [(c) => (without(c, "uts"), c.hostname = "", c.domainname = "d"), {}, [
      "/domainname",
      "unable to set domainname without a private UTS namespace",
    ]],
    [(c) => (without(c, "mount"), c.linux.maskedPaths = [], c.linux.readonlyPaths = []), {}],
    [(c) => (without(c, "mount"), c.linux.maskedPaths = []), {}, [
      "/linux/readonlyPaths",
      "unable to restrict sys entries without a private MNT namespace",
    ]],
  ]));

Deno.test("validate() checks id mappings against the user namespace", () => {
  const path = "/proc/7/ns/user";
  const joinedUser = { uidMappings: mappings, gidMappings: mappings };
  const both = "user namespaces enabled, but both namespace path and non-matching mapping specified " +
    "-- you may only provide one";
  check([
    [(c) => withUser(c), {}],
    [(c) => withUser(c, path), { joinedUser }],
    [(c) => (withUser(c, path), c.linux.uidMappings = mappings, c.linux.gidMappings = mappings), { joinedUser }],
    [(c) => (withUser(c, path), c.linux.uidMappings = mappings), { joinedUser }, ["/linux/uidMappings", both]],
    [(c) => withUser(c, path), { joinedUser: { error: "no such file" } }, [
      "/linux/namespaces",
      "failed to cache mappings for userns: no such file",
    ]],
    [(c) => c.linux.uidMappings = [], {}],
    [(c) => c.linux.uidMappings = mappings, {}, [
      "/linux/uidMappings",
      "user namespace mappings specified, but user namespace isn't enabled in the config",
    ]],
    [(c) => (withUser(c), c.linux.gidMappings = []), {}, [
      "/linux/gidMappings",
      "user namespaces enabled, but no gid mappings found",
    ]],
    [(c) => (withUser(c), c.linux.uidMappings = [{ containerID: 1, hostID: 1, size: 1 }]), {}, [
      "/linux/uidMappings",
      "user namespaces enabled, but no mapping found for uid 0",
    ]],
  ]);
});

Deno.test("validate() checks clock offsets against the time namespace", () => {
  const at = "/linux/timeOffsets";
  const offsets = { monotonic: { secs: 1, nanosecs: 2 }, boottime: { secs: 3, nanosecs: 999999999 } };
  const add = (path: string): Change => (c) => {
    c.linux.namespaces.push({ type: "time", path });
    c.linux.timeOffsets = offsets;
  };
  check([
    [add(""), {}],
    [(c) => c.linux.timeOffsets = offsets, {}, [
      at,
      "time namespace offsets specified, but time namespace isn't enabled in the config",
    ]],
    [add("/proc/1/ns/time"), {}, [
      at,
      "time namespace enabled, but both namespace path and time offsets specified -- you may only provide one",
    ]],
    [(c) => (add("")(c), c.linux.timeOffsets = { realtime: { secs: 1, nanosecs: 0 } }), {}, [
      `${at}/realtime`,
      'invalid time offset clock "realtime"',
    ]],
    [(c) => (add("")(c), c.linux.timeOffsets = { boottime: { secs: 1, nanosecs: 1e9 } }), {}, [
      `${at}/boottime/nanosecs`,
      "invalid time offset nanosecs: 1000000000",
    ]],
  ]);
});

Deno.test("validate() allows only sysctls of the container's namespaces", () => {
  const set = (key: string, change: Change = () => {}): Change => (c) => {
    change(c);
    c.hostname = "";
    c.linux.sysctl = { [key]: "1" };
  };
  const at = (key: string) => `/linux/sysctl/${key.replaceAll("/", "~1")}`;
  const netns = "/run/netns/x";
  const joinNet: Change = (c) => (without(c, "network"), c.linux.namespaces.push({ type: "network", path: netns }));
  check([
    [set("kernel.msgmax"), {}],
    [set("kernel.shm_rmid_forced"), {}],
    [set("fs.mqueue.msg_max"), {}],
    [set("kernel.sem", (c) => without(c, "ipc")), {}, [
      at("kernel.sem"),
      'sysctl "kernel.sem" is not allowed in the hosts ipc namespace',
    ]],
    [set("net.ipv4.ip_forward"), {}],
    [set("net/ipv4/conf/eno2.100/rp_filter"), {}],
    [set("net.ipv4.ip_forward", (c) => without(c, "network")), {}, [
      at("net.ipv4.ip_forward"),
      'sysctl "net.ipv4.ip_forward" not allowed in host network namespace',
    ]],
    [set("net.a", joinNet), { joinedNetwork: { isOurs: false } }],
    [set("net.a", joinNet), { joinedNetwork: { isOurs: true } }, [
      at("net.a"),
      'sysctl "net.a" not allowed in host network namespace',
    ]],
    [set("net.a", joinNet), { joinedNetwork: { error: `stat ${netns}: no such file or directory` } }, [
      at("net.a"),
      "invalid netns path: stat /run/netns/x: no such file or directory",
    ]],
    [set("kernel.domainname"), {}],
    [set("kernel.domainname", (c) => without(c, "uts")), {}, [
      at("kernel.domainname"),
      'sysctl "kernel.domainname" is not in a separate kernel namespace',
    ]],
    [set("kernel.hostname"), {}, [
      at("kernel.hostname"),
      'sysctl "kernel.hostname" is not allowed as it conflicts with the OCI "hostname" field',
    ]],
    [set("user.max_user_namespaces", (c) => withUser(c)), {}],
    [set("user.max_user_namespaces"), {}, [
      at("user.max_user_namespaces"),
      "setting ucounts without a user namespace not allowed: user.max_user_namespaces",
    ]],
    [set("kernel/core_pattern"), {}, [
      at("kernel/core_pattern"),
      'sysctl "kernel.core_pattern" is not in a separate kernel namespace',
    ]],
    [set("kernel.shmmaxx"), {}, [
      at("kernel.shmmaxx"),
      'sysctl "kernel.shmmaxx" is not in a separate kernel namespace',
    ]],
  ]);
});

Deno.test("dottedName() takes the first separator for the separator", () => {
  const cases: readonly [key: string, name: string][] = [
    ["", ""],
    ["abc", "abc"],
    ["net.ipv4.conf.eno2/100.rp_filter", "net.ipv4.conf.eno2/100.rp_filter"],
    ["net/ipv4/conf/eno2.100/rp_filter", "net.ipv4.conf.eno2/100.rp_filter"],
  ];
  for (const [key, name] of cases) assertEquals(dottedName(key), name);
});

Deno.test("validate() checks mounts", () => {
  const mount = { destination: "/data", type: "none", source: "/srv/data", options: ["bind"] };
  const add = (values: Partial<Draft<Config>["mounts"][number]>): Change => (c) =>
    c.mounts.push({ uidMappings: [], gidMappings: [], ...mount, ...values });
  const at = "/mounts/7";
  const shown = 'invalid mount "/srv/data" at "/data": ';
  check([
    [add({ options: ["rbind", "ro", "rprivate"] }), {}],
    [add({ options: ["bind", "mode=755"] }), {}, [
      `${at}/options`,
      `${shown}bind mounts cannot have any filesystem-specific options applied (mode=755)`,
    ]],
    [add({ type: "tmpfs", options: ["mode=755"] }), {}],
    [add({ destination: "" }), {}, [
      `${at}/destination`,
      'invalid mount "/srv/data" at "": mount destination must not be empty',
    ]],
    [add({ type: "a\0b" }), {}, [`${at}/type`, `${shown}mount field contains null byte`]],
    [add({ uidMappings: mappings, gidMappings: mappings }), {}],
    [add({ uidMappings: mappings }), {}, [
      at,
      `${shown}id-mapped mounts must have both uid and gid mappings specified`,
    ]],
    [add({ options: ["bind", "idmap"] }), {}, [
      at,
      `${shown}id-mapped mounts must have both uid and gid mappings specified`,
    ]],
    [(c) => (withUser(c), add({ options: ["bind", "idmap"] })(c)), {}],
    [add({ options: ["ridmap"] }), {}, [at, `${shown}id-mapped mounts are only supported for bind-mounts`]],
    [(c) => (withUser(c), add({ options: ["bind", "idmap"] })(c)), rootless, [
      at,
      `${shown}id-mapped mounts are not supported for rootless containers`,
    ]],
  ]);
});

Deno.test("configWarnings() tells of relative destinations and unknown letters of device access, which are allowed", () => {
  const config = { ociVersion: "", mounts: [{ destination: "data" }, { destination: "/data" }] };
  assertEquals(configWarnings(config).map(({ at }) => at), ["/mounts/0/destination"]);
  const devices = [{ allow: false, access: "rwm" }, { allow: false, access: "rwa" }];
  assertEquals(
    configWarnings({ ...config, mounts: [], linux: { resources: { devices } } }).map(({ message }) => message),
    [
      'device access at 1 field contains unknown modes, which are ignored: "a"',
    ],
  );
});

Deno.test("validate() checks devices and the cgroup", () => {
  const resources = (values: Partial<Draft<Config>["linux"]["resources"]>): Change => (c) =>
    Object.assign(c.linux.resources, values);
  const at = "/linux/resources";
  const device = { path: "/dev/x", type: "c", major: 1, minor: 2, fileMode: 0, uid: 0, gid: 0 };
  const rule = { allow: true, type: "c", major: 1, minor: 2, access: "rw" };
  const path = "/linux/cgroupsPath";
  const form = 'expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got "/a" instead';
  check([
    [(c) => c.linux.devices = [device, { ...device, type: "p" }, { ...device, type: "u" }], {}],
    [(c) => c.linux.devices = [{ ...device, type: "a" }], {}, ["/linux/devices/0/type", 'invalid device type "a"']],
    [(c) => c.linux.devices = [{ ...device, path: "" }], {}, ["/linux/devices/0/path", 'invalid device path ""']],
    [resources({ devices: [rule, { ...rule, type: "a" }] }), {}],
    [resources({ devices: [{ ...rule, type: "p" }] }), {}, [`${at}/devices/0/type`, 'invalid cgroup device type "p"']],
    [resources({ devices: [{ ...rule, access: "" }] }), {}, [
      `${at}/devices/0/access`,
      "device access at 0 field cannot be empty",
    ]],
    [resources({ devices: [{ ...rule, access: "x" }] }), {}, [
      `${at}/devices/0/access`,
      'device access at 0 field contains unknown modes: "x"',
    ]],
    [(c) => c.linux.cgroupsPath = "/a", {}],
    [(c) => c.linux.cgroupsPath = "a.slice:b:c", { systemdCgroup: true }],
    [(c) => c.linux.cgroupsPath = "/a", { systemdCgroup: true }, [path, form]],
    [resources({ unified: { "memory.high": "1" } }), { cgroup2: true }],
    [resources({ unified: { "memory.high": "1" } }), {}, [
      `${at}/unified`,
      "invalid configuration: cannot use unified on cgroup v1",
    ]],
  ]);
});

Deno.test("validate() checks that swap is what memory leaves of it", () => {
  const cases: readonly [limit: number | bigint, swap: number | bigint, message?: string][] = [
    [0, 0],
    [-1, 0],
    [-1, 100],
    [100, -1],
    [100, 100],
    [100, 9223372036854771712n],
    [0, 100, "unable to set swap limit without memory limit"],
    [-2, 100, "invalid memory value: -2"],
    [200, 100, "memory+swap limit should be >= memory limit"],
  ];
  for (const [limit, swap, message] of cases) {
    const change: Change = (c) => Object.assign(c.linux.resources, { memory: { limit, swap } });
    check([[change, {}]]);
    const at = "/linux/resources/memory/swap";
    check([message === undefined ? [change, { cgroup2: true }] : [change, { cgroup2: true }, [at, message]]]);
  }
});

Deno.test("validate() checks the smaller fields of linux", () => {
  const at = "/linux";
  check([
    [(c) => c.linux.rootfsPropagation = "rslave", { noPivot: true }],
    [(c) => c.linux.rootfsPropagation = "private", {}],
    [(c) => c.linux.rootfsPropagation = "rprivate", { noPivot: true }, [
      `${at}/rootfsPropagation`,
      "rootfsPropagation of [r]private is not safe without pivot_root",
    ]],
    [(c) => c.linux.rootfsPropagation = "public", {}, [
      `${at}/rootfsPropagation`,
      "rootfsPropagation=public is not supported",
    ]],
    [(c) => c.linux.personality = { domain: "LINUX32", flags: [] }, {}],
    [(c) => c.linux.personality = { domain: "BSD", flags: [] }, {}, [
      `${at}/personality/domain`,
      "invalid personality domain BSD",
    ]],
  ]);
});

Deno.test("validate() checks the words of a seccomp profile, and what an agent can be asked", () => {
  const at = "/linux/seccomp";
  const set = (seccomp: Partial<Seccomp>): Change => (c) =>
    c.linux.seccomp = { defaultAction: "SCMP_ACT_ALLOW", ...seccomp } as typeof c.linux.seccomp;
  const rule = (action: string, args: SeccompArg[] = [], names = ["mkdir"]) => ({
    syscalls: [{ names, action, args }],
  });
  const notify = rule("SCMP_ACT_NOTIFY");
  check([
    [set({ ...notify, listenerPath: "/agent", flags: ["SECCOMP_FILTER_FLAG_TSYNC"] }), {}],
    [set({ architectures: ["SCMP_ARCH_LOONGARCH64"] }), {}],
    // It asks for nothing.
    [set({ defaultAction: "", flags: ["X"] }), {}],
    [set({ flags: ["X"] }), {}, [`${at}/flags/0`, "seccomp flag X is not known to runc"]],
    [set({ architectures: ["X"] }), {}, [`${at}/architectures/0`, "string X is not a valid arch for seccomp"]],
    [set({ defaultAction: "X" }), {}, [`${at}/defaultAction`, "string X is not a valid action for seccomp"]],
    [set(rule("X")), {}, [`${at}/syscalls/0/action`, "string X is not a valid action for seccomp"]],
    [set(rule("SCMP_ACT_LOG", [{ index: 0, value: 0, op: "X" }])), {}, [
      `${at}/syscalls/0/args/0/op`,
      "string X is not a valid operator for seccomp",
    ]],
    [set(notify), {}, [`${at}/listenerPath`, "seccomp listenerPath is not set"]],
    [set({ defaultAction: "SCMP_ACT_NOTIFY" }), {}, [
      `${at}/defaultAction`,
      "SCMP_ACT_NOTIFY cannot be used as default action",
    ]],
    [set({ ...rule("SCMP_ACT_NOTIFY", [], ["read", "write"]), listenerPath: "/agent" }), {}, [
      `${at}/syscalls/0/names`,
      "SCMP_ACT_NOTIFY cannot be used for the write syscall",
    ]],
  ]);
});

Deno.test("validate() checks the memory policy", () => {
  const at = "/linux/memoryPolicy";
  const set = (mode: string, nodes: string, flags: string[] = []): Change => (c) =>
    c.linux.memoryPolicy = { mode, nodes, flags };
  check([
    [set("MPOL_INTERLEAVE", "0-1", ["MPOL_F_STATIC_NODES"]), {}],
    [set("MPOL_DEFAULT", ""), {}],
    [set("MPOL_PREFERRED", ""), {}],
    [set("MPOL_PREFERRED", "1"), {}],
    [set("INTERLEAVE", "0"), {}, [`${at}/mode`, 'invalid memory policy mode "INTERLEAVE"']],
    [set("MPOL_BIND", "a"), {}, [`${at}/nodes`, 'invalid memory policy nodes "a": invalid number "a"']],
    [set("MPOL_BIND", "0", ["X"]), {}, [`${at}/flags/0`, 'invalid memory policy flag "X"']],
    [set("MPOL_LOCAL", "0-2"), {}, [`${at}/nodes`, "memory policy mode requires 0 nodes but got 3"]],
    [set("MPOL_BIND", ""), {}, [`${at}/nodes`, "memory policy mode requires at least one node but got 0"]],
  ]);
});

Deno.test("validate() checks network devices", () => {
  const at = "/linux/netDevices";
  const devices = (...names: [name: string, inside: string][]): Change => (c) =>
    c.linux.netDevices = Object.fromEntries(names.map(([name, inside]) => [name, { name: inside }]));
  check([
    [devices(["eth0", ""], ["eth1", "in1"]), {}],
    [devices(), rootless, ["/linux/namespaces", "rootless container requires user namespaces"]],
    [(c) => (without(c, "network"), devices(["eth0", ""])(c)), {}, [
      at,
      "unable to move network devices without a NET namespace",
    ]],
    [devices(["eth0", ""]), { rootlessCgroups: true }, [
      at,
      "network devices are not supported for rootless containers",
    ]],
    [devices(["a b", "c:d"]), {}, [`${at}/a b`, 'invalid network device name "a b"'], [
      `${at}/a b`,
      'invalid network device name "c:d"',
    ]],
    [devices(["..", ""], ["x".repeat(17), ""]), {}, [`${at}/..`, 'invalid network device name ".."'], [
      `${at}/${"x".repeat(17)}`,
      `invalid network device name "${"x".repeat(17)}"`,
    ]],
  ]);
});

Deno.test("validate() checks Intel RDT", () => {
  const at = "/linux/intelRdt";
  const set = (values: Partial<Draft<Config>["linux"]["intelRdt"]>): Change => (c) =>
    Object.assign(c.linux, { intelRdt: values });
  const intelRdt = { cat: true, mba: true };
  check([
    [set({ closID: "a", l3CacheSchema: "L3:0=f", memBwSchema: "MB:0=50" }), { intelRdt }],
    [set({ closID: "/" }), { intelRdt }],
    [set({}), {}, [at, "intelRdt is specified in config, but Intel RDT is not enabled"]],
    [set({ closID: "a/b" }), { intelRdt }, [`${at}/closID`, 'invalid intelRdt.ClosID "a/b"']],
    [set({ closID: ".." }), { intelRdt }, [`${at}/closID`, 'invalid intelRdt.ClosID ".."']],
    [set({ l3CacheSchema: "L3:0=f", memBwSchema: "MB:0=50" }), { intelRdt: { cat: false, mba: false } }, [
      `${at}/l3CacheSchema`,
      "intelRdt.l3CacheSchema is specified in config, but Intel RDT/CAT is not enabled",
    ], [`${at}/memBwSchema`, "intelRdt.memBwSchema is specified in config, but Intel RDT/MBA is not enabled"]],
  ]);
});

Deno.test("validate() checks what a user who is not root cannot have", () => {
  const option = (text: string): Change => (c) => (withUser(c), c.mounts[1]!.options.push(text));
  const groups = (c: Draft<Config>) => (withUser(c), c.process.user.additionalGids = [5]);
  const at = "/mounts/1/options";
  const refused = (text: string, why: string) => `cannot specify ${text} mount option for rootless container: ${why}`;
  const devpts = (c: Draft<Config>) => c.mounts[2]!.options = [];
  check([
    [(c) => withUser(c), rootless],
    [() => {}, rootless, ["/linux/namespaces", "rootless container requires user namespaces"]],
    [(c) => (withUser(c), devpts(c), c.linux.uidMappings = []), rootless, [
      "/linux/uidMappings",
      "user namespaces enabled, but no uid mappings found",
    ], ["/linux/uidMappings", "rootless containers requires at least one UID mapping"]],
    [option("uid=9"), rootless],
    [option("uid=root"), rootless],
    [option("uid=10"), {}],
    [option("uid=10"), rootless, [
      at,
      refused("uid=10", "user namespaces enabled, but no mapping found for uid 10"),
    ]],
    [option("size=1k,gid=11"), rootless, [
      at,
      refused("gid=11", "user namespaces enabled, but no mapping found for gid 11"),
    ]],
    [groups, {}],
    [groups, rootless],
    [groups, { ...rootless, groups: { ...host.groups, isDenied: true } }, [
      "/process/user/additionalGids",
      "cannot set any additional groups in a rootless container",
    ]],
    [(c) => (withUser(c), c.process.user.additionalGids = [0, 9, 10, 4294967295]), rootless, [
      "/process/user/additionalGids/2",
      "cannot set additional group 10: it is not mapped in the user namespace",
    ], [
      "/process/user/additionalGids/3",
      "cannot set additional group 4294967295: it is not mapped in the user namespace",
    ]],
  ]);
});

Deno.test("validate() checks hooks", () => {
  const hook = { path: "/bin/true", args: ["true"], env: [], timeout: 1 };
  const set = (values: Partial<typeof hook>): Change => (c) =>
    Object.assign(c, { hooks: { poststop: [hook, { ...hook, ...values }] } });
  check([
    [set({}), {}],
    [set({ timeout: undefined }), {}],
    [set({ path: "" }), {}, ["/hooks/poststop/1/path", "poststop hook #1: path must not be empty"]],
    [set({ timeout: 0 }), {}, ["/hooks/poststop/1/timeout", "poststop hook #1: timeout must be greater than zero"]],
  ]);
});

Deno.test("validate() reports in runc's order", () =>
  check([
    [
      (c) => {
        c.process.args = [];
        c.linux.namespaces.push({ type: "pid", path: "" });
        c.linux.sysctl = { "kernel.x": "1" };
        without(c, "uts");
        c.process.rlimits[0]!.type = "X";
      },
      { rootfs: { path: "/b/rootfs", resolved: "/c", isDirectory: true } },
      ["/process/args", "args must not be empty"],
      ["/linux/namespaces/4", 'malformed spec file: duplicated ns {"pid" ""}'],
      ["/root/path", "invalid rootfs: not an absolute path, or a symlink"],
      ["/hostname", "unable to set hostname without a private UTS namespace"],
      ["/linux/sysctl/kernel.x", 'sysctl "kernel.x" is not in a separate kernel namespace'],
      ["/process/rlimits/0/type", "wrong rlimit value: X"],
    ],
  ]));

Deno.test("validateProcess() has pointers into the process alone", () => {
  const problems = validateProcess({ cwd: "x", user: { uid: 0, gid: 0 } }, host);
  assertEquals(problems.map(({ at }) => at), ["/cwd", "/args"]);
});

Deno.test("configError() begins with the first problem and names the others", () => {
  const problems = validate({ ociVersion: "1.3.0" }, host);
  const error = configError(problems);
  assertEquals(
    [error.code, error.field, error.message],
    ["config-invalid", "/process", "process property must not be empty; also: root must be specified"],
  );
  assertThrows(() => configError([]), TypeError);
});
