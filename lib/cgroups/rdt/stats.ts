/**
 * What a container's group of the resctrl file system may use, and what it does. Runs in: parent.
 *
 * @see Documentation/arch/x86/resctrl.rst
 * @module
 */

import { isThere } from "../driver.ts";
import { childrenOf, readCgroupFile } from "../file.ts";
import { linesOf, parseCount } from "../stats/files.ts";

/** A group and the file system that it is in. */
export interface RdtPlace {
  /** Where resctrl is mounted. */
  readonly root: string;
  /** Directory of the class of service. */
  readonly path: string;
  /** Directory of the container's monitoring group; without one the whole class is measured. */
  readonly monitoringPath?: string;
}

/** Limits and counts of Intel RDT. What the hardware cannot do is absent. */
export interface RdtStats {
  /** All lines that the class has. */
  readonly schemata: readonly string[];
  /** Shares of the L3 cache. */
  readonly l3Cache?: RdtResource & {
    /** All ways that there are, in hexadecimal. */
    readonly mask: string;
    /** How many of them a share has at least. */
    readonly minBits: bigint;
  };
  /** Shares of the memory's bandwidth; all of it in percent, as a rule. */
  readonly memoryBandwidth?: RdtResource & {
    /** Step between two shares. */
    readonly granularity: bigint;
    /** 1 where delays grow with the share. */
    readonly isLinear: bigint;
    /** The least share. */
    readonly minimum: bigint;
  };
  /** Bytes read and written since the group was made, for each L3 cache. */
  readonly transfers?: readonly RdtTransfers[];
  /** Bytes of each L3 cache that are in use. */
  readonly cacheUsage?: readonly bigint[];
}

/** What both resources have. */
export interface RdtResource {
  /** How many classes there can be. */
  readonly classes: bigint;
  /** The line of the root's schemata: what those without a class may use. */
  readonly rootSchema: string;
  /** The line of the group's schemata. */
  readonly schema: string;
}

/** Bytes moved. */
export interface RdtTransfers {
  /** From and to all memory. */
  readonly total: bigint;
  /** From and to that of the same node. */
  readonly local: bigint;
}

/** Reads the statistics of a group. @throws {RuncError} */
export function readRdtStats({ root, path, monitoringPath = path }: RdtPlace): RdtStats {
  const rootSchemata = readSchemata(root);
  const schemata = readSchemata(path);
  const resource = (info: string, name: string): RdtResource => ({
    classes: readNumber(info, "num_closids"),
    rootSchema: lineOf(rootSchemata, name),
    schema: lineOf(schemata, name),
  });
  const [l3, mb] = [`${root}/info/L3`, `${root}/info/MB`];
  return {
    schemata,
    ...(isThere(l3)
      ? {
        l3Cache: {
          ...resource(l3, "L3"),
          mask: readCgroupFile(l3, "cbm_mask").trim(),
          minBits: readNumber(l3, "min_cbm_bits"),
        },
      }
      : {}),
    ...(isThere(mb)
      ? {
        memoryBandwidth: {
          ...resource(mb, "MB"),
          granularity: readNumber(mb, "bandwidth_gran"),
          isLinear: readNumber(mb, "delay_linear"),
          minimum: readNumber(mb, "min_bandwidth"),
        },
      }
      : {}),
    ...readMonitoring(root, monitoringPath),
  };
}

/** mon_features has the events that the hardware counts; each has a file for every L3 cache. */
function readMonitoring(root: string, path: string): Pick<RdtStats, "transfers" | "cacheUsage"> {
  if (!isThere(`${root}/info/L3_MON`)) return {};
  const features = linesOf(readCgroupFile(`${root}/info/L3_MON`, "mon_features"));
  const caches = childrenOf(`${path}/mon_data`).toSorted();
  const read = (cache: string, name: string) => features.includes(name) ? readNumber(cache, name) : 0n;
  const countsTransfers = features.includes("mbm_total_bytes") || features.includes("mbm_local_bytes");
  return {
    ...(countsTransfers
      ? {
        transfers: caches.map((cache) => ({
          total: read(cache, "mbm_total_bytes"),
          local: read(cache, "mbm_local_bytes"),
        })),
      }
      : {}),
    ...(features.includes("llc_occupancy") ? { cacheUsage: caches.map((cache) => read(cache, "llc_occupancy")) } : {}),
  };
}

function readSchemata(group: string): readonly string[] {
  return readCgroupFile(group, "schemata").trim().split("\n");
}

/** The last line that is of a resource: L3 may be split into L3CODE and L3DATA. */
function lineOf(schemata: readonly string[], resource: string): string {
  return schemata.findLast((line) => line.includes(resource))?.trim() ?? "";
}

function readNumber(directory: string, name: string): bigint {
  return parseCount(readCgroupFile(directory, name));
}
