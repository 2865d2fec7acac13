/**
 * A host and a request that plans are made for in tests: nothing in them is read from the machine that runs the tests.
 *
 * @module
 */

import type { CgroupMountFact, HostFacts, LaunchRequest } from "../../../lib/libcontainer/config/launch_request.ts";
import type { Config } from "../../../lib/specs/config.ts";
import { defaultSpec } from "../../../lib/specs/default_spec.ts";

const hierarchy = (name: string, controllers = name): CgroupMountFact => ({
  name,
  source: `/sys/fs/cgroup/${name}/box`,
  controllers,
});

/** A v1 host as systemd sets it up, with nine hierarchies; two of them carry two controllers. */
export const nineHierarchies: readonly CgroupMountFact[] = [
  hierarchy("systemd", "name=systemd"),
  ...["cpuset", "cpu,cpuacct", "memory", "devices", "freezer", "net_cls,net_prio", "blkio", "pids"].map((name) =>
    hierarchy(name)
  ),
];

/** Linux 6.1 on x86_64 with cgroup v1. */
export const facts: HostFacts = {
  arch: "x86_64",
  lastCapability: 40,
  kcore: true,
  isConfined: false,
  inUserNamespace: false,
  euid: 0,
  mayTrace: true,
  processorSetBytes: 128,
  rootlessCgroups: false,
  setgroupsAllowed: true,
  cgroupMode: "v1",
  cgroupMounts: nineHierarchies,
  fullProcMounts: [],
  rootUid: 0,
  rootGid: 0,
};

/** The same host with cgroup v2 alone. */
export const facts2: HostFacts = { ...facts, cgroupMode: "v2", cgroupMounts: [], cgroup2Path: "/sys/fs/cgroup/box" };

/** `runc create box`, in /bundle. */
export const request: LaunchRequest = {
  id: "box",
  bundle: "/bundle",
  rootfs: "/bundle/rootfs",
  cgroup: { taskFiles: nineHierarchies.map(({ source }) => ({ path: `${source}/tasks` })) },
  noPivot: false,
  stageIsMoved: false,
  noNewKeyring: false,
  inheritedFds: 0,
  listenFds: 0,
  pidfdSocket: false,
  startBy: "fifo",
};

/** How the container's process gets into its cgroup on `facts2`. */
export const cgroup2Entry: LaunchRequest["cgroup"] = { taskFiles: [], cloneInto: "/sys/fs/cgroup/box" };

/** A value that a test may change, with every field at hand. */
export type Draft<Type> = { -readonly [Key in keyof Type]-?: Draft<NonNullable<Type[Key]>> };

/** The default config of a v1 host, changed. */
export function config(change: (draft: Draft<Config>) => void = () => {}): Config {
  const draft = structuredClone(defaultSpec({ cgroup2: false })) as Draft<Config>;
  change(draft);
  return draft as Config;
}
