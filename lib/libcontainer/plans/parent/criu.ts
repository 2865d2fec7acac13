/**
 * What the parent does to save the processes of a container, and to make a container from saved ones, in order. Pure.
 *
 * CRIU does the work in one request. At certain moments it waits for an answer, and the acts between such an `awaitCriu`
 * and its `answerCriu` are done at that moment.
 *
 * @module
 */

import type { CheckpointOptions, CriuRestoreOptions } from "../../config/criu_options.ts";
import { makesNamespace } from "../../config/namespaces.ts";
import { type Act, act, type CriuMoment, type Undo, type VerbOf } from "./act.ts";
import { type Controlled, lockState, readStatus, unlockState } from "./control.ts";
import { makeState, moveDeviceActs, runtimeHookActs } from "./create.ts";
import { type Entrant, limitActs, makeCgroups, makeRdtGroup, type ResourceInput } from "./resources.ts";

const endCriu: Undo = { label: "end CRIU", does: { verb: "endCriu" } };
const refuse: Undo = { label: "let CRIU take back what it has done", does: { verb: "refuseCriu" } };

/** The options of a request, beside the places of files, which other acts show. */
const shown = [
  "parentPath",
  "leaveRunning",
  "tcpEstablished",
  "tcpSkipInFlight",
  "externalUnixSockets",
  "shellJob",
  "fileLocks",
  "linkRemap",
  "manageCgroupsMode",
  "autoDedup",
  "lazyPages",
  "pageServer",
  "lsmProfile",
  "lsmMountContext",
] as const satisfies readonly (keyof (CheckpointOptions & CriuRestoreOptions))[];

function given(options: CheckpointOptions & CriuRestoreOptions): Readonly<Record<string, unknown>> {
  return Object.fromEntries(shown.map((name) => [name, options[name]]).filter(([, value]) => Boolean(value)));
}

function awaitCriu(label: string, moment: CriuMoment, hands: Pick<VerbOf<"awaitCriu">, "hands"> = {}): Act {
  return act(`wait for CRIU: ${label}`, "", { verb: "awaitCriu", moment, ...hands });
}

const letGo = act("let CRIU go on", "", { verb: "answerCriu" });
const startCriu = act("start CRIU", "", { verb: "startCriu" }, { undo: [endCriu] });

/** Saves the processes of a container. {@link destroyActs} then removes it. After a failure it runs as before. */
export function dumpActs(
  container: Pick<Controlled, "directory">,
  options: CheckpointOptions,
): readonly Act[] {
  const { imagePath, workPath, preDump = false, lazyPages = false, statusFd } = options;
  const type = preDump ? "PRE_DUMP" : "DUMP";
  return [
    lockState(container),
    readStatus(["running", "paused"], { message: "Container cannot be checkpointed in {} state" }),
    // Before anything is made.
    act("find CRIU, which this user must be allowed to use", "", { verb: "findCriu" }),
    startCriu,
    act("ask CRIU for its version and for what it can do", "", {
      verb: "checkCriu",
      features: [...(preDump ? ["mem_track" as const] : []), ...(lazyPages ? ["lazy_pages" as const] : [])],
    }),
    ...(lazyPages && statusFd !== undefined
      ? [act("check the status descriptor", "", { verb: "checkStatusFd", fd: statusFd })]
      : []),
    act("make and open the directories of the images and of CRIU's log", "", {
      verb: "openImages",
      images: imagePath,
      work: workPath,
      makes: true,
    }),
    // The next dump writes it; a pre-dump saves memory only.
    ...(preDump ? [] : [act("write what CRIU does not save", "", { verb: "writeImageFacts", path: imagePath })]),
    act(`ask CRIU to save the processes${preDump ? "' memory" : ""}`, "", {
      verb: "requestCriu",
      type,
      options: given(options),
    }, {
      undo: [
        refuse,
        endCriu,
        // CRIU thaws what it has frozen, unless it was killed.
        { label: "thaw the cgroup", does: { verb: "thaw" }, when: [{ flag: "paused", is: false }] },
      ],
    }),
    ...(lazyPages ? lazyActs(statusFd) : []),
    awaitCriu("the processes are saved", "answer"),
    // After a pre-dump CRIU waits for the next one, and takes the end of the stream for a failure.
    act("wait for CRIU's end", "", { verb: "awaitCriuEnd", ...(preDump ? { mayFail: true } : {}) }),
    unlockState,
  ];
}

/** Waiting for the last page may take for ever, and `delete --force` must be able to give it up. */
function lazyActs(statusFd: number | undefined): readonly Act[] {
  return [
    awaitCriu("the memory can be fetched", "status-ready"),
    unlockState,
    ...(statusFd === undefined
      ? []
      : [act("tell the caller that the memory can be fetched", "", { verb: "tellReady", fd: statusFd })]),
    letGo,
  ];
}

/** What a restore is made from. */
export interface RestoreInput extends ResourceInput {
  readonly bundle: string;
  readonly rootfs: string;
  /** Where the rootfs is mounted for CRIU. */
  readonly criuRoot: string;
  /** The directory of the sd_notify proxy's socket, if there is to be one. */
  readonly notifyDirectory?: string;
  /** The namespaces that CRIU gets as descriptors: their names for CRIU, and their paths. */
  readonly namespaces: readonly { readonly key: string; readonly path: string }[];
  readonly options: CriuRestoreOptions;
}

/** CRIU, which makes the processes. It kills them if it fails, but not if it was killed itself. */
const entrant: Entrant = {
  name: "CRIU",
  ends: [refuse, endCriu],
  join: { verb: "joinCgroups", who: "CRIU" },
  leaves: true,
};

/** Makes a container from saved processes, which run in the end. */
export function restoreActs(input: RestoreInput): readonly Act[] {
  const { config, directory, rootfs, criuRoot, namespaces, options } = input;
  const saved = { verb: "saveState", path: `${directory}/state.json` } as const;
  const unmount = { label: "unmount the rootfs", does: { verb: "unmountRootfs", path: criuRoot } } as const;
  return [
    // Before anything is made.
    act("find CRIU, which this user must be allowed to use", "", { verb: "findCriu", mounts: true }),
    ...makeState(input),
    act("save the state, so that delete finds what there is if this process is killed", "", saved),
    act("make the places of the mounts", "/mounts", { verb: "makeMountPoints" }),
    act("mount the rootfs for CRIU", "/root/path", { verb: "mountRootfs", from: rootfs, path: criuRoot }, {
      undo: [unmount],
    }),
    ...namespaces.map(({ key, path }) =>
      act(`open the namespace ${path} to join`, "/linux/namespaces", {
        verb: "openNamespace",
        fd: key,
        path,
        field: "/linux/namespaces",
      })
    ),
    act("start CRIU", "", { verb: "startCriu", fds: namespaces.map(({ key }) => key) }, { undo: [endCriu] }),
    act("ask CRIU for its version", "", { verb: "checkCriu" }),
    // What CRIU makes is in the cgroups from its birth.
    ...makeCgroups(input, entrant),
    ...makeRdtGroup(input, entrant),
    ...limitActs(input, "unable to apply cgroup configuration"),
    act("open the directories of the images and of CRIU's log", "", {
      verb: "openImages",
      images: options.imagePath,
      work: options.workPath,
    }),
    act("ask CRIU to restore the processes", "", {
      verb: "requestCriu",
      type: "RESTORE",
      options: given(options),
    }, { undo: [refuse] }),
    ...atNamespaces(input),
    ...atProcesses(saved, config.process?.terminal ?? false),
    awaitCriu("the processes run", "answer"),
    act("wait for CRIU's end", "", { verb: "awaitCriuEnd" }),
    { from: "", ...unmount },
  ];
}

/** The namespaces exist, and the first process, which does not run yet. */
function atNamespaces({ config, bundle }: RestoreInput): readonly Act[] {
  // CRIU makes an empty network namespace. Unlike runc, this gives it what `create` gives it.
  const network = makesNamespace(config, "network")
    ? [act("set the loopback device up", "/linux/namespaces", { verb: "setLoopbackUp" }), ...moveDeviceActs(config)]
    : [];
  return [
    awaitCriu("the namespaces exist", "setup-namespaces"),
    act("check that the restored process is our child", "", { verb: "adoptRestored" }, {
      undo: [refuse, { label: "end the restored process", does: { verb: "endRestored" } }],
    }),
    ...network,
    ...runtimeHookActs(config, bundle),
    letGo,
  ];
}

/** The processes are restored, and do not run yet. */
function atProcesses(saved: VerbOf<"saveState">, hasTerminal: boolean): readonly Act[] {
  return [
    awaitCriu("the processes are restored", "post-restore", hasTerminal ? { hands: "terminal" } : {}),
    act("describe the container", "", { verb: "describe" }),
    act("save the state", "", saved),
    letGo,
  ];
}
