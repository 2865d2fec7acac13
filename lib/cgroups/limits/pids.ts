/**
 * Converts `linux.resources.pids` to the file of the pids controller.
 *
 * @see Documentation/admin-guide/cgroup-v1/pids.rst
 * @module
 */

import type { PidsResources } from "../../specs/config.ts";
import type { LimitWrite, StateNames } from "./limit.ts";

/** The fields in state.json. */
export const pidsStateNames = {
  values: {},
  pointers: { limit: "pids_limit" },
} as const satisfies StateNames<PidsResources>;

/** The writes, the same on v1 and v2. 0 becomes 1: systemd has no value for 0, and the first process already counts. */
export function pidsLimits({ limit }: PidsResources): readonly LimitWrite[] {
  if (limit === undefined) return [];
  const value = limit < 0 ? "max" : limit > 0 ? String(limit) : "1";
  return [{ controller: "pids", file: "pids.max", value }];
}
