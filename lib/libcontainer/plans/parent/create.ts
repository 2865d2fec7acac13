/**
 * What the parent does to create a container and to start one that it has created itself, in order. Pure.
 *
 * @module
 */

import { pointerToken } from "../../../specs/problem.ts";
import type { Config, Hook, HookName, Process } from "../../../specs/config.ts";
import type { HostFacts, LaunchRequest } from "../../config/launch_request.ts";
import type { ParsedMount } from "../../config/mounts.ts";
import { hasNamespace, hasNetworkDevices, joinedNamespaces, makesNamespace } from "../../config/namespaces.ts";
import { needsListener } from "../../seccomp/filter.ts";
import { needsHome } from "../../steps/command.ts";
import { containerHookNames } from "../../steps/container_hooks.ts";
import { capabilityNumbers } from "../../steps/credentials.ts";
import { hasHelper, hasRuntimeHooks } from "../create.ts";
import { type Act, act, type Served, within } from "./act.ts";
import { endProcesses, type Entrant, limitActs, makeCgroups, makeRdtGroup, type ResourceInput } from "./resources.ts";

/** What the acts are made from. */
export interface CreateInput extends ResourceInput {
  readonly facts: HostFacts;
  readonly request: LaunchRequest;
  readonly mounts: readonly ParsedMount[];
}

/** The prefix of errors from the start of the stage until the process executes its program. Callers match it. */
export const NOT_STARTED = "unable to start container process";
/** The prefix of errors of stage and init. Callers match it. */
export const IN_INIT = "error during container init";

/** Creates the container: its process then waits to be started. */
export function createActs(input: CreateInput): readonly Act[] {
  return [
    ...warnings(input),
    ...makeState({ ...input, notifyDirectory: input.request.notifyDirectory }),
    ...openDescriptors(input),
    ...within(NOT_STARTED, [
      startStage,
      // Meanwhile, the stage starts.
      ...makeCgroups(input, stageOf(input), [noteCreation(input)]),
      ...makeRdtGroup(input, stageOf(input)),
      ...warnOfNoCgroup(input),
      act("let the stage go on", "", { verb: "go" }),
      ...within(IN_INIT, [
        ...makeNamespaces(input),
        ...makeMounts(input),
        ...confine(input),
        ...becomeUser(input),
      ]),
    ]),
  ];
}

/** Starts a container whose init waits for the parent's word. */
export function startActs({ config, request }: Pick<CreateInput, "config" | "request">): readonly Act[] {
  return [letStart, ...startedActs({ config, request })];
}

const letStart = act("let init go on to its program", "", { verb: "go" });

/** After init has been let go on to its program. */
function startedActs({ config, request }: Pick<CreateInput, "config" | "request">): readonly Act[] {
  return [
    ...(isFilteredLate(config, request) ? listenerActs(request) : []),
    act("wait until init has become its program", "/process/args", { verb: "await", kind: "end", by: "init" }),
    act("check that init has become its program", "/process/args", { verb: "checkProgram" }),
    ...logHooks(config, ["startContainer"]),
  ];
}

/** Writes the pid of the process that was created. */
export function pidFileAct(path: string): Act {
  return act("write the pid file", "", { verb: "writePidFile", path });
}

/** A foreground command becomes the monitor of its process. */
export const becomeMonitor = act("become the monitor", "", { verb: "becomeMonitor" });

function warnings({ config, facts }: CreateInput): readonly Act[] {
  const { flags = [] } = config.linux?.personality ?? {};
  const { memory } = config.linux?.resources ?? {};
  return [
    ...capabilityWarnings(config.process!, facts),
    ...(flags.length === 0 ? [] : [
      warning("/linux/personality/flags", `ignoring unsupported personality flags: [${flags.join(" ")}]`),
    ]),
    // Linux no longer limits kernel memory separately, and runc ignores both fields.
    ...(memory?.kernel === undefined && memory?.kernelTCP === undefined ? [] : [
      warning("/linux/resources/memory", "Kernel memory settings are ignored and will be removed"),
    ]),
  ];
}

/** Warns about names in process.capabilities that this kernel does not have. */
export function capabilityWarnings({ capabilities }: Process, { lastCapability }: HostFacts): readonly Act[] {
  const unknown = capabilities === undefined ? [] : capabilityNumbers(capabilities, lastCapability).unknown;
  if (unknown.length === 0) return [];
  return [
    warning("/process/capabilities", `ignoring unknown or unavailable capabilities: [${unknown.join(" ")}]`),
  ];
}

function warning(from: string, text: string): Act {
  return act("warn", from, { verb: "warn", text });
}

/** The container exists once it has its directory. Before, nothing has to be undone, and no hook runs. */
export function makeState(
  { config, directory, notifyDirectory }: Pick<CreateInput, "config" | "directory"> & { notifyDirectory?: string },
): readonly Act[] {
  return [
    act("make the state directory", "", { verb: "makeStateDirectory", path: directory }, {
      // The hooks run last, after everything else is removed.
      undo: [
        { label: "remove the state directory", does: { verb: "removeStateDirectory", path: directory } },
        ...hookActs("poststop", config.hooks?.poststop, { status: "stopped", goOn: true }),
      ],
    }),
    ...(notifyDirectory === undefined ? [] : [
      act("make the directory of the notify socket", "", {
        verb: "makeDirectory",
        path: notifyDirectory,
        mode: 0o755,
      }),
    ]),
  ];
}

function openDescriptors({ config, facts, request, mounts, directory }: CreateInput): readonly Act[] {
  const { rootUid: uid, rootGid: gid } = facts;
  const hooks = containerHookNames.filter((name) => config.hooks?.[name]?.length);
  return [
    ...(request.startBy === "fifo"
      ? [act("make the exec fifo", "", { verb: "makeExecFifo", path: `${directory}/exec.fifo`, uid, gid })]
      : []),
    ...joinedNamespaces(config).map(({ type, path, from }) =>
      act(`open the ${type} namespace to join`, from, {
        verb: "openNamespace",
        fd: `ns-${type}`,
        path,
        field: `${from}/path`,
      })
    ),
    ...(hasHelper(mounts, config, facts)
      ? [act("connect init and the helper", "/mounts", {
        verb: "pairSockets",
        fds: ["sources-init", "sources-helper"],
      })]
      : []),
    ...(hooks.length > 0
      ? [act("make the files of the container's hooks", "/hooks", { verb: "makeHookFiles", hooks })]
      : []),
  ];
}

const startStage = act("start the stage", "", { verb: "startStage" }, { undo: [endProcesses] });

function noteCreation({ cgroupPaths, directory }: CreateInput): Act {
  return act("note where the cgroups will be", "/linux/cgroupsPath", {
    verb: "noteCreation",
    path: `${directory}/creating.json`,
    cgroups: cgroupPaths,
  });
}

/** The stage and its children are in the cgroups. With a user namespace the stage cannot enter them by itself. */
function stageOf({ config }: CreateInput): Entrant {
  return {
    name: "the stage",
    ends: [endProcesses],
    ...(hasNamespace(config, "user") ? { join: { verb: "joinCgroups" } } : {}),
    // The container's own pid namespace ends with init. In a shared one, a hook may still run.
    leaves: !makesNamespace(config, "pid"),
  };
}

function warnOfNoCgroup({ config }: CreateInput): readonly Act[] {
  if (makesNamespace(config, "pid")) return [];
  const text =
    "Creating a rootless container with no cgroup and no private pid namespace. Such configuration is strongly discouraged (as it is impossible to properly kill all container's processes) and will result in an error in a future runc version.";
  return [act("warn", "/linux/namespaces", { verb: "warn", text }, {
    when: [{ flag: "cgroup refused", is: true }],
  })];
}

/** Until init is known. A pid comes once, from the stage, and must be our child's. */
function makeNamespaces({ config, facts, mounts }: CreateInput): readonly Act[] {
  const { uidMappings: uid = [], gidMappings: gid = [] } = config.linux ?? {};
  return [
    ...(hasHelper(mounts, config, facts)
      ? [
        act("wait for the stage: the helper's pid", "/mounts", { verb: "await", kind: "helper", by: "stage" }),
        act("check that the helper is our child", "/mounts", { verb: "adopt", who: "helper" }),
      ]
      : []),
    ...(makesNamespace(config, "user")
      ? [
        act("wait for the stage: it has a new user namespace", "/linux/namespaces", {
          verb: "await",
          kind: "mapping",
          by: "stage",
        }),
        act("write the id maps", "/linux/uidMappings", { verb: "writeIdMaps", uid, gid }),
        act("let the stage go on", "", { verb: "go" }),
      ]
      : []),
    ...adoptInit,
    ...(containerHookNames.some((name) => config.hooks?.[name]?.length)
      ? [act("write the state for hooks in the container", "/hooks", { verb: "writeHookStates" })]
      : []),
    act("describe the container", "", { verb: "describe" }),
  ];
}

/** The stage's last message. */
export const adoptInit: readonly Act[] = [
  act("wait for the stage: init's pid", "", { verb: "await", kind: "child", by: "stage" }),
  act("check that init is our child", "", { verb: "adopt", who: "init" }),
];

function makeMounts({ config, mounts }: CreateInput): readonly Act[] {
  const serves: Served[] = [];
  if (mounts.length > 0 || config.linux?.devices?.length) serves.push("target");
  if (mounts.some(({ options }) => options.extensions.includes("tmpcopyup"))) serves.push("copyUp");
  return [
    ...(hasNetworkDevices(config) ? networkActs(config) : []),
    act("wait for init: the mounts are made", "/mounts", { verb: "await", kind: "hooks", by: "init", serves }),
    act("reap the stage", "", { verb: "reapStage" }),
  ];
}

function networkActs({ linux }: Config): readonly Act[] {
  return [
    act("wait for init: it has a network namespace", "/linux/netDevices", {
      verb: "await",
      kind: "network",
      by: "init",
    }),
    ...moveDeviceActs({ linux }),
    act("let init go on", "", { verb: "go" }),
  ];
}

/** Moves the devices of linux.netDevices into the container's network namespace. */
export function moveDeviceActs({ linux }: Pick<Config, "linux">): readonly Act[] {
  return Object.entries(linux?.netDevices ?? {}).map(([name, device]) =>
    act(`move network device ${name}`, `/linux/netDevices${pointerToken(name)}`, {
      verb: "moveNetworkDevice",
      name,
      device,
    })
  );
}

/** Limits come before the first foreign program: a hook, or a file of the image that init opens. */
function confine(input: CreateInput): readonly Act[] {
  const { config, request } = input;
  const { hooks } = config;
  return [
    ...limitActs(input, "error setting cgroup config for procHooks process"),
    ...runtimeHookActs(config, request.bundle),
    ...(hooks?.createContainer?.length ? [restoreFileLimit] : []),
    act(hasRuntimeHooks(config) ? "let init go on" : "let init enter the root, when it is ready", "", { verb: "go" }),
    // From here on, init works alone for the longest time.
    act("prepare for the process", "", { verb: "tellCaller" }),
  ];
}

const restoreFileLimit = act("restore the caller's limit of open files", "", { verb: "restoreFileLimit" });

function becomeUser(input: CreateInput): readonly Act[] {
  const { config, request, directory } = input;
  const process = config.process!;
  const asksHome = needsHome(process.env, request.notifyDirectory !== undefined || request.listenFds > 0);
  return [
    ...readyActs(process, asksHome, [
      act("save the state", "", { verb: "saveState", path: `${directory}/state.json` }),
    ]),
    ...(isFilteredLate(config, request) ? [] : listenerActs(request)),
    // Init reads this when it is created: neither waits for the other once more.
    ...(request.startBy === "creation" ? [letStart] : []),
    act("wait for init: the container is created", "", { verb: "await", kind: "created", by: "init" }),
    act("log", "", { verb: "debug", text: "init: closing the pipe to signal completion" }),
    ...logHooks(config, containerHookNames),
    ...(request.startBy === "creation" ? startedActs(input) : []),
  ];
}

/** Init has done all but credentials: the parent sets what init may no longer set by itself. `last`: before its go. */
export function readyActs(process: Process, asksHome: boolean, last: readonly Act[]): readonly Act[] {
  return [
    act("wait for init: all but credentials is done", "", {
      verb: "await",
      kind: "ready",
      by: "init",
      serves: asksHome ? ["passwd"] : [],
    }),
    ...rlimitActs(process),
    ...last,
    act("let init become the user", "/process/user", { verb: "go", home: process.user.uid }),
  ];
}

/** process.rlimits. Deno has raised our own limit of open files, which the process has inherited. */
function rlimitActs({ rlimits = [] }: Process): readonly Act[] {
  return [
    ...(rlimits.some(({ type }) => type === "RLIMIT_NOFILE") ? [] : [restoreFileLimit]),
    ...rlimits.map(({ type, soft, hard }, index) =>
      act(`set the limit ${type}`, `/process/rlimits/${index}`, {
        verb: "setRlimit",
        index,
        type,
        soft: BigInt(soft),
        hard: BigInt(hard),
      })
    ),
  ];
}

/** The filter is loaded after `created`: see steps/seccomp.ts, placeFilter. */
function isFilteredLate({ process }: Config, { startBy }: LaunchRequest): boolean {
  return process!.noNewPrivileges === true && startBy !== "fifo";
}

/** Only a filter with SCMP_ACT_NOTIFY has a listener. Its agent may have to answer before init can go on. */
export function listenerActs({ seccomp }: Pick<LaunchRequest, "seccomp">): readonly Act[] {
  if (seccomp === undefined || !needsListener(seccomp)) return [];
  return [
    act("wait for init: the seccomp listener", "/linux/seccomp", { verb: "await", kind: "seccomp", by: "init" }),
    act("hand the seccomp listener to its agent", "/linux/seccomp/listenerPath", { verb: "handListener" }),
  ];
}

/** The hooks on the host between the namespaces and the program. */
export function runtimeHookActs({ hooks }: Config, cwd: string): readonly Act[] {
  return [
    ...hookActs("prestart", hooks?.prestart, { status: "creating", cwd }),
    ...hookActs("createRuntime", hooks?.createRuntime, { status: "creating", cwd }),
  ];
}

/** Hooks on the host, one after the other. */
export function hookActs(
  name: HookName,
  hooks: readonly Hook[] | undefined,
  how: Pick<Extract<Act["does"], { verb: "runHook" }>, "status" | "cwd" | "goOn">,
): readonly Act[] {
  return (hooks ?? []).map((hook, index) =>
    act(`run ${name} hook ${hook.path}`, `/hooks/${name}/${index}`, { verb: "runHook", name, index, hook, ...how })
  );
}

function logHooks({ hooks }: Config, names: readonly ("createContainer" | "startContainer")[]): readonly Act[] {
  if (!names.some((name) => hooks?.[name]?.length)) return [];
  return [act("log what hooks in the container have printed", "/hooks", { verb: "logHooks" })];
}
