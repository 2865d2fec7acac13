/**
 * All findings about a container: its config beside what the kernel shows. Pure.
 *
 * @module
 */

import type { Process } from "../../specs/config.ts";
import type { RuncState } from "../state/runc_state.ts";
import { cgroupFindings } from "./cgroups.ts";
import { deviceFindings } from "./devices.ts";
import type { InspectFinding } from "./finding.ts";
import { idFindings } from "./ids.ts";
import type { KernelView } from "./kernel_view.ts";
import { limitFindings } from "./limits.ts";
import { mountFindings } from "./mounts.ts";
import { namespaceFindings } from "./namespaces.ts";
import { pathFindings } from "./paths.ts";
import { rlimitFindings } from "./rlimits.ts";
import { capabilityFindings, securityFindings } from "./security.ts";

/**
 * Compares a container with its config, which is the one in state.json: it also has the limits that `update` has set.
 * `process`: that of config.json, for what state.json does not keep (user and rlimits); undefined if it is unknown.
 */
export function findingsOf(
  state: RuncState,
  view: KernelView,
  process: Process | undefined,
): readonly InspectFinding[] {
  return [
    ...namespaceFindings(state, view),
    ...idFindings(state, view, process?.user),
    ...capabilityFindings(state, view),
    ...securityFindings(state, view),
    ...rlimitFindings(process && (process.rlimits ?? []), view),
    ...mountFindings(state, view),
    ...pathFindings(state, view),
    ...deviceFindings(state, view),
    ...cgroupFindings(view),
    ...limitFindings(state, view),
  ];
}
