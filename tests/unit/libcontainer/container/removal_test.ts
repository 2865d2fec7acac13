import { assertEquals } from "@std/assert";
import type { CgroupManager } from "../../../../lib/cgroups/manager.ts";
import { removalOf, type RemovalTarget } from "../../../../lib/libcontainer/container/removal.ts";
import type { RuncState } from "../../../../lib/libcontainer/state/runc_state.ts";
import { StateDirectory } from "../../../../lib/libcontainer/state/store.ts";
import { toRuncState } from "../../../../lib/libcontainer/state/to_runc_state.ts";
import type { Config } from "../../../../lib/specs/config.ts";
import { config as defaultConfig } from "../fixed.ts";

const cgroupPaths = { cpu: "/sys/fs/cgroup/cpu,cpuacct/a", cpuacct: "/sys/fs/cgroup/cpu,cpuacct/a" };

function stateOf(config: Config, more: { systemdCgroup?: boolean; intelRdt?: { path: string } } = {}): RuncState {
  return toRuncState({
    config,
    mounts: [],
    id: "a",
    bundle: "/bundle",
    rootfs: "/bundle/rootfs",
    pid: 7,
    startTime: 1,
    created: "2024-01-01T00:00:00Z",
    cgroupPaths,
    kernelNamespaces: ["pid"],
    ...more,
  });
}

function target(state: RuncState): RemovalTarget {
  const cgroup = { paths: cgroupPaths } as unknown as CgroupManager;
  return { state, cgroup, directory: new StateDirectory("/run/runc", "a") };
}

const ours = defaultConfig();
const shared: Config = {
  ...ours,
  linux: { ...ours.linux, namespaces: ours.linux?.namespaces?.filter(({ type }) => type !== "pid") },
};

Deno.test("removalOf() names each directory once where a monitor can remove the container", () => {
  assertEquals(removalOf(target(stateOf(ours))), {
    kind: "directories",
    cgroups: ["/sys/fs/cgroup/cpu,cpuacct/a"],
    state: "/run/runc/a",
  });
});

const forRuntime: readonly [string, RuncState][] = [
  ["a systemd unit", stateOf(ours, { systemdCgroup: true })],
  ["another's pid namespace", stateOf(shared)],
  ["a resctrl group", stateOf({ ...ours, linux: { ...ours.linux, intelRdt: {} } }, { intelRdt: { path: "/r/a" } })],
  ["poststop hooks", stateOf({ ...ours, hooks: { poststop: [{ path: "/bin/true" }] } })],
];

for (const [what, state] of forRuntime) {
  Deno.test(`removalOf() leaves a container with ${what} to the runtime`, () => {
    assertEquals(removalOf(target(state)), { kind: "runtime" });
  });
}
