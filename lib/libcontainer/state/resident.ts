/**
 * The file `resident` beside state.json: what a command that wakes no engine has to know of a container. Pure.
 *
 * The front of the program (tools/snapshot/front) reads it. It says nothing that state.json does not say, and is valid
 * only while state.json is the file that it was made from: its identity, size and times are in it. So nobody who writes
 * state.json has to know about it. Numbers are little-endian:
 *
 * - 0: 8 bytes, {@link RESIDENT_MAGIC}
 * - 8: 4 bytes, the length of the file
 * - 12: 4 bytes, the {@link Trait}s of the container
 * - 16: 7 words of 8 bytes, of the `struct stat` of state.json: {@link identityOffsets}
 * - 72: 4 bytes, the pid of init; 4 bytes of zero
 * - 80: of each text of {@link residentTexts}: its offset and its length in bytes, 4 bytes each
 * - the texts, in UTF-8, each followed by a NUL
 *
 * @module
 */

import type { Status } from "../../specs/state.ts";
import {
  cgroupPathsOf,
  hooksOf,
  initOf,
  isUnfinished,
  ownsPids,
  rdtGroupOf,
  rootlessCgroupsOf,
  type RuncState,
  systemdOf,
} from "./runc_state.ts";
import { describeState, formatState } from "./state_text.ts";

/** The file's name in the state directory. */
export const RESIDENT = "resident";
/** The first bytes. The last of them is the version, which changes with the format and with the output of `state`. */
export const RESIDENT_MAGIC = "runcRES\x01";
/** Where a larger file would be needed, there is none. */
export const RESIDENT_LIMIT = 32 * 1024;

/** What of a container changes the acts of commands on it. Bits. */
export const Trait = { poststartHooks: 1, poststopHooks: 2, sharedPids: 4 } as const;

/** Offsets of the parts. */
export const residentOffsets = { magic: 0, length: 8, traits: 12, identity: 16, pid: 72, texts: 80 } as const;

/** Offsets in `struct stat` of what identifies state.json: device, inode, size, and the times of changes. stat(2) */
export const identityOffsets = [0, 8, 48, 88, 96, 104, 112] as const;

/** The size of a word of the identity in bytes. */
export const IDENTITY_WORD = 8;

/** The names of the texts, in the order of their places. */
export const residentTexts = [
  /** The file of /proc with the start time of init. */
  "processFile",
  /** The start time, as that file shows it. */
  "startTime",
  /** The output of `state`, by status. */
  "created",
  "running",
  "paused",
  "stopped",
  /** On cgroup v1: the directory of the freezer's hierarchy. */
  "freezerCgroup",
  /** The freezer's file in the container's cgroup; empty if it has no freezer. */
  "freezerFile",
  /** On cgroup v1: the file that tells whether the cgroup itself is frozen, or one above it. */
  "selfFreezingFile",
  /** The cgroup that has to exist for a container to be paused. */
  "mainCgroup",
  /** The directories of the cgroups, in the order in which they are removed, each followed by a NUL. */
  "cgroups",
] as const;

/** The name of a text. */
export type ResidentText = typeof residentTexts[number];

/** The number of bytes before the texts. */
const HEAD = residentOffsets.texts + 8 * residentTexts.length;

const statuses = ["created", "running", "paused", "stopped"] as const satisfies readonly Status[];

/**
 * Encodes a container's state; undefined if commands on it need more than the front can do. `identity`: the words of
 * {@link identityOffsets}.
 */
export function encodeResident(state: RuncState, identity: readonly bigint[]): Uint8Array<ArrayBuffer> | undefined {
  // Systemd has to be asked, resctrl groups are found by mounts, and what rootless containers lack depends on the caller.
  const isServed = !systemdOf(state) && !rootlessCgroupsOf(state) && !isUnfinished(state) &&
    rdtGroupOf(state) === undefined;
  const texts = isServed ? textsOf(state) : undefined;
  if (texts === undefined) return undefined;
  const encoded = residentTexts.map((name) => new TextEncoder().encode(`${texts[name]}\0`));
  const file = new Uint8Array(encoded.reduce((sum, { length }) => sum + length, HEAD));
  if (file.length > RESIDENT_LIMIT) return undefined;
  const view = new DataView(file.buffer);
  file.set(new TextEncoder().encode(RESIDENT_MAGIC), residentOffsets.magic);
  view.setUint32(residentOffsets.length, file.length, true);
  view.setUint32(residentOffsets.traits, traitsOf(state), true);
  identity.forEach((word, index) =>
    view.setBigUint64(residentOffsets.identity + IDENTITY_WORD * index, BigInt.asUintN(64, word), true)
  );
  view.setUint32(residentOffsets.pid, initOf(state).pid, true);
  let end = HEAD;
  encoded.forEach((text, index) => {
    view.setUint32(residentOffsets.texts + 8 * index, end, true);
    view.setUint32(residentOffsets.texts + 8 * index + 4, text.length - 1, true);
    file.set(text, end);
    end += text.length;
  });
  return file;
}

function traitsOf(state: RuncState): number {
  const { poststart = [], poststop = [] } = hooksOf(state);
  return (poststart.length === 0 ? 0 : Trait.poststartHooks) | (poststop.length === 0 ? 0 : Trait.poststopHooks) |
    (ownsPids(state) ? 0 : Trait.sharedPids);
}

/** Undefined if a path contains what ends a text. */
function textsOf(state: RuncState): Readonly<Record<ResidentText, string>> | undefined {
  const { pid, startTime } = initOf(state);
  const paths = cgroupPathsOf(state);
  const directories = [...new Set(Object.values(paths))];
  if (directories.some((path) => path.includes("\0") || !path.startsWith("/"))) return undefined;
  const output = statuses.map((status) => [status, formatState(describeState(state, status))] as const);
  return {
    processFile: `/proc/${pid}/stat`,
    startTime: String(startTime),
    ...Object.fromEntries(output) as Record<typeof statuses[number], string>,
    ...freezerTexts(paths),
    cgroups: directories.map((path) => `${path}\0`).join(""),
  };
}

function freezerTexts(
  paths: Readonly<Record<string, string>>,
): Readonly<Record<"freezerCgroup" | "freezerFile" | "selfFreezingFile" | "mainCgroup", string>> {
  const unified = paths[""];
  // As the drivers choose: with controllers, cgroup2 is only one of the hierarchies.
  if (unified !== undefined && Object.keys(paths).length === 1) {
    return { freezerCgroup: "", freezerFile: `${unified}/cgroup.freeze`, selfFreezingFile: "", mainCgroup: unified };
  }
  const { freezer, devices = Object.values(paths)[0] ?? "" } = paths;
  if (freezer === undefined) return { freezerCgroup: "", freezerFile: "", selfFreezingFile: "", mainCgroup: devices };
  return {
    freezerCgroup: freezer,
    freezerFile: `${freezer}/freezer.state`,
    selfFreezingFile: `${freezer}/freezer.self_freezing`,
    mainCgroup: devices,
  };
}
