/**
 * The id maps of a new user namespace. The parent writes them: itself where the kernel allows it, else with newuidmap
 * and newgidmap, which know which ids belong to which user. Runs in: parent.
 *
 * @module
 */

import type { IdMapping } from "../../specs/config.ts";
import { mapText } from "../config/id_mappings.ts";
import { RuncError } from "../../errors.ts";
import type { Waits } from "../../ffi/waits.ts";
import type { GroupFacts } from "../config/validate/facts.ts";
import type { Runtime } from "../runtime.ts";
import { findProgram, runTool } from "./host_tool.ts";

/** The writer's effective ids. */
export interface MapWriter {
  readonly uid: number;
  readonly gid: number;
}

/** The two maps: their files, tools, databases and config fields. */
const kinds = {
  gid: { file: "gid_map", tool: "newgidmap", database: "/etc/subgid", field: "/linux/gidMappings" },
  uid: { file: "uid_map", tool: "newuidmap", database: "/etc/subuid", field: "/linux/uidMappings" },
} as const;

type Kind = typeof kinds[keyof typeof kinds];

/** The map, cut to a length that suits an error message. */
function shown(text: string): string {
  return JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}...` : text);
}

/** The arguments of newuidmap and newgidmap. newuidmap(1) */
export function mapArguments(pid: number, mappings: readonly IdMapping[]): string[] {
  return [pid, ...mappings.flatMap(({ containerID, hostID, size }) => [containerID, hostID, size])].map(String);
}

/**
 * Whether an unprivileged `writer` may write this group map: it maps the writer's own group only. The kernel then
 * requires that setgroups(2) is denied first, because dropping a group can open a file that denies access to that
 * group. user_namespaces(7)
 */
export function mapsOwnGroupOnly(mappings: readonly IdMapping[], writer: MapWriter): boolean {
  return writer.uid !== 0 && mappings.length === 1 && mappings[0]!.size === 1 && mappings[0]!.hostID === writer.gid;
}

/**
 * What a rootless container can do with groups in its new user namespace. `isDenied`: setgroups(2) is denied in the
 * namespace that it is created in.
 */
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

function* write(
  runtime: Runtime,
  pid: number,
  kind: Kind,
  mappings: readonly IdMapping[],
  writer: MapWriter,
): Waits<void> {
  const path = `/proc/${pid}/${kind.file}`;
  const text = mapText(mappings);
  const cause = tryWrite(path, text);
  if (cause === undefined) return;
  // EPERM: the caller may not map these ids.
  if (writer.uid !== 0 && cause instanceof Deno.errors.PermissionDenied) {
    return yield* writeByTool(runtime, pid, kind, mappings);
  }
  throw new RuncError(
    "syscall-failed",
    `cannot write ${shown(text)} to ${path}: ${(cause as Error).message}`,
    { field: kind.field, cause, hint: "mapping other users' ids requires CAP_SETUID and CAP_SETGID" },
  );
}

function* writeByTool(
  runtime: Runtime,
  pid: number,
  { tool, database, field }: Kind,
  mappings: readonly IdMapping[],
): Waits<void> {
  const args = mapArguments(pid, mappings);
  const path = findProgram(runtime, tool);
  if (path === undefined) {
    throw new RuncError("syscall-failed", `cannot map other users' ids: ${tool} is not installed`, {
      field,
      hint: "install the package uidmap (Debian), shadow-utils (Fedora) or shadow-subids (Alpine)",
    });
  }
  const { isSuccess, errors } = yield* runTool(runtime, path, [tool, ...args]);
  if (isSuccess) return;
  throw new RuncError("syscall-failed", `${tool} ${args.join(" ")}: ${errors.trim() || "failed"}`, {
    field,
    hint: `map only your own id and the ids that ${database} lists for you, each once`,
  });
}

/**
 * Writes uid_map and gid_map of process `pid`, the first process in its user namespace.
 *
 * @throws {RuncError} `syscall-failed` with the field.
 */
export function* writeIdMaps(
  runtime: Runtime,
  pid: number,
  maps: { uid: readonly IdMapping[]; gid: readonly IdMapping[] },
  writer: MapWriter,
): Waits<void> {
  if (mapsOwnGroupOnly(maps.gid, writer)) {
    const cause = tryWrite(`/proc/${pid}/setgroups`, "deny");
    if (cause !== undefined) {
      throw new RuncError("syscall-failed", `cannot deny setgroups for process ${pid}: ${(cause as Error).message}`, {
        field: kinds.gid.field,
        cause,
      });
    }
  }
  yield* write(runtime, pid, kinds.gid, maps.gid, writer);
  yield* write(runtime, pid, kinds.uid, maps.uid, writer);
}
