/**
 * Changes a container's limits. Runs in: parent.
 *
 * @module
 */

import { setSchemata } from "../../cgroups/rdt/group.ts";
import type { CgroupManager } from "../../cgroups/manager.ts";
import { resctrlFeatures, resctrlRoot } from "../../cgroups/rdt/resctrl.ts";
import type { Resources } from "../../specs/config.ts";
import { limitsOf } from "../state/limits_state.ts";
import { intelRdtOf, rdtGroupOf, type RuncState } from "../state/runc_state.ts";
import type { Runtime } from "../runtime.ts";
import { withResources } from "../state/to_runc_state.ts";
import { updatedLimits } from "./update.ts";
import { type RdtSchemas, updatedRdt } from "./update_rdt.ts";

/** A change that can be undone. */
interface Step {
  /** In runc's words. */
  readonly what: "cgroup" | "intelrdt";
  readonly set: () => void;
  readonly setBack: () => void;
}

/**
 * Replaces the limits in `state` by `resources` and `rdt`, and returns the new state. If one of them is refused,
 * nothing is changed.
 *
 * @throws {RuncError} `cgroup-failed`, `config-invalid`, and as {@link updatedRdt}.
 */
export function updateContainer(
  runtime: Runtime,
  { state, cgroup }: { readonly state: RuncState; readonly cgroup: CgroupManager },
  { resources, rdt }: { readonly resources: Resources; readonly rdt: RdtSchemas },
): RuncState {
  const root = resctrlRoot(runtime.kernel);
  const features = root === undefined ? { cat: false, mba: false } : resctrlFeatures(runtime.kernel, root);
  const storedRdt = intelRdtOf(state);
  const intelRdt = updatedRdt(storedRdt, rdt, features);
  const stored = limitsOf(state);
  const changed = updatedLimits(stored, resources);
  const steps: Step[] = [{
    what: "cgroup",
    set: () => cgroup.set(changed),
    // Limits that were never set are remembered too. runc restores fewer.
    setBack: cgroup.remember(changed, stored),
  }];
  const path = rdtGroupOf(state)?.path;
  if (root !== undefined && path !== undefined && storedRdt !== undefined && intelRdt !== undefined) {
    steps.push({
      what: "intelrdt",
      set: () => setSchemata({ root, path }, intelRdt),
      setBack: () => setSchemata({ root, path }, storedRdt),
    });
  }
  setAll(runtime, steps);
  return withResources(state, changed, intelRdt);
}

function setAll(runtime: Runtime, steps: readonly Step[]): void {
  for (const [index, step] of steps.entries()) {
    try {
      step.set();
    } catch (error) {
      // Including the failed one, which may be partly set.
      for (const done of steps.slice(0, index + 1)) setBack(runtime, done);
      throw error;
    }
  }
}

function setBack(runtime: Runtime, { what, setBack }: Step): void {
  try {
    setBack();
  } catch (error) {
    // The error that led here is thrown; this one is only logged.
    runtime.log(
      "warning",
      `Setting back ${what} configs failed due to error: ${
        (error as Error).message
      }, your state.json and actual configs might be inconsistent.`,
    );
  }
}
