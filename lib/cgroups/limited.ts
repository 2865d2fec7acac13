/**
 * Whether a container has limits, and what a driver needs for one that has.
 *
 * @module
 */

import type { Resources } from "../specs/config.ts";

/** The module limits.ts and its imports. Loaded for containers with limits, and for `update`. */
export type LimitCode = typeof import("./limits.ts");

/** Limits, together with the code that sets them. */
export interface Limits {
  /** The limits. Their device rules are ignored: `setDevices` sets those. */
  readonly resources: Resources;
  /** The code that sets them. */
  readonly code: LimitCode;
}

/** Whether `resources` has anything besides device rules. */
export function hasLimits(resources: Resources = {}): boolean {
  return Object.entries(resources).some(([name, value]) =>
    name !== "devices" && value !== undefined && Object.keys(value).length > 0
  );
}
