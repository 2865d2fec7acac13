/** A host on which everything is right, and cases of configs with one thing wrong. */

import { assert, assertEquals } from "@std/assert";
import { checkConfig } from "../../../../lib/libcontainer/checks/check.ts";
import type { CheckFacts, FileFacts } from "../../../../lib/libcontainer/checks/facts.ts";
import type { Finding } from "../../../../lib/libcontainer/checks/rule.ts";
import { ruleGroups } from "../../../../lib/libcontainer/checks/table.ts";
import { parseMounts } from "../../../../lib/libcontainer/config/mounts.ts";
import { capabilityNames } from "../../../../lib/ffi/constants.ts";
import type { Config, Seccomp } from "../../../../lib/specs/config.ts";
import { defaultSpec } from "../../../../lib/specs/default_spec.ts";

/** A config that a test may change, with every field at hand. */
export type Draft<Type> = { -readonly [Key in keyof Type]-?: Draft<NonNullable<Type[Key]>> };
export type Change = (config: Draft<Config>) => void;
/** A rule, a config that it complains about, the host, and the pointers of the complaints. */
export type Case = readonly [rule: string, change: Change, facts: Partial<CheckFacts>, ...pointers: readonly string[]];

export const file: FileFacts = { kind: "file", mode: 0o755, uid: 0, gid: 0 };
export const directory: FileFacts = { ...file, kind: "directory" };

/** Only these files exist. */
export const only = (files: Readonly<Record<string, FileFacts>>): Pick<CheckFacts, "fileAt"> => ({
  fileAt: (path) => files[path],
});

export const host: CheckFacts = {
  rootfs: { path: "/b/rootfs", resolved: "/b/rootfs", isDirectory: true },
  rootlessEuid: false,
  rootlessCgroups: false,
  cgroup2: false,
  systemdCgroup: false,
  noPivot: false,
  selinux: false,
  groups: { mappings: [], isDenied: false },
  kernelNamespaces: ["pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"],
  arch: "x86_64",
  hasEmulators: false,
  caller: { uid: 0, gid: 0, capabilities: capabilityNames, hardLimits: { RLIMIT_NOFILE: 4096n, RLIMIT_CORE: 0n } },
  lastCapability: 40,
  fileAt: () => file,
  program: { state: "found", path: "/bin/sh", format: { machine: 62 } },
  startHooks: [],
  targetOf: () => undefined,
  namespaceAt: (path) => path.endsWith("/net") ? "network" : "user",
  isNoexec: false,
  openToOthers: [],
  controllers: ["memory", "cpu", "cpuset", "pids", "blkio", "hugetlb", "net_cls", "rdma"],
  cgroup: { processes: 0, closed: [], swap: true },
  fileSystems: ["proc", "tmpfs", "devpts", "mqueue", "sysfs", "cgroup"],
  cpus: [0, 1],
  memoryNodes: [0],
  hugepageSizes: ["2MB"],
  hasBlockDevice: (number) => number === "8:0",
  networkInterfaces: ["lo", "eth0"],
  rdmaDevices: ["mlx5_0"],
  hasSysctl: () => true,
  appArmor: { isEnabled: false },
  seccomp: {
    hasLibrary: true,
    knowsCall: (name) => name !== "nonsense",
    actions: ["kill_process", "kill_thread", "trap", "errno", "user_notif", "trace", "log", "allow"],
    waitsKillable: true,
  },
  subordinate: { uid: [{ first: 100000, size: 65536 }], gid: [{ first: 100000, size: 65536 }], missingTools: [] },
  userNamespaceErrno: 0,
  largestOpenFiles: 1048576n,
  showsAllOfProc: true,
  refusesIdmap: () => false,
  hasLandlock: true,
};

/** A profile that no rule complains about. */
export const profile: Seccomp = {
  defaultAction: "SCMP_ACT_ERRNO",
  architectures: ["SCMP_ARCH_X86_64"],
  syscalls: [{ names: ["read", "write"], action: "SCMP_ACT_ALLOW" }],
};

/** A config that no rule complains about. */
export function draft(): Draft<Config> {
  // structuredClone would keep lists that are the same one, such as those of capabilities.
  const config: Draft<Config> = JSON.parse(JSON.stringify(defaultSpec({ cgroup2: false })));
  config.linux.seccomp = structuredClone(profile) as Draft<Seccomp>;
  return config;
}

export const mappings = [{ containerID: 0, hostID: 100000, size: 1000 }];

/** Adds a user namespace with {@link mappings}. */
export function withUser(config: Draft<Config>): void {
  config.linux.namespaces.push({ type: "user", path: "" });
  Object.assign(config.linux, { uidMappings: structuredClone(mappings), gidMappings: structuredClone(mappings) });
  // devpts has gid=5, which is mapped.
}

export function without(config: Draft<Config>, type: string): void {
  config.linux.namespaces = config.linux.namespaces.filter((namespace) => namespace.type !== type);
}

/** Adds a mount with everything optional left out. */
export function addMount(config: Draft<Config>, mount: NonNullable<Config["mounts"]>[number]): number {
  return config.mounts.push(mount as Draft<Config>["mounts"][number]) - 1;
}

export const remove = (object: object, field: string): boolean => Reflect.deleteProperty(object, field);

export function findingsOf(change: Change, facts: Partial<CheckFacts> = {}): readonly Finding[] {
  const config = draft();
  change(config);
  const mounts = parseMounts((config as Config).mounts, { bundle: "/b", rootfs: "/b/rootfs" });
  return checkConfig(config as Config, { ...host, ...facts }, mounts);
}

/** Runs the cases: the rule has to complain about these fields and no others. Each rule of the group needs a case. */
export function checkCases(title: string, cases: readonly Case[]): void {
  for (const [rule, change, facts, ...pointers] of cases) {
    Deno.test(`${rule}: ${String(change).replace(/\s+/g, " ").slice(0, 70)}`, () => {
      const found = findingsOf(change, facts).filter((finding) => finding.rule === rule);
      assertEquals(found.map(({ pointer }) => pointer), pointers);
      for (const { message, why, fix } of found) assert(message !== "" && why !== "" && fix !== "");
    });
  }
  Deno.test(`each rule of "${title}" has a case in which it complains`, () => {
    const rules = ruleGroups.find((group) => group.title === title)!.rules.map(({ id }) => id);
    const complaining = new Set(cases.filter(([, , , ...pointers]) => pointers.length > 0).map(([rule]) => rule));
    assertEquals(rules.filter((id) => !complaining.has(id)), []);
    assertEquals([...complaining].filter((id) => !rules.includes(id)), []);
  });
}
