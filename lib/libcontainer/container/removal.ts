/**
 * What is removed of a container whose init is gone. Pure.
 *
 * @module
 */

import type { Removal } from "../plans/monitor/plan.ts";
import { hooksOf, ownsPids, rdtGroupOf, systemdOf } from "../state/runc_state.ts";
import type { StateDirectory } from "../state/store.ts";
import type { KillTarget } from "./killing.ts";

/** A container with its state directory. */
export interface RemovalTarget extends KillTarget {
  readonly directory: StateDirectory;
}

/** What the removal of a container has to do, for a monitor. */
export function removalOf({ state, cgroup, directory }: RemovalTarget): Removal {
  const hasMore = systemdOf(state) || !ownsPids(state) || rdtGroupOf(state) !== undefined ||
    hooksOf(state).poststop !== undefined;
  if (hasMore) return { kind: "runtime" };
  return { kind: "directories", cgroups: [...new Set(Object.values(cgroup.paths))], state: directory.path };
}
