/**
 * Compares users, groups and their mappings. Pure.
 *
 * @see credentials(7), user_namespaces(7)
 * @module
 */

import type { IdMapping, User } from "../../specs/config.ts";
import { mapText } from "../config/id_mappings.ts";
import { umaskOf } from "../state/exec_state.ts";
import { mappingsOfState, type RuncState } from "../state/runc_state.ts";
import { compare, type InspectFinding, judge, withoutConfig } from "./finding.ts";
import type { KernelView } from "./kernel_view.ts";
import { parseIdMap, wordsOf } from "./proc_files.ts";

/** The umask of a container whose config has none. runc 1.5.1, libcontainer/init_linux.go */
const DEFAULT_UMASK = 0o022;

/** `user`: process.user of config.json, which state.json does not keep; undefined if the file cannot be read. */
export function idFindings(state: RuncState, view: KernelView, user: User | undefined): readonly InspectFinding[] {
  const { uidMappings, gidMappings } = mappingsOfState(state);
  const status = view.process?.status;
  const topic = "ids";
  const field = "/process/user";
  const compareUser = user === undefined ? withoutConfig : compare;
  const groups = (user?.additionalGids ?? []).map((gid) => withHostId(gid, gidMappings));
  return [
    compareUser({
      topic,
      name: "uid",
      field: `${field}/uid`,
      config: user && withHostId(user.uid, uidMappings),
      kernel: status?.Uid && fourIds(status.Uid, uidMappings),
    }),
    compareUser({
      topic,
      name: "gid",
      field: `${field}/gid`,
      config: user && withHostId(user.gid, gidMappings),
      kernel: status?.Gid && fourIds(status.Gid, gidMappings),
    }),
    compareUser({
      topic,
      name: "additional groups",
      field: `${field}/additionalGids`,
      config: user && listText(groups),
      kernel: status?.Groups === undefined ? undefined : listText(
        wordsOf(status.Groups).map((gid) => fromHostId(Number(gid), gidMappings)),
      ),
    }),
    compare({
      topic,
      name: "umask",
      field: `${field}/umask`,
      config: octal(umaskOf(state) ?? DEFAULT_UMASK),
      kernel: status?.Umask,
    }),
    ...mapFinding("uidMappings", uidMappings, view.process?.uidMap),
    ...mapFinding("gidMappings", gidMappings, view.process?.gidMap),
  ];
}

function octal(mask: number): string {
  return mask.toString(8).padStart(4, "0");
}

/** The order of groups means nothing. */
function listText(groups: readonly string[]): string {
  return groups.length === 0 ? "none" : groups.toSorted((one, other) => parseInt(one) - parseInt(other)).join(", ");
}

/** `33 (100033 on the host)`; the second number only with a user namespace. */
function withHostId(id: number, mappings: readonly IdMapping[]): string {
  if (mappings.length === 0) return String(id);
  const range = mappings.find(({ containerID, size }) => id >= containerID && id < containerID + size);
  return range === undefined ? `${id} (not mapped)` : `${id} (${range.hostID + id - range.containerID} on the host)`;
}

function fromHostId(id: number, mappings: readonly IdMapping[]): string {
  if (mappings.length === 0) return String(id);
  const range = mappings.find(({ hostID, size }) => id >= hostID && id < hostID + size);
  return range === undefined
    ? `not mapped (${id} on the host)`
    : withHostId(range.containerID + id - range.hostID, mappings);
}

/** Real, effective, saved and file system id: one text if they are equal, as after execve of a usual program. */
function fourIds(value: string, mappings: readonly IdMapping[]): string {
  const [real, ...others] = wordsOf(value).map((id) => fromHostId(Number(id), mappings));
  if (others.every((other) => other === real)) return real!;
  const [effective, saved, fileSystem] = others;
  return `real ${real}, effective ${effective}, saved ${saved}, file system ${fileSystem}`;
}

function mapFinding(
  name: "uidMappings" | "gidMappings",
  mappings: readonly IdMapping[],
  kernel: string | undefined,
): readonly InspectFinding[] {
  if (mappings.length === 0) return [];
  const config = parseIdMap(mapText(mappings));
  const isSame = kernel !== undefined &&
    parseIdMap(kernel).split(", ").toSorted().join() === config.split(", ").toSorted().join();
  const finding = { topic: "ids", name, field: `/linux/${name}`, config } as const;
  return [judge({ ...finding, kernel: kernel === undefined ? undefined : parseIdMap(kernel) }, isSame)];
}
