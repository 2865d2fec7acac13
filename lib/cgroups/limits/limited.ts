/**
 * Whether a container is limited at all, and what a driver needs where it is.
 *
 * @module
 */

import type { Resources } from "../../specs/config.ts";

/** limits.ts, with all that it needs. Loaded for containers that have limits, and for `update`. */
export type LimitCode = typeof import("./limits.ts");

/** Limits, together with the code that sets them. */
export interface Limits {
  /** Device rules in it are passed over: they are `setDevices`' own. */
  readonly resources: Resources;
  /** What sets them. */
  readonly code: LimitCode;
}

/** Whether `resources` has anything beside device rules. */
export function hasLimits(resources: Resources = {}): boolean {
  return Object.entries(resources).some(([name, value]) =>
    name !== "devices" && value !== undefined && Object.keys(value).length > 0
  );
}
