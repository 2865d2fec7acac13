/**
 * The CPU weight of cgroup v2. state.json has it next to v1's shares.
 *
 * @module
 */

import type { Integer64 } from "../../specs/config.ts";

/**
 * Converts v1 shares (2 to 262144) to a v2 weight (1 to 10000), on a curve through both ends and both defaults (1024
 * becomes 100).
 *
 * @see https://github.com/opencontainers/cgroups/blob/v0.0.6/utils.go, ConvertCPUSharesToCgroupV2Value
 */
export function cpuWeight(shares: Integer64): number {
  const number = Number(shares);
  if (number <= 2) return 1;
  if (number >= 262_144) return 10_000;
  const log = Math.log2(number);
  return Math.ceil(10 ** ((log * log + 125 * log) / 612 - 7 / 34));
}
