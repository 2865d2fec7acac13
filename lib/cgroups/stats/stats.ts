/**
 * What a container uses: the statistics of its cgroups, the same for both versions.
 *
 * @module
 */

import type { CgroupStats } from "./types.ts";
import { readStatsV1 } from "./v1.ts";
import { readStatsV2 } from "./v2.ts";

/**
 * Reads the statistics of a container's cgroups. Runs in: parent.
 *
 * `paths`: by controller on v1, under `""` on v2. `tolerant`: what cannot be read is left out (v2 only, as in runc).
 *
 * @throws {RuncError} `cgroup-failed`.
 */
export function readStats(
  paths: Readonly<Record<string, string>>,
  { tolerant }: { readonly tolerant: boolean },
): CgroupStats {
  const { "": unified } = paths;
  const isV2 = Object.keys(paths).every((controller) => controller === "");
  return isV2 && unified !== undefined ? readStatsV2(unified, { tolerant }) : readStatsV1(paths);
}
