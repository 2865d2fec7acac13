/** The warnings for risky settings. */

import { capabilityNames } from "../../../../../lib/ffi/constants.ts";
import { addMount, type Case, checkCases, file, only, remove, without, withUser } from "../fixture.ts";

const bind = (source: string, ...options: string[]) => ({
  destination: "/x",
  source,
  type: "bind",
  options: ["rbind", ...options],
});
const rule = (values: object) => ({ allow: true, access: "rwm", ...values }) as never;

const isolation: readonly Case[] = [
  ["host-pid", (c) => without(c, "pid"), {}, "/linux/namespaces"],
  ["host-pid", (c) => c.linux.namespaces[0]!.path = "/proc/1/ns/pid", {}, "/linux/namespaces"],
  ["host-network", (c) => without(c, "network"), {}, "/linux/namespaces"],
  [
    "host-network",
    (c) => c.linux.namespaces[1]!.path = "/run/netns/host",
    { joinedNetwork: { isOurs: true } },
    "/linux/namespaces",
  ],
  ["host-network", (c) => c.linux.namespaces[1]!.path = "/run/netns/a", { joinedNetwork: { isOurs: false } }],
  ["host-ipc", (c) => without(c, "ipc"), {}, "/linux/namespaces"],
  ["host-uts", (c) => without(c, "uts"), {}, "/linux/namespaces"],
  ["host-mount", (c) => without(c, "mount"), {}, "/linux/namespaces"],
  ["proc-sys-writable", (c) => c.linux.readonlyPaths = [], {}, "/linux/readonlyPaths"],
  ["proc-sys-writable", (c) => remove(c.linux, "readonlyPaths"), {}, "/linux/readonlyPaths"],
  ["proc-sys-writable", (c) => c.linux.readonlyPaths = ["/proc"], {}],
  ["proc-sys-writable", (c) => {
    c.linux.readonlyPaths = [];
    c.mounts[0]!.options = ["ro"];
  }, {}],
  ["proc-trigger-writable", (c) => c.linux.readonlyPaths = ["/proc/sys", "/proc/irq"], {}, "/linux/readonlyPaths"],
  ["proc-secrets-visible", (c) => c.linux.maskedPaths = ["/proc/kcore"], {}, "/linux/maskedPaths"],
  ["sysfs-writable", (c) => c.mounts[5]!.options = ["nosuid"], {}, "/mounts/5/options"],
  ["cgroup-writable", (c) => c.mounts[6]!.options = ["nosuid"], {}, "/mounts/6/options"],
  ["cgroup-writable", (c) => {
    c.mounts[6]!.options = ["nosuid"];
    c.linux.namespaces.push({ type: "cgroup", path: "" });
  }, { cgroup2: true }],
  ["engine-socket", (c) => addMount(c, bind("/var/run/docker.sock", "ro")), {}, "/mounts/7/source"],
  ["engine-socket", (c) => addMount(c, bind("/run/containerd/")), {}, "/mounts/7/source"],
  ["engine-socket", (c) => addMount(c, bind("/run/user/1000/podman/podman.sock")), {}, "/mounts/7/source"],
  ["engine-socket", (c) => addMount(c, bind("/run/user")), {}],
  ["engine-socket", (c) => addMount(c, bind("/")), {}],
  ["host-root-mounted", (c) => addMount(c, bind("/", "ro")), {}, "/mounts/7/source"],
  ["host-directory-writable", (c) => addMount(c, bind("/etc")), {}, "/mounts/7/options"],
  ["host-directory-writable", (c) => addMount(c, bind("/etc", "ro")), {}],
  ["host-directory-writable", (c) => addMount(c, bind("/etc/hosts")), {}],
  ["mount-shared", (c) => addMount(c, bind("/srv", "rshared")), {}, "/mounts/7/options"],
  ["mount-shared", (c) => addMount(c, bind("/srv", "rslave")), {}],
  ["rootfs-shared", (c) => c.linux.rootfsPropagation = "rshared", {}, "/linux/rootfsPropagation"],
  [
    "bundle-open",
    (c) => c.hooks = { poststop: [{ path: "/x" }] } as never,
    {
      openToOthers: ["/b/config.json"],
      ...only({ "/x": { ...file, mode: 0o777 } }),
    },
    "",
    "/hooks/poststop/0/path",
  ],
];

const privileges: readonly Case[] = [
  [
    "all-capabilities",
    (c) => c.process.capabilities.bounding = [...capabilityNames],
    {},
    "/process/capabilities/bounding",
  ],
  ["capabilities-unset", (c) => remove(c.process, "capabilities"), {}, "/process/capabilities"],
  [
    "dangerous-capability",
    (c) => c.process.capabilities.bounding.push("CAP_SYS_ADMIN"),
    {},
    "/process/capabilities/bounding/3",
  ],
  ["dangerous-capability", (c) => {
    withUser(c);
    c.process.capabilities.bounding.push("CAP_SYS_ADMIN");
  }, {}],
  ["dangerous-capability", (c) => c.process.capabilities.bounding = [...capabilityNames], {}],
  [
    "host-network-admin",
    (c) => {
      without(c, "network");
      c.process.capabilities.bounding.push("CAP_NET_ADMIN");
    },
    {},
    "/process/capabilities/bounding/3",
  ],
  ["host-network-admin", (c) => c.process.capabilities.bounding.push("CAP_NET_ADMIN"), {}],
  [
    "inheritable-capability",
    (c) => c.process.capabilities.inheritable = ["CAP_KILL"],
    {},
    "/process/capabilities/inheritable",
  ],
  ["no-new-privileges", (c) => c.process.noNewPrivileges = false, {}, "/process/noNewPrivileges"],
  [
    "all-devices",
    (c) => c.linux.resources.devices = [rule({ type: "a", major: -1, minor: -1 })],
    {},
    "/linux/resources/devices/0",
  ],
  ["all-devices", (c) => c.linux.resources.devices = [rule({}), { allow: false, access: "rwm" } as never], {}],
  [
    "block-device",
    (c) => c.linux.resources.devices.push(rule({ type: "b", major: 8, minor: 0 }), rule({ type: "b", access: "m" })),
    {},
    "/linux/resources/devices/1",
  ],
  [
    "memory-device",
    (c) => {
      c.linux.devices = [{ path: "/dev/mem", type: "c", major: 1, minor: 1 } as never];
      c.linux.resources.devices.push(rule({ type: "c", major: 1, minor: 2 }), rule({ type: "c", major: 1, minor: 3 }));
    },
    {},
    "/linux/devices/0",
    "/linux/resources/devices/1",
  ],
  ["no-seccomp", (c) => remove(c.linux, "seccomp"), {}, "/linux/seccomp"],
  ["seccomp-permissive", (c) => c.linux.seccomp.defaultAction = "SCMP_ACT_LOG", {}, "/linux/seccomp/defaultAction"],
  [
    "seccomp-spec-allow",
    (c) => c.linux.seccomp.flags = ["SECCOMP_FILTER_FLAG_SPEC_ALLOW"],
    {},
    "/linux/seccomp/flags/0",
  ],
  ["apparmor-unconfined", () => {}, { appArmor: { isEnabled: true } }, "/process/apparmorProfile"],
  ["selinux-unconfined", () => {}, { selinux: true }, "/process/selinuxLabel"],
  ["selinux-unconfined", (c) => c.process.selinuxLabel = "u:r:container_t:s0:c1,c2", { selinux: true }],
  [
    "host-root-mapped",
    (c) => {
      withUser(c);
      c.linux.uidMappings[0]!.hostID = 0;
    },
    {},
    "/linux/uidMappings/0",
  ],
  ["host-root-mapped", withUser, {}],
  ["oom-protected", (c) => c.process.oomScoreAdj = -1000, {}, "/process/oomScoreAdj"],
  [
    "realtime",
    (c) => c.process.scheduler = { policy: "SCHED_RR", priority: 1 } as never,
    {},
    "/process/scheduler/policy",
  ],
];

checkCases("Risky settings", [...isolation, ...privileges]);
