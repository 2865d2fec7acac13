/**
 * What the parent does, as data: the acts of a command, in order. Pure.
 *
 * The order is the protocol: a message of stage or init that no act awaits at its place ends the command. An act that
 * has been done is taken back if a later one fails: last first.
 *
 * @module
 */

import type { SpecDeviceRule } from "../../../cgroups/devices/rules.ts";
import type { ConfigPath } from "../../../plan/op.ts";
import type { Hook, HookName, IdMapping, IntelRdt, NetDevice, Resources } from "../../../specs/config.ts";
import type { Status } from "../../../specs/state.ts";

/** One thing that the parent does. */
export interface Act<V extends Verb = Verb> {
  /** What is done, in words. */
  readonly label: string;
  /** The field of config.json that asked for it; empty if none did. */
  readonly from: ConfigPath;
  /** What is done. */
  readonly does: V;
  /** Takes it back, in this order. Each of these may find nothing to do. */
  readonly undo?: readonly Undo[];
  /** The act is left out unless all of these hold when its turn comes. */
  readonly when?: readonly Condition[];
  /** Prefixes of its error, the innermost first. Callers match them. */
  readonly within?: readonly string[];
}

/** A part of {@link Act.undo}. */
export type Undo = Pick<Act, "label" | "does" | "when">;

/** Facts that only an act finds out. */
export type Flag =
  /** A cgroup was refused, and the container does without it. */
  | "cgroup refused"
  /** The container's processes were killed by their cgroup. */
  | "cgroup killed"
  /** The container has a resctrl group whose schemas are given. */
  | "has schemas"
  /** The container has this status. */
  | Status;

/** Whether a fact is known. */
export interface Condition {
  /** The fact. */
  readonly flag: Flag;
  /** Whether it must be known, or must not. */
  readonly is: boolean;
}

/** Processes that send messages. */
export type Speaker = "stage" | "helper" | "init";

/** Messages that an act awaits. `end`: the sender has closed its socket. */
export type Awaited =
  | "helper"
  | "mapping"
  | "child"
  | "network"
  | "hooks"
  | "ready"
  | "seccomp"
  | "created"
  | "end";

/** Messages that may come, repeatedly, before the awaited one. */
export type Served = "target" | "copyUp" | "passwd";

/** Waits for a message. */
export interface Await {
  /** The verb. */
  readonly verb: "await";
  /** The message. */
  readonly kind: Awaited;
  /** Its sender. */
  readonly by: Speaker;
  /** Requests that are served until then. */
  readonly serves?: readonly Served[];
}

/** Verbs without anything to say. */
export type Plain<Name> = Name extends string ? { readonly verb: Name } : never;

/** The state directory. */
export type StateVerb =
  | { readonly verb: "makeStateDirectory"; readonly path: string }
  | { readonly verb: "removeStateDirectory"; readonly path: string }
  | { readonly verb: "makeDirectory"; readonly path: string; readonly mode: number }
  /** Opens it too, as the descriptor `fifo`. `uid`, `gid`: its owner on the host. */
  | { readonly verb: "makeExecFifo"; readonly path: string; readonly uid: number; readonly gid: number }
  /** Waits for init to open it, and reads the byte that lets init execute its program. */
  | { readonly verb: "readExecFifo"; readonly path: string }
  | { readonly verb: "saveState"; readonly path: string }
  /** Writes down, until there is a state, what a killed creation would leave. */
  | { readonly verb: "noteCreation"; readonly path: string; readonly cgroups: Readonly<Record<string, string>> }
  /** Takes the container's lock, and reads its state again. `force`: ends a creation that hangs. */
  | { readonly verb: "lockState"; readonly path: string; readonly force?: true }
  | { readonly verb: "unlockState" };

/** Descriptors for stage and init. */
export type DescriptorVerb =
  /** `fd`: the descriptor's name in the plan of stage and init. */
  | { readonly verb: "openNamespace"; readonly fd: string; readonly path: string; readonly field: ConfigPath }
  | { readonly verb: "pairSockets"; readonly fds: readonly [string, string] }
  | { readonly verb: "makeHookFiles"; readonly hooks: readonly ("createContainer" | "startContainer")[] };

/** Stage, helper and init. */
export type ProcessVerb =
  | { readonly verb: "startStage" }
  /** Kills and reaps stage, helper and init. */
  | { readonly verb: "endProcesses" }
  /** Checks that the sent pid is a child of ours, and opens its pidfd. `pid`: from the message. */
  | { readonly verb: "adopt"; readonly who: "helper" | "init"; readonly pid?: number }
  /** Reaps the stage and the helper, which have ended. */
  | { readonly verb: "reapStage" }
  /** Checks that init has become its program. */
  | { readonly verb: "checkProgram" }
  /** Init must be the process in state.json. */
  | { readonly verb: "requireInit"; readonly pid: number; readonly startTime: number }
  /** No process that sees a debugger may be able to trace it. `pid`: the container's init. */
  | { readonly verb: "refuseTracers"; readonly pid: number }
  | { readonly verb: "openInit" }
  /** `optional`: a missing process is no error. */
  | { readonly verb: "signalInit"; readonly signal: number; readonly optional?: boolean }
  | { readonly verb: "awaitInitEnd" }
  /** The process's number is known: the caller may use the time until the next message. */
  | { readonly verb: "tellCaller" };

/** The place in the plan of stage and init that a report comes from, and what it says. */
export interface Place {
  /** Of the instruction, from the start of the encoded program. */
  readonly offset: number;
  /** The turn of a loop. */
  readonly cursor: bigint;
  /** An errno, or what the plan says. */
  readonly value: number;
}

/** The conversation with stage and init. */
export type ConversationVerb =
  | Await
  /** `home`: sends the home directory of this user. */
  | { readonly verb: "go"; readonly home?: number }
  | { readonly verb: "makeTarget"; readonly mount: number; readonly isFile: boolean }
  | { readonly verb: "copyUp"; readonly mount: number }
  /** Init has copied a file. `result`: 0 or −errno. */
  | { readonly verb: "copied"; readonly result: number }
  /** Sends the seccomp listener to the agent. `fd`: its number in init, from the message. */
  | { readonly verb: "handListener"; readonly fd?: number }
  | { readonly verb: "logHooks" }
  /** A report of stage or init. */
  | ({ readonly verb: "fail" } & Place)
  | ({ readonly verb: "warnOfStep" } & Place)
  /** The sender of the next message has ended. */
  | { readonly verb: "died" };

/** What the process may do and use. */
export type SettingVerb =
  | { readonly verb: "writeIdMaps"; readonly uid: readonly IdMapping[]; readonly gid: readonly IdMapping[] }
  | { readonly verb: "writeHookStates" }
  | { readonly verb: "describe" }
  | { readonly verb: "moveNetworkDevice"; readonly name: string; readonly device: NetDevice }
  | {
    readonly verb: "setRlimit";
    readonly index: number;
    readonly type: string;
    readonly soft: bigint;
    readonly hard: bigint;
  }
  /** The caller's soft limit of open files. */
  | { readonly verb: "restoreFileLimit" };

/** Cgroups and resctrl. */
export type CgroupVerb =
  | { readonly verb: "makeCgroups"; readonly paths: readonly string[]; readonly limits?: Resources }
  /** `who`: absent: the stage. */
  | { readonly verb: "joinCgroups"; readonly initPid?: number; readonly who?: "CRIU" }
  | { readonly verb: "requireCgroups"; readonly paths: Readonly<Record<string, string>> }
  | { readonly verb: "setDevices"; readonly rules: readonly SpecDeviceRule[] }
  /** Without `limits`: those that `mergeLimits` has found. */
  | { readonly verb: "setLimits"; readonly limits?: Resources }
  | { readonly verb: "mergeLimits"; readonly resources: Resources; readonly rdt: Partial<IntelRdt> }
  | Plain<"rememberLimits" | "restoreLimits" | "rememberSchemata" | "setSchemata" | "restoreSchemata">
  | Plain<"freeze" | "thaw" | "thawToKill">
  /** Init must be alive, and must not be about to die. */
  | Plain<"requireLiveInit">
  /** Kills the processes of the cgroup. `ifThere`: only if it exists. */
  | { readonly verb: "killCgroup"; readonly ifThere?: true }
  /** Kills what a failed creation has left. */
  | { readonly verb: "killLeft" }
  | { readonly verb: "removeCgroups"; readonly paths: readonly string[] }
  | { readonly verb: "makeRdtGroup"; readonly root: string; readonly rdt: IntelRdt }
  | { readonly verb: "joinRdtGroup"; readonly path?: string }
  | Plain<"limitRdtGroup" | "undoRdtGroup">
  | { readonly verb: "removeRdtGroup"; readonly path: string };

/**
 * What CRIU does, and then waits for an answer: the namespaces exist; the processes are restored and do not run yet; the
 * memory can be fetched. `answer`: it has carried out the request.
 */
export type CriuMoment = "setup-namespaces" | "post-restore" | "status-ready" | "answer";

/** CRIU, and what it needs. */
export type CriuVerb =
  /** This user must be allowed to use it. `mounts`: and to mount the rootfs for it. */
  | { readonly verb: "findCriu"; readonly mounts?: true }
  /** `fds`: descriptors that it gets, by their names. */
  | { readonly verb: "startCriu"; readonly fds?: readonly string[] }
  /** Kills it. */
  | Plain<"endCriu">
  /** Asks for its version, and for features of it and the kernel. */
  | { readonly verb: "checkCriu"; readonly features?: readonly ("mem_track" | "lazy_pages")[] }
  /** The caller's descriptor that gets a byte when the memory can be fetched: it must be open for writing. */
  | { readonly verb: "checkStatusFd"; readonly fd: number }
  /** `work`: where CRIU's log is, if it is another directory. `makes`: makes the directories. */
  | { readonly verb: "openImages"; readonly images: string; readonly work?: string; readonly makes?: true }
  /** Writes what CRIU does not save, and a restore needs. */
  | { readonly verb: "writeImageFacts"; readonly path: string }
  /** `options`: as the caller has given them. */
  | {
    readonly verb: "requestCriu";
    readonly type: "DUMP" | "PRE_DUMP" | "RESTORE";
    readonly options: Readonly<Record<string, unknown>>;
  }
  /** Waits for CRIU. What it tells until then is answered, and `hands` over the terminal that comes with it. */
  | { readonly verb: "awaitCriu"; readonly moment: CriuMoment; readonly hands?: "terminal" }
  /** Lets CRIU go on. */
  | Plain<"answerCriu">
  /** If CRIU waits for an answer: it shall fail, and take back what it has done. */
  | Plain<"refuseCriu">
  /** `mayFail`: whatever its status is. */
  | { readonly verb: "awaitCriuEnd"; readonly mayFail?: true }
  /** Waits until there is no CRIU in the cgroup, of a restore whose runtime has ended. It takes back what it has done. */
  | { readonly verb: "awaitCriuGone"; readonly limitMs: number }
  /** Writes a byte to the caller's descriptor, and closes it. */
  | { readonly verb: "tellReady"; readonly fd: number }
  /** Checks that the restored init is a child of ours, and opens its pidfd. */
  | Plain<"adoptRestored">
  | Plain<"endRestored">
  /** `from`: the rootfs. */
  | { readonly verb: "mountRootfs"; readonly from: string; readonly path: string }
  | { readonly verb: "unmountRootfs"; readonly path: string }
  | Plain<"makeMountPoints">
  /** Of the restored network namespace. */
  | Plain<"setLoopbackUp">;

/** Everything else. */
export type OtherVerb =
  /** `status`: of the state that the hook reads. `goOn`: a failure is only logged. */
  | {
    readonly verb: "runHook";
    readonly name: HookName;
    readonly index: number;
    readonly hook: Hook;
    readonly status: Status | "creating";
    readonly cwd?: string;
    readonly goOn?: true;
  }
  | { readonly verb: "writePidFile"; readonly path: string }
  /** The parent executes another program, with its own pid. */
  | { readonly verb: "becomeMonitor" }
  | { readonly verb: "warn"; readonly text: string }
  | { readonly verb: "debug"; readonly text: string }
  /** Finds the status out. Another one than `allowed` is an error; absent: all are allowed. */
  | { readonly verb: "readStatus"; readonly allowed?: readonly Status[]; readonly refusal?: Refusal };

/** The error texts for a status that is not allowed. */
export interface Refusal {
  /** The message; `{}` stands for the status. */
  readonly message: string;
  /** By status, where it is another one. */
  readonly messages?: Partial<Readonly<Record<Status, string>>>;
  /** What the user can do. */
  readonly hint?: string;
  /** By status, where it is another one. */
  readonly hints?: Partial<Readonly<Record<Status, string>>>;
}

/** One of the few things that a parent does to the world. */
export type Verb =
  | StateVerb
  | DescriptorVerb
  | ProcessVerb
  | ConversationVerb
  | SettingVerb
  | CgroupVerb
  | CriuVerb
  | OtherVerb;

/** The verb with this name. */
export type VerbOf<Name extends Verb["verb"]> = Extract<Verb, { readonly verb: Name }>;

/** Makes an act. */
export function act(label: string, from: ConfigPath, does: Verb, more?: Omit<Act, "label" | "from" | "does">): Act {
  return more === undefined ? { label, from, does } : { ...more, label, from, does };
}

/** The acts with a prefix of their errors, outside of those that they have. */
export function within(prefix: string, acts: readonly Act[]): readonly Act[] {
  const only = [prefix];
  return acts.map((each) => ({ ...each, within: each.within?.concat(prefix) ?? only }));
}
