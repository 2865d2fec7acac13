/**
 * Creates or loads a container's cgroups with the driver that it requests. Runs in: parent.
 *
 * @module
 */

import type { CgroupManager, SelfJoin } from "../../cgroups/manager.ts";
import { loadCgroupManager } from "../../cgroups/open.ts";
import { loadSystemdManager } from "../../cgroups/systemd/manager.ts";
import { inUserNamespace } from "../config/facts.ts";
import { recentFact } from "../recent_facts.ts";
import type { CgroupEntry } from "../config/launch_request.ts";
import { cgroupPathsOf, rootlessCgroupsOf, type RuncState, systemdOf, systemdPathOf } from "../state/runc_state.ts";
import type { Runtime } from "../runtime.ts";

/**
 * How stage and init join the cgroups. A stage in a user namespace may not create its child in a cgroup (clone3 fails
 * with EACCES): the parent then moves the stage before it continues.
 */
export function cgroupEntry(selfJoin: SelfJoin, userNamespace: boolean): CgroupEntry {
  return userNamespace ? { taskFiles: [] } : selfJoin;
}

export function cgroupOptions(runtime: Runtime, rootless: boolean) {
  return {
    kernel: runtime.kernel,
    rootless,
    inUserNamespace: recentFact(runtime, "in a user namespace", inUserNamespace),
    tracer: runtime.trace,
  };
}

export function systemdOptions(runtime: Runtime, rootless: boolean) {
  const warn = (message: string) => runtime.log("warning", message);
  return { ...cgroupOptions(runtime, rootless), environment: runtime.environment, warn };
}

/** The cgroups of an existing container. */
export function loadCgroup(runtime: Runtime, state: RuncState): CgroupManager {
  const paths = cgroupPathsOf(state);
  const rootless = rootlessCgroupsOf(state);
  if (!systemdOf(state)) return loadCgroupManager(paths, cgroupOptions(runtime, rootless));
  return loadSystemdManager(paths, systemdPathOf(state), systemdOptions(runtime, rootless));
}
