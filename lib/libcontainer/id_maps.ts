/**
 * The id maps of a new user namespace, written by the parent. Runs in: parent.
 *
 * @module
 */

import type { IdMapping } from "../specs/config.ts";
import { RuncError } from "../errors.ts";

/** `container host size` a line. user_namespaces(7), "User and group ID mappings" */
function mapText(mappings: readonly IdMapping[]): string {
  return mappings.map(({ containerID, hostID, size }) => `${containerID} ${hostID} ${size}\n`).join("");
}

/** As much of a map as an error of readable length has room for. */
function shown(text: string): string {
  return JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}...` : text);
}

function write(path: string, text: string, field: string): void {
  try {
    Deno.writeTextFileSync(path, text, { create: false });
  } catch (cause) {
    throw new RuncError(
      "syscall-failed",
      `cannot write ${shown(text)} to ${path}: ${(cause as Error).message}`,
      {
        field,
        cause,
        hint: "mapping ids that are not your own needs CAP_SETUID and CAP_SETGID, or newuidmap and newgidmap",
      },
    );
  }
}

/** Writes uid_map and gid_map of process `pid`. @throws {RuncError} with the field. */
export function writeIdMaps(pid: number, maps: { uid: readonly IdMapping[]; gid: readonly IdMapping[] }): void {
  write(`/proc/${pid}/gid_map`, mapText(maps.gid), "/linux/gidMappings");
  write(`/proc/${pid}/uid_map`, mapText(maps.uid), "/linux/uidMappings");
}

/** The host id of the container's root; without a mapping of it, root. */
export function hostRoot(mappings: readonly IdMapping[] | undefined): number {
  const found = mappings?.find(({ containerID, size }) => containerID === 0 && size > 0);
  return found?.hostID ?? 0;
}
