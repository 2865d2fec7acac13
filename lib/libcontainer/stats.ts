/**
 * What a container uses. Runs in: parent.
 *
 * @module
 */

import { type CgroupStats, readStats } from "../cgroups/stats.ts";
import { RuncError } from "../errors.ts";
import type { Container } from "./container.ts";

/** The statistics of a container's cgroups, as of now. @throws {RuncError} `cgroup-failed`. */
export function containerStats(container: Container): CgroupStats {
  try {
    return readStats(container.cgroupPaths, { tolerant: container.rootlessCgroups });
  } catch (error) {
    throw error instanceof RuncError ? error.within("unable to get container cgroup stats") : error;
  }
}
