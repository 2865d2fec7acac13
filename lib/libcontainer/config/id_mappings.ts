/**
 * Helpers for linux.uidMappings and linux.gidMappings. Pure.
 *
 * @module
 */

import type { Config, IdMapping } from "../../specs/config.ts";

/** Each line is `container host size`. user_namespaces(7), "User and group ID mappings" */
export function mapText(mappings: readonly IdMapping[]): string {
  return mappings.map(({ containerID, hostID, size }) => `${containerID} ${hostID} ${size}\n`).join("");
}

/** The host id of the container's root; 0 without a mapping of it. */
export function hostRoot(mappings: readonly IdMapping[] | undefined): number {
  const found = mappings?.find(({ containerID, size }) => containerID === 0 && size > 0);
  return found?.hostID ?? 0;
}

/** The host ids of the container's root. */
export function rootOwner(config: Config): { uid: number; gid: number } {
  return { uid: hostRoot(config.linux?.uidMappings), gid: hostRoot(config.linux?.gidMappings) };
}

/** Whether the content of /proc/self/uid_map is the host's: every id maps to itself. user_namespaces(7) */
export function isHostIdMap(uidMap: string): boolean {
  return /^\s*0\s+0\s+4294967295\s*$/.test(uidMap);
}
