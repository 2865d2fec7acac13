/**
 * linux.uidMappings and linux.gidMappings: what they say. Pure.
 *
 * @module
 */

import type { Config, IdMapping } from "../../specs/config.ts";

/** `container host size` a line. user_namespaces(7), "User and group ID mappings" */
export function mapText(mappings: readonly IdMapping[]): string {
  return mappings.map(({ containerID, hostID, size }) => `${containerID} ${hostID} ${size}\n`).join("");
}

/** The host id of the container's root; without a mapping of it, root. */
export function hostRoot(mappings: readonly IdMapping[] | undefined): number {
  const found = mappings?.find(({ containerID, size }) => containerID === 0 && size > 0);
  return found?.hostID ?? 0;
}

/** For callers that must know who the container's root is on the host. */
export function rootOwner(config: Config): { uid: number; gid: number } {
  return { uid: hostRoot(config.linux?.uidMappings), gid: hostRoot(config.linux?.gidMappings) };
}

/** Whether the content of /proc/self/uid_map is the host's: every id maps to itself. user_namespaces(7) */
export function isHostIdMap(uidMap: string): boolean {
  return /^\s*0\s+0\s+4294967295\s*$/.test(uidMap);
}
