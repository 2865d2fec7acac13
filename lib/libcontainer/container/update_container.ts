/**
 * The limits of an update: what is given, merged with what the container has. Runs in: parent.
 *
 * @module
 */

import { resctrlFeatures, resctrlRoot } from "../../cgroups/rdt/resctrl.ts";
import type { IntelRdt, Resources } from "../../specs/config.ts";
import type { Runtime } from "../runtime.ts";
import { limitsOf } from "../state/limits_state.ts";
import { intelRdtOf, rdtGroupOf, type RuncState } from "../state/runc_state.ts";
import { updatedLimits } from "./update.ts";
import { type RdtSchemas, updatedRdt } from "./update_rdt.ts";

/** What an update sets, and what it was before. */
export interface MergedLimits {
  readonly limits: Resources;
  readonly stored: Resources;
  /** Absent without a group in resctrl. */
  readonly rdt?: IntelRdt;
  readonly storedRdt?: IntelRdt;
}

/** @throws {RuncError} `config-invalid`, and as {@link updatedRdt}. */
export function mergeLimits(
  { kernel }: Runtime,
  state: RuncState,
  { resources, rdt }: { readonly resources: Resources; readonly rdt: RdtSchemas },
): MergedLimits {
  const root = resctrlRoot(kernel);
  const features = root === undefined ? { cat: false, mba: false } : resctrlFeatures(kernel, root);
  const storedRdt = intelRdtOf(state);
  const stored = limitsOf(state);
  const hasGroup = root !== undefined && rdtGroupOf(state) !== undefined;
  const merged = updatedRdt(storedRdt, rdt, features);
  return { limits: updatedLimits(stored, resources), stored, rdt: merged, storedRdt: hasGroup ? storedRdt : undefined };
}
