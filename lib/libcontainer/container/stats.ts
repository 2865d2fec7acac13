/**
 * A container's statistics. Runs in: parent.
 *
 * @module
 */

import { readRdtStats } from "../../cgroups/rdt/stats.ts";
import { readStats } from "../../cgroups/stats/stats.ts";
import type { CgroupStats } from "../../cgroups/stats/types.ts";
import { inContext } from "../../errors.ts";
import type { Container } from "./container.ts";

/** Reads the current statistics of a container's cgroups. @throws {RuncError} `cgroup-failed`. */
export function containerStats(
  container: Pick<Container, "cgroupPaths" | "rootlessCgroups" | "rdtGroup">,
): CgroupStats {
  const { cgroupPaths, rootlessCgroups, rdtGroup } = container;
  const stats = inContext(
    "unable to get container cgroup stats",
    () => readStats(cgroupPaths, { tolerant: rootlessCgroups }),
  );
  if (rdtGroup === undefined) return stats;
  return { ...stats, intelRdt: inContext("unable to get container Intel RDT stats", () => readRdtStats(rdtGroup)) };
}
