/**
 * The id maps of a new user namespace, written by the parent: by itself where the kernel lets it, else by newuidmap and newgidmap, which
 * know whose ids are whose. Runs in: parent.
 *
 * @module
 */

import type { IdMapping } from "../../specs/config.ts";
import { mapText } from "../config/id_mappings.ts";
import { RuncError } from "../../errors.ts";
import type { GroupFacts } from "../config/validate/facts.ts";

/** Who writes the maps: effective ids. */
export interface MapWriter {
  readonly uid: number;
  readonly gid: number;
}

/** The two maps and what belongs to each. */
const kinds = {
  gid: { file: "gid_map", tool: "newgidmap", database: "/etc/subgid", field: "/linux/gidMappings" },
  uid: { file: "uid_map", tool: "newuidmap", database: "/etc/subuid", field: "/linux/uidMappings" },
} as const;

type Kind = typeof kinds[keyof typeof kinds];

/** As much of a map as an error of readable length has room for. */
function shown(text: string): string {
  return JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}...` : text);
}

/** The arguments of newuidmap and newgidmap. newuidmap(1) */
export function mapArguments(pid: number, mappings: readonly IdMapping[]): string[] {
  return [pid, ...mappings.flatMap(({ containerID, hostID, size }) => [containerID, hostID, size])].map(String);
}

/**
 * Whether a group map may be written by an unprivileged `writer`: it has its own group and no other. The kernel then wants setgroups(2)
 * given up first, since dropping a group can open a file that the group is denied. user_namespaces(7)
 */
export function mapsOwnGroupOnly(mappings: readonly IdMapping[], writer: MapWriter): boolean {
  return writer.uid !== 0 && mappings.length === 1 && mappings[0]!.size === 1 && mappings[0]!.hostID === writer.gid;
}

/** What a user's container can have of groups, its own user namespace being made. `isDenied`: setgroups(2) is, in the namespace that it is made in. */
export function groupFacts(
  mappings: readonly IdMapping[],
  { isDenied, writer }: { isDenied: boolean; writer: MapWriter },
): GroupFacts {
  return { mappings, isDenied: isDenied || mapsOwnGroupOnly(mappings, writer) };
}

function tryWrite(path: string, text: string): unknown {
  try {
    Deno.writeTextFileSync(path, text, { create: false });
    return undefined;
  } catch (error) {
    return error;
  }
}

function write(pid: number, kind: Kind, mappings: readonly IdMapping[], writer: MapWriter): void {
  const path = `/proc/${pid}/${kind.file}`;
  const text = mapText(mappings);
  const cause = tryWrite(path, text);
  if (cause === undefined) return;
  // EPERM: those ids are not ours to map.
  if (writer.uid !== 0 && cause instanceof Deno.errors.PermissionDenied) return writeByTool(pid, kind, mappings);
  throw new RuncError(
    "syscall-failed",
    `cannot write ${shown(text)} to ${path}: ${(cause as Error).message}`,
    { field: kind.field, cause, hint: "mapping ids that are not your own needs CAP_SETUID and CAP_SETGID" },
  );
}

function writeByTool(pid: number, { tool, database, field }: Kind, mappings: readonly IdMapping[]): void {
  const args = mapArguments(pid, mappings);
  const line = `${tool} ${args.join(" ")}`;
  let said: string;
  try {
    const { success, stderr } = new Deno.Command(tool, { args, stdin: "null", stdout: "null" }).outputSync();
    if (success) return;
    said = new TextDecoder().decode(stderr).trim();
  } catch (cause) {
    if (!(cause instanceof Deno.errors.NotFound)) throw cause;
    throw new RuncError("syscall-failed", `cannot map ids that are not your own: ${tool} is not installed`, {
      field,
      cause,
      hint: "it is in the package uidmap (Debian), shadow-utils (Fedora), shadow-subids (Alpine)",
    });
  }
  throw new RuncError("syscall-failed", `${line}: ${said === "" ? "failed" : said}`, {
    field,
    hint: `your own id and those that ${database} lists for you can be mapped, each once`,
  });
}

/**
 * Writes uid_map and gid_map of process `pid`, the first one in its user namespace.
 *
 * @throws {RuncError} `syscall-failed` with the field.
 */
export function writeIdMaps(
  pid: number,
  maps: { uid: readonly IdMapping[]; gid: readonly IdMapping[] },
  writer: MapWriter,
): void {
  if (mapsOwnGroupOnly(maps.gid, writer)) {
    const cause = tryWrite(`/proc/${pid}/setgroups`, "deny");
    if (cause !== undefined) {
      throw new RuncError("syscall-failed", `cannot give up setgroups of process ${pid}: ${(cause as Error).message}`, {
        field: kinds.gid.field,
        cause,
      });
    }
  }
  write(pid, kinds.gid, maps.gid, writer);
  write(pid, kinds.uid, maps.uid, writer);
}
