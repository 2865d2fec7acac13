/**
 * Limits and statistics of a container's group in the resctrl file system. Runs in: parent.
 *
 * @see Documentation/arch/x86/resctrl.rst
 * @module
 */

import { isThere } from "../driver.ts";
import { childrenOf, readCgroupFile } from "../file.ts";
import { linesOf, parseCount } from "../stats/files.ts";

/** A group and its file system. */
export interface RdtPlace {
  /** Where resctrl is mounted. */
  readonly root: string;
  /** Directory of the class of service. */
  readonly path: string;
  /** Directory of the container's monitoring group. Without one, the whole class is measured. */
  readonly monitoringPath?: string;
}

/** Limits and counters of Intel RDT. Features that the hardware does not have are absent. */
export interface RdtStats {
  /** All lines of the class's schemata. */
  readonly schemata: readonly string[];
  /** L3 cache allocation. */
  readonly l3Cache?: RdtResource & {
    /** The mask of all cache ways, in hexadecimal. */
    readonly mask: string;
    /** The minimum number of bits in a mask. */
    readonly minBits: bigint;
  };
  /** Memory bandwidth allocation, usually in percent. */
  readonly memoryBandwidth?: RdtResource & {
    /** The step between two values. */
    readonly granularity: bigint;
    /** 1 if the delay scale is linear. */
    readonly isLinear: bigint;
    /** The minimum value. */
    readonly minimum: bigint;
  };
  /** Bytes transferred since the group was created, per L3 cache. */
  readonly transfers?: readonly RdtTransfers[];
  /** Bytes in use, per L3 cache. */
  readonly cacheUsage?: readonly bigint[];
}

/** The fields that both resources have. */
export interface RdtResource {
  /** The maximum number of classes. */
  readonly classes: bigint;
  /** The line in the root's schemata, which applies to processes without a class. */
  readonly rootSchema: string;
  /** The line in the group's schemata. */
  readonly schema: string;
}

/** Bytes transferred. */
export interface RdtTransfers {
  /** To and from all memory. */
  readonly total: bigint;
  /** To and from memory of the same node. */
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

/** mon_features lists the events that the hardware counts. Each event has a file per L3 cache. */
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

/** The last line of a resource. L3 may be split into L3CODE and L3DATA. */
function lineOf(schemata: readonly string[], resource: string): string {
  return schemata.findLast((line) => line.includes(resource))?.trim() ?? "";
}

function readNumber(directory: string, name: string): bigint {
  return parseCount(readCgroupFile(directory, name));
}
