/**
 * Files of the state directory: state.json, the note of a creation, the record of an end, resident files, and the kept
 * seccomp filters.
 *
 * @module
 */

import { formatIds, formatList } from "../../../lib/cli/output/state.ts";
import { exitJson, exitText } from "../../../lib/cli/output/exit.ts";
import { formatHooks } from "../../../lib/cli/output/hooks.ts";
import { dumpRequest } from "../../../lib/libcontainer/checkpoint/dump_request.ts";
import { externalDevices, externalMounts, externalNamespaces } from "../../../lib/libcontainer/checkpoint/external.ts";
import { mountPoints } from "../../../lib/libcontainer/checkpoint/mount_points.ts";
import { encodeReq } from "../../../lib/libcontainer/checkpoint/rpc.ts";
import { findingsOf } from "../../../lib/libcontainer/inspect/findings.ts";
import { listHooks } from "../../../lib/libcontainer/inspect/hooks.ts";
import { deleteActs, killActs, startCreatedActs } from "../../../lib/libcontainer/plans/parent/control.ts";
import { explainSteps } from "../../../lib/libcontainer/plans/whole.ts";
import { decodeEntry, encodeEntry } from "../../../lib/libcontainer/seccomp/cache.ts";
import { filterFlags } from "../../../lib/libcontainer/seccomp/profile.ts";
import { alternatives } from "../../../lib/libcontainer/seccomp/values.ts";
import { parseNote } from "../../../lib/libcontainer/state/creation_note.ts";
import {
  hasCpusetOf,
  memoryPolicyOf,
  noNewKeyringOf,
  personalityOf,
  umaskOf,
} from "../../../lib/libcontainer/state/exec_state.ts";
import { decodeExit, encodeExit, exitOf, RECORD_BY_MONITOR } from "../../../lib/libcontainer/state/exit_record.ts";
import { limitsOf } from "../../../lib/libcontainer/state/limits_state.ts";
import { completeProcess } from "../../../lib/libcontainer/state/process_state.ts";
import {
  addKnownExec,
  CAPABILITY_BYTES,
  type KnownExec,
  knownHead,
} from "../../../lib/libcontainer/state/known_exec.ts";
import {
  encodeResident,
  RESIDENT_LIMIT,
  residentOffsets,
  residentTexts,
} from "../../../lib/libcontainer/state/resident.ts";
import {
  cgroupPathsOf,
  deviceRulesOf,
  hooksOf,
  initOf,
  intelRdtOf,
  mappingsOfState,
  namespacesOf,
  ownsPids,
  parseRuncState,
  rdtGroupOf,
  rootfsOf,
  rootlessEuidOf,
  type RuncState,
  seccompOf,
  systemdPathOf,
} from "../../../lib/libcontainer/state/runc_state.ts";
import { describeState, formatState } from "../../../lib/libcontainer/state/state_text.ts";
import { withResources } from "../../../lib/libcontainer/state/to_runc_state.ts";
import stateOfRunc from "../../fixtures/runc_1_1_5_state.json" with { type: "json" };
import { fullConfig } from "../../unit/libcontainer/full_config.ts";
import { process, viewOf } from "../../unit/libcontainer/inspect/fixed.ts";
import { workOut } from "../../unit/libcontainer/work_out.ts";
import { mutateJson } from "../mutate_json.ts";
import { mutateBytes } from "../mutate_text.ts";
import type { Random } from "../random.ts";
import { configs } from "../seeds/configs.ts";
import { asBytes, asText, hold, type Target } from "../target.ts";
import { holdState, textOf } from "./configs.ts";

/** States of containers of ours and of runc's. */
const states: readonly unknown[] = [
  ...[fullConfig, configs.docker, configs.podman, configs["runc spec"]].map((config) =>
    JSON.parse(textOf(workOut(JSON.stringify(config)).state))
  ),
  stateOfRunc,
];

const stateText = (random: Random) => mutateJson(random.pick(states), random);

/** What `checkpoint` asks for. */
const dumpFacts = {
  isRoot: true,
  imagesDirFd: 5,
  namespaces: [],
  maskedFiles: [],
  cgroupBinds: [{ name: "memory", source: "/sys/fs/cgroup/memory/box" }],
  resolve: (path: string) => path,
};

const statuses = ["created", "running", "paused", "stopped"] as const;

/** Every question that commands have about a container. */
function askEverything(state: RuncState): number {
  const shown = statuses.map((status) => describeState(state, status));
  const hooks = hooksOf(state);
  const controlled = {
    id: state.id,
    bundle: shown[0]!.bundle,
    directory: "/run/runc/box",
    ownsPids: ownsPids(state),
    hooks,
    cgroups: Object.values(cgroupPathsOf(state)),
    rdtGroup: rdtGroupOf(state)?.path,
  };
  const acts = [
    ...deleteActs(controlled, { force: true }),
    ...killActs(controlled, { signal: 9 }),
    ...startCreatedActs(controlled),
  ];
  const profile = seccompOf(state);
  const rules = (profile?.syscalls ?? []).map(alternatives);
  const answers = [
    shown.map(formatState),
    formatList(shown, "table"),
    formatList(shown, "json"),
    formatIds(shown),
    formatHooks(listHooks(hooks)),
    explainSteps({ parent: acts }),
    [initOf(state), namespacesOf(state), mappingsOfState(state), intelRdtOf(state), deviceRulesOf(state)],
    [systemdPathOf(state), rootfsOf(state), rootlessEuidOf(state), rules, profile && filterFlags(profile)],
    [umaskOf(state), personalityOf(state), memoryPolicyOf(state), noNewKeyringOf(state), hasCpusetOf(state)],
    completeProcess(process, state),
    [externalMounts(state, dumpFacts), externalDevices(state, dumpFacts), externalNamespaces(state)],
    mountPoints(state, dumpFacts),
    findingsOf(state, viewOf(), process),
  ];
  const request = encodeReq(dumpRequest(state, { imagePath: "/images" }, dumpFacts));
  const limits = limitsOf(state);
  holdState(textOf(withResources(state, limits)));
  return textOf(answers).length + request.length;
}

/** The texts of a resident file are where its head says. */
function holdResident(file: Uint8Array<ArrayBuffer>): void {
  const view = new DataView(file.buffer);
  hold(file.length <= RESIDENT_LIMIT, () => `a resident file of ${file.length} bytes`);
  hold(view.getUint32(residentOffsets.length, true) === file.length, () => "the length of a resident file is wrong");
  residentTexts.forEach((name, index) => {
    const from = view.getUint32(residentOffsets.texts + 8 * index, true);
    const to = from + view.getUint32(residentOffsets.texts + 8 * index + 4, true);
    hold(to < file.length && file[to] === 0, () => `the text ${name} of a resident file does not end`);
  });
}

const state: Target = {
  name: "state",
  share: 15,
  make: stateText,
  run: (input) => {
    const state = parseRuncState(asText(input));
    // Numbers such as 1.0 are not written as they were read.
    holdState(textOf(parseRuncState(textOf(state))));
    return askEverything(state);
  },
};

const identity = [1n, 2n, 3n, 4n, 5n, 6n, 7n];

const resident: Target = {
  name: "resident",
  share: 10,
  make: stateText,
  run: (input) => {
    const file = encodeResident(parseRuncState(asText(input)), identity);
    if (file !== undefined) holdResident(file);
    return file?.length ?? 0;
  },
};

const note = {
  stage: { pid: 4242, startTime: 17 },
  cgroupPaths: { memory: "/sys/fs/cgroup/memory/box", pids: "/sys/fs/cgroup/pids/box" },
  systemd: { slice: "system.slice", prefix: "runc", name: "box" },
};

const creationNote: Target = {
  name: "note",
  share: 20,
  make: (random) => mutateJson(note, random),
  run: (input) => {
    const mountPoints = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup/pids"];
    const parsed = parseNote(asText(input), mountPoints);
    if (parsed === undefined) return 0;
    const paths = Object.values(parsed.cgroupPaths);
    const isBelow = (path: string) =>
      mountPoints.some((point) => path.startsWith(`${point}/`) && !path.includes("/../"));
    hold(paths.every(isBelow), () => `a note has the cgroups ${paths}`);
    return textOf(parsed).length;
  },
};

const records = [
  { waitStatus: 0, by: RECORD_BY_MONITOR, time: { seconds: 1_700_000_000, nanoseconds: 5 }, oomKills: 3 },
  { waitStatus: 9, by: RECORD_BY_MONITOR, time: { seconds: 1, nanoseconds: 999_999_999 } },
  { waitStatus: 0x8b, by: RECORD_BY_MONITOR },
] as const;

const exitRecord: Target = {
  name: "exit record",
  share: 40,
  make: (random) => mutateBytes(encodeExit(random.pick(records)), random),
  run: (input) => {
    const found = decodeExit(asBytes(input));
    if (found === undefined) return 0;
    const exit = exitOf(found);
    if (found.oomKills === undefined || Number.isSafeInteger(found.oomKills)) {
      const again = decodeExit(encodeExit(found));
      hold(textOf(again) === textOf(found), () => `${textOf(found)} is ${textOf(again)} when it is read again`);
    }
    return exitText(exit).length + exitJson("box", exit).length;
  },
};

const key = JSON.stringify({ profile: "x".repeat(100) });
const entry = encodeEntry(key, new Uint8Array(64).fill(6));

const keptFilter: Target = {
  name: "kept filter",
  share: 40,
  make: (random) => mutateBytes(entry, random),
  run: (input) => {
    const program = decodeEntry(key, asBytes(input));
    hold(program === undefined || program.every((byte) => byte === 6), () => "a filter that was changed is taken");
    return program?.length ?? 0;
  },
};

const knownFor = {
  identity,
  program: identity,
  namespaces: [1n, 2n, 3n, 4n],
  capabilities: new Uint8Array(CAPABILITY_BYTES),
};

const knownExec = (request: string): KnownExec => ({
  flags: 2,
  argv: ["box", "true"],
  root: "/run/runc",
  log: "",
  format: "text",
  request: new TextEncoder().encode(request),
  requestPath: "",
  passwd: new Uint8Array(),
  home: new Uint8Array(2),
  rlimits: [],
  init: 17,
  namespaces: [{ number: 33, file: "mnt" }],
  numbers: { lowest: 32, sync: 34, proc: 35 },
  image: new Uint8Array(64),
  monitor: new Uint8Array(),
  pidPlace: 0,
  streams: [0, 0, 0],
  owner: { uid: 0, gid: 0 },
  ownArguments: 7,
});

const knownFile = addKnownExec(addKnownExec(undefined, knownFor, knownExec("{}")), knownFor, knownExec("[]"))!;

const known: Target = {
  name: "known execs",
  share: 20,
  make: (random) => mutateBytes(knownFile, random),
  run: (input) => {
    const file = addKnownExec(asBytes(input), knownFor, knownExec("new"))!;
    const view = new DataView(file.buffer);
    hold(view.getUint32(knownHead.length, true) === file.length, () => "the length of known execs is wrong");
    hold(view.getUint32(knownHead.count, true) >= 1, () => "the new exec is not kept");
    hold(file.subarray(-8).every((byte) => byte === 0), () => "known execs do not end with zeroes");
    return file.length;
  },
};

/** Targets of files that the runtime has written. */
export const stateTargets: readonly Target[] = [state, resident, known, creationNote, exitRecord, keptFilter];
