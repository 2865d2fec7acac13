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

function write(path: string, text: string, field: string): void {
  try {
    Deno.writeTextFileSync(path, text, { create: false });
  } catch (cause) {
    throw new RuncError(
      "syscall-failed",
      `cannot write ${JSON.stringify(text)} to ${path}: ${(cause as Error).message}`,
      {
        field,
        cause,
        hint: "mapping ids that are not your own needs CAP_SETUID and CAP_SETGID, or newuidmap and newgidmap",
      },
    );
  }
}

/** A user may map nothing but the own id, once, without help. user_namespaces(7) */
function isOwnAlone(mappings: readonly IdMapping[], own: number | null): boolean {
  const [first, ...others] = mappings;
  return first?.hostID === own && first.size === 1 && others.length === 0;
}

/** newuidmap(1) and newgidmap(1) map what /etc/subuid and /etc/subgid grant. */
function mapByTool(tool: "newuidmap" | "newgidmap", pid: number, mappings: readonly IdMapping[], field: string): void {
  const numbers = mappings.flatMap(({ containerID, hostID, size }) => [containerID, hostID, size]);
  const hint = "the ranges of a user who is not root stand in /etc/subuid and /etc/subgid";
  const fail = (why: string, cause?: unknown) => {
    throw new RuncError("syscall-failed", `cannot map ids with ${tool}: ${why}`, { field, hint, cause });
  };
  try {
    const { success, stderr } = new Deno.Command(tool, { args: [pid, ...numbers].map(String), stdin: "null" })
      .outputSync();
    if (!success) fail(new TextDecoder().decode(stderr).trim());
  } catch (cause) {
    if (cause instanceof RuncError) throw cause;
    fail("Debian has it in the package uidmap", cause);
  }
}

/** Writes uid_map and gid_map of process `pid`. @throws {RuncError} with the field. */
export function writeIdMaps(pid: number, maps: { uid: readonly IdMapping[]; gid: readonly IdMapping[] }): void {
  const isRoot = Deno.uid() === 0;
  if (isRoot || isOwnAlone(maps.gid, Deno.gid())) {
    // A user who could leave groups could get at files that their group is kept from (CVE-2014-8989).
    if (!isRoot) write(`/proc/${pid}/setgroups`, "deny", "/linux/gidMappings");
    write(`/proc/${pid}/gid_map`, mapText(maps.gid), "/linux/gidMappings");
  } else mapByTool("newgidmap", pid, maps.gid, "/linux/gidMappings");
  if (isRoot || isOwnAlone(maps.uid, Deno.uid())) {
    write(`/proc/${pid}/uid_map`, mapText(maps.uid), "/linux/uidMappings");
  } else mapByTool("newuidmap", pid, maps.uid, "/linux/uidMappings");
}

/** The host id of the container's root; without a mapping of it, root. */
export function hostRoot(mappings: readonly IdMapping[] | undefined): number {
  const found = mappings?.find(({ containerID, size }) => containerID === 0 && size > 0);
  return found?.hostID ?? 0;
}
