/**
 * Acts as text: what a verb does, in the notation of `runc plan`. Pure.
 *
 * @module
 */

import { hasLimits } from "../../../cgroups/limits/limits.ts";
import type { Resources } from "../../../specs/config.ts";
import type { Act, Condition, Flag, Undo, Verb, VerbOf } from "./act.ts";

type Show = { readonly [Name in Verb["verb"]]?: (does: VerbOf<Name>) => readonly string[] };

const text = JSON.stringify;

/** Every leaf of an object: `memory.limit = 1048576`. */
function leaves(value: unknown, path = ""): readonly string[] {
  if (value === undefined) return [];
  if (Array.isArray(value)) return value.flatMap((each, index) => leaves(each, `${path}[${index}]`));
  if (typeof value === "object" && value !== null) {
    return Object.entries(value).flatMap(([name, each]) => leaves(each, path === "" ? name : `${path}.${name}`));
  }
  return [`${path} = ${typeof value === "string" ? text(value) : String(value)}`];
}

function limitLines(limits: Resources | undefined): readonly string[] {
  const { devices: _, ...rest } = limits ?? {};
  return hasLimits(limits) ? leaves(rest) : [];
}

function mapLine(file: string, maps: VerbOf<"writeIdMaps">["uid"]): string {
  const lines = maps.map(({ containerID, hostID, size }) => `${containerID} ${hostID} ${size}`);
  return `write ${text(lines.join("\n"))} to /proc/<stage>/${file}`;
}

const shows: Show = {
  makeStateDirectory: ({ path }) => [`mkdir(${text(path)}, 0711)`],
  removeStateDirectory: ({ path }) => [`remove ${path} and what is in it`],
  makeDirectory: ({ path, mode }) => [`mkdir(${text(path)}, 0${mode.toString(8)})`],
  makeExecFifo: ({ path, uid, gid }) => [
    `mkfifo(${text(path)}, 0622)`,
    `chown(${text(path)}, ${uid}, ${gid})`,
    `open(${text(path)}, O_PATH)`,
  ],
  readExecFifo: ({ path }) => [`open(${text(path)}, O_RDONLY|O_NONBLOCK)`, "read 1 byte", `unlink(${text(path)})`],
  saveState: ({ path }) => [`write and rename to ${path}`],
  noteCreation: ({ path }) => [`write the stage's pid and start time and the paths of the cgroups to ${path}`],
  lockState: ({ path }) => [`flock(${path}, LOCK_EX)`, `read ${path}/state.json`],
  unlockState: () => ["close the lock"],
  openNamespace: ({ path, fd }) => [`<${fd}> = open(${text(path)}, O_RDONLY|O_CLOEXEC)`],
  pairSockets: ({ fds }) => [`<${fds[0]}>, <${fds[1]}> = socketpair(AF_UNIX, SOCK_SEQPACKET)`],
  makeHookFiles: ({ hooks }) => ["stdout", "stderr", ...hooks].map((name) => `memfd_create("${name}")`),
  startStage: () => ["<sync> = socketpair(AF_UNIX, SOCK_SEQPACKET)", "posix_spawn the encoded plan of stage and init"],
  endProcesses: () => ["SIGKILL to the pidfds of helper, stage and init; wait for their ends"],
  adopt: ({ who }) => [`<${who}> = pidfd_open(the pid in the message)`, `waitid(<${who}>, WNOHANG|WNOWAIT)`],
  reapStage: () => ["wait for the end of stage and helper"],
  checkProgram: () => ["read the name of init, which is not runc:[2:INIT] any more"],
  requireInit: ({ pid, startTime }) => [`process ${pid} must have the start time ${startTime}`],
  refuseTracers: () => ["no process of the container's pid namespace or cgroup may have CAP_SYS_PTRACE"],
  openInit: () => ["pidfd_open(init)"],
  signalInit: ({ signal, optional }) => [
    `pidfd_send_signal(init, ${signal})${optional ? "  /* fine if it has ended */" : ""}`,
  ],
  awaitInitEnd: () => ["poll the pidfd of init, for 10 s at most"],
  await: ({ kind, by, serves = [] }) => [
    kind === "end" ? `wait until ${by} closes <sync>` : `receive "${kind}" from ${by}`,
    ...(serves.length === 0 ? [] : [`until then, serve: ${serves.join(", ")}`]),
  ],
  go: ({ home }) => [home === undefined ? 'send "go"' : `send "go" with the home directory of user ${home}`],
  makeTarget: ({ mount, isFile }) => [`make ${isFile ? "the file" : "the directory"} of mount ${mount} below the root`],
  copyUp: ({ mount }) => [`copy the files below mount ${mount} to its tmpfs`],
  handListener: () => ["<listener> = pidfd_getfd(init, the number in the message)", 'send "go"', "send <listener>"],
  writeIdMaps: ({ uid, gid }) => [mapLine("gid_map", gid), mapLine("uid_map", uid)],
  moveNetworkDevice: ({ name, device }) => [
    `move ${name} to the network namespace of init${device.name ? ` as ${device.name}` : ""}, with its addresses`,
  ],
  setRlimit: ({ type, soft, hard }) => [`prlimit64(init, ${type}, {soft: ${soft}, hard: ${hard}})`],
  restoreFileLimit: () => ["prlimit64(init, RLIMIT_NOFILE, {soft: the caller's})"],
  makeCgroups: ({ paths }) => paths.map((path) => `mkdir(${text(path)}, 0755)`),
  removeCgroups: ({ paths }) => paths.map((path) => `rmdir(${text(path)})`),
  joinCgroups: ({ who = "the stage" }) => [`write ${who}'s pid to cgroup.procs of each`],
  requireCgroups: ({ paths }) => [...new Set(Object.values(paths))].map((path) => `${path} must exist`),
  setDevices: ({ rules }) => rules.length === 0 ? ["the default devices"] : leaves(rules),
  setLimits: ({ limits }) => limits === undefined ? ["the merged limits"] : limitLines(limits),
  mergeLimits: ({ resources, rdt }) => [...leaves(resources), ...leaves(rdt, "intelRdt")],
  freeze: () => ["freeze all processes, and wait until they are frozen"],
  thaw: () => ["thaw all processes"],
  requireLiveInit: () => ["init must not have ended, and must have no SIGKILL pending"],
  killCgroup: () => ["SIGKILL to all processes of the cgroup"],
  killLeft: () => ["SIGKILL to all processes of the cgroup"],
  makeRdtGroup: ({ root, rdt }) => [`make a group below ${root}`, ...leaves(rdt)],
  removeRdtGroup: ({ path }) => [`rmdir(${text(path)})`],
  findCriu: ({ mounts }) => [
    "look for criu along PATH",
    ...(mounts ? ["without root: CAP_SYS_ADMIN is needed"] : []),
    "without root: criu check --unprivileged must not miss a capability",
  ],
  startCriu: ({ fds = [] }) => [
    "<criu> = socketpair(AF_UNIX, SOCK_SEQPACKET)",
    `posix_spawn criu swrk 3${
      fds.length === 0 ? "" : `, with the descriptors ${fds.map((fd) => `<${fd}>`).join(", ")}`
    }`,
  ],
  checkCriu: ({ features = [] }) => ["VERSION", ...features.map((feature) => `FEATURE_CHECK ${feature}`)],
  checkStatusFd: ({ fd }) => [`descriptor ${fd} must be open for writing`],
  openImages: ({ images, work, makes }) =>
    [...new Set([images, work ?? images])].flatMap((path) => [
      ...(makes ? [`mkdir(${text(path)}, 0700)`] : []),
      `open(${text(path)}, O_RDONLY|O_DIRECTORY)`,
    ]),
  writeImageFacts: ({ path }) => [`write ${path}/descriptors.json`, `write ${path}/created.json`],
  requestCriu: ({ type, options }) => [`send ${type} to <criu>`, ...leaves(options)],
  awaitCriu: ({ moment, hands }) => [
    moment === "answer" ? "receive the answer from <criu>" : `receive NOTIFY ${moment} from <criu>`,
    "until then, answer other notifications",
    ...(hands === undefined ? [] : ["and pass the master of the terminal on"]),
  ],
  answerCriu: () => ["answer NOTIFY with success"],
  awaitCriuEnd: (
    { mayFail },
  ) => ["close our end of <criu> for writing", `waitid(criu)${mayFail ? "" : ", its status must be 0"}`],
  awaitCriuGone: ({ limitMs }) => [
    `wait until no process of the cgroup is in the pid namespace of the runtime, for ${limitMs / 1000} s at most`,
  ],
  tellReady: ({ fd }) => [`write 1 byte to descriptor ${fd}, and close it`],
  adoptRestored: () => ["pidfd_open(the pid in the message)", "waitid(it, WNOHANG|WNOWAIT)"],
  mountRootfs: (
    { from, path },
  ) => [`mkdir(${text(path)}, 0755)`, `mount(${text(from)}, ${text(path)}, MS_BIND|MS_REC)`],
  unmountRootfs: ({ path }) => [`umount2(${text(path)}, MNT_DETACH)`, `rmdir(${text(path)})`],
  makeMountPoints:
    () => ["make the files and directories that mounts need, below the root and in sources of bind mounts"],
  setLoopbackUp: () => ["rtnetlink: set lo up"],
  runHook: ({ hook, cwd }) => [
    `execve(${text(hook.path)}, ${text(hook.args?.length ? hook.args : [hook.path])})${
      cwd === undefined ? "" : ` in ${cwd}`
    }${hook.timeout === undefined ? "" : `, for ${hook.timeout} s at most`}`,
  ],
  writePidFile: ({ path }) => [`write and rename to ${path}`],
  becomeMonitor: () => ["execve the encoded plan of the monitor"],
  warn: ({ text }) => [`warn: ${text}`],
  debug: ({ text }) => [`debug: ${text}`],
  readStatus: ({ allowed }) => allowed === undefined ? [] : [`must be ${allowed.join(" or ")}`],
};

function showVerb(does: Verb): readonly string[] {
  const show = shows[does.verb] as ((does: Verb) => readonly string[]) | undefined;
  return show?.(does) ?? [];
}

/** The facts in words: known, and not known. */
const conditions: Readonly<Record<Flag, readonly [known: string, unknown: string]>> = {
  "cgroup refused": ["a cgroup was refused", "no cgroup was refused"],
  "cgroup killed": ["the cgroup's processes were killed", "the cgroup's processes were not killed"],
  "has schemas": ["the container has an Intel RDT group", "the container has no Intel RDT group"],
  creating: ["it is being created", "it is not being created"],
  created: ["it is created", "it is not created"],
  running: ["it runs", "it does not run"],
  stopped: ["it is stopped", "it is not stopped"],
  paused: ["it is paused", "it is not paused"],
};

function showCondition({ flag, is }: Condition): string {
  const [known, unknown] = conditions[flag];
  return `only if ${is ? known : unknown}`;
}

/** What an act does, one line each: its conditions, its calls, and what takes it back. */
export function showAct({ does, undo = [], when = [] }: Act): readonly string[] {
  return [
    ...when.map(showCondition),
    ...showVerb(does),
    ...(undo.length === 0 ? [] : [`if a later act fails: ${undo.map(showUndo).join("; ")}`]),
  ];
}

function showUndo({ label, when = [] }: Undo): string {
  return when.length === 0 ? label : `${label} (${when.map(showCondition).join(", ")})`;
}
