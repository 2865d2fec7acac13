/**
 * What is removed of a container whose init is gone. Runs in: parent.
 *
 * @module
 */

import { removeRdtGroup } from "../../cgroups/rdt/resctrl.ts";
import { inContext } from "../../errors.ts";
import { inSpan } from "../../trace/tracer.ts";
import type { Removal } from "../plans/monitor/plan.ts";
import type { Runtime } from "../runtime.ts";
import { hooksOf, isUnfinished, ownsPids, rdtGroupOf, systemdOf } from "../state/runc_state.ts";
import type { StateDirectory } from "../state/store.ts";
import { killCgroup, type KillTarget } from "./killing.ts";

/** A container with its state directory. */
export interface RemovalTarget extends KillTarget {
  readonly directory: StateDirectory;
}

/** What {@link removeContainer} has to do, for a monitor. Pure. */
export function removalOf({ state, cgroup, directory }: RemovalTarget): Removal {
  const hasMore = systemdOf(state) || !ownsPids(state) || rdtGroupOf(state) !== undefined ||
    hooksOf(state).poststop !== undefined;
  if (hasMore) return { kind: "runtime" };
  return { kind: "directories", cgroups: [...new Set(Object.values(cgroup.paths))], state: directory.path };
}

/** Removes cgroup, resctrl group and state, in this order: as long as something is left, there is a state to find it by. */
export function removeContainer(runtime: Runtime, target: RemovalTarget): void {
  const { state, cgroup, directory } = target;
  // In another's pid namespace, processes may have outlived init. A killed restore may have left processes of CRIU's.
  if ((!ownsPids(state) || isUnfinished(state)) && cgroup.exists()) killCgroup(runtime, target);
  inContext("unable to remove container's cgroup", () => cgroup.destroy());
  const group = rdtGroupOf(state);
  if (group !== undefined) inContext("unable to remove container's IntelRDT group", () => removeRdtGroup(group));
  inSpan(runtime.trace, "remove the state", () => directory.remove(runtime.kernel));
}
