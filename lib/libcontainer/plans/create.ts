/**
 * The plan of a new container, as a table of contents. The order is the security argument; each comment says why.
 *
 * @module
 */

import {
  AT_FDCWD,
  FsConfig,
  FsMagic,
  FsMount,
  FsOpen,
  MountAttr,
  openFlag,
  Prctl,
  signalNames,
} from "../../ffi/constants.ts";
import { buffer, call, fixedFd, load, slot, step, struct, text, when } from "../../plan/build.ts";
import { exitAddress } from "../../plan/native/elf.ts";
import type { Op, Plan, Slot, Step } from "../../plan/op.ts";
import type { Config } from "../../specs/config.ts";
import {
  closeSteps,
  type Environment,
  environment,
  environmentPointers,
  execSteps,
  listenEntries,
  needsHome,
} from "../steps/command.ts";
import { consoleSteps } from "../steps/console.ts";
import { containerHookSteps, openForHooksSteps } from "../steps/container_hooks.ts";
import { awaitGo, type Planned, tell } from "../steps/protocol.ts";
import { deviceSteps, reopenNullSteps } from "../steps/devices.ts";
import { root } from "../steps/in_root.ts";
import { restrictSteps } from "../steps/landlock.ts";
import type { HostFacts, LaunchRequest } from "../config/launch_request.ts";
import { fillsDev, labelMounts, type ParsedMount, parseMounts } from "../config/mounts.ts";
import { maskedPathSteps, readonlyPathSteps } from "../steps/masked_paths.ts";
import { finishMountSteps } from "../steps/mounts/finish.ts";
import { helpedMounts } from "../steps/mounts/helped_mounts.ts";
import { mountSteps } from "../steps/mounts/mounts.ts";
import {
  closeForeignStep,
  createCgroupSteps,
  createSteps,
  earlyJoined,
  enterCgroupLater,
  enterCgroupSteps,
  forkSteps,
  hideAgainSteps,
  joinSteps,
  lateJoinSteps,
  ownCgroupNamespaceSteps,
} from "../steps/namespaces.ts";
import { hasNamespace, hasNetworkDevices, joinedNamespaces, makesNamespace } from "../config/namespaces.ts";
import { memoryPolicyNumbers } from "../config/memory_policy.ts";
import { lacksMountCalls } from "../steps/mounts/old_mounts.ts";
import { helperSteps, leaveHelperSteps, meetHelperSteps } from "../steps/mounts/mount_sources.ts";
import { personalityDomains } from "../steps/personality.ts";
import { enterRootSteps, prepareRootSteps, readonlyRootSteps, workingDirectorySteps } from "../steps/rootfs.ts";
import { appArmorSteps, execLabelSteps, keyLabelSteps, queueLabelSteps } from "../steps/security_labels.ts";
import { placeFilter } from "../steps/seccomp.ts";
import { hasListener } from "../seccomp/profile.ts";
import {
  affinityStep,
  keyringSteps,
  loopbackSteps,
  nameSteps,
  noNewPrivilegesSteps,
  oomScoreSteps,
  pidfdSteps,
} from "../steps/small_steps.ts";
import { sysctlSteps } from "../steps/sysctl.ts";
import { attributeSteps, becomeUserSteps } from "./become_user.ts";

/** Whether init waits before the pivot: for the parent's hooks, or because a createContainer hook follows, the first program that is not ours. */
export function hasRuntimeHooks(config: Config): boolean {
  const { prestart = [], createRuntime = [], createContainer = [] } = config.hooks ?? {};
  return prestart.length + createRuntime.length + createContainer.length > 0;
}

const setProcessName = (name: string): Step =>
  step(`take the process name ${name}`, "", [call("prctl", [Prctl.PR_SET_NAME, text(name), 0, 0, 0])]);

/** Sysctls and hooks may be about them, so init waits. */
function networkDeviceSteps(config: Config): readonly Step[] {
  if (!hasNetworkDevices(config)) return [];
  return [step("let the parent move network devices here", "/linux/netDevices", [tell("network"), ...awaitGo()])];
}

/**
 * Limits and device rules come into force once the mounts are made, which may be of devices that the container is not to open. Without hooks
 * the parent works while init goes on.
 */
function limitSteps(config: Config): readonly Step[] {
  if (!hasRuntimeHooks(config)) {
    return [step("have the parent set limits and device rules", "/linux/resources", [tell("hooks")])];
  }
  return [
    step("let the parent set limits, and run prestart and createRuntime hooks", "/hooks", [
      tell("hooks"),
      ...awaitGo(),
    ]),
  ];
}

/** Nothing that the image has is opened before: it may be any device. */
function awaitLimitSteps(config: Config): readonly Step[] {
  if (hasRuntimeHooks(config)) return [];
  return [step("wait until limits and device rules are in force", "/linux/resources", awaitGo())];
}

/**
 * Hooks in the container, and what is executed in a created one, may have all of this process's rights; they get at its memory and its
 * descriptors, the socket to the parent among them, only with CAP_SYS_PTRACE. execve puts it back. Where the runtime itself may not look into
 * such a process, it could not enter a created container any more.
 */
function hideSteps({ mayTrace }: HostFacts): readonly Step[] {
  if (!mayTrace) return [];
  return [step("hide from the programs in the container", "", [call("prctl", [Prctl.PR_SET_DUMPABLE, 0, 0, 0, 0])])];
}

function createContainerHookSteps(config: Config): readonly Step[] {
  const hooks = config.hooks?.createContainer ?? [];
  if (hooks.length === 0) return [];
  const none = struct("/* 0 vars */", 8, []);
  // Init has none while it makes files. What a hook makes has the mode that its caller's files have.
  const ops = [call("fchdir", [root]), call("umask", [callersUmask])];
  return containerHookSteps("createContainer", hooks, none, { ops, inheritedFds: 0 });
}

/** What a startContainer hook is, and what it needs to have been opened. */
function startContainerHooks(config: Config, env: Environment, request: LaunchRequest, facts: HostFacts) {
  const hooks = config.hooks?.startContainer ?? [];
  const { seccomp, executor = "native", inheritedFds } = request;
  const filtered = seccomp === undefined ? undefined : executor;
  // A fork is where init is: in the program's directory. Those of the other executor are elsewhere.
  const ops = executor === "native" ? [] : [call("chdir", [config.process!.cwd])];
  const entry = { ops, filtered, inheritedFds };
  return {
    open: filtered === "native" ? openForHooksSteps(hooks, facts.arch) : [],
    run: containerHookSteps("startContainer", hooks, environmentPointers(env), entry),
  };
}

/**
 * Told by whoever starts the container: by the exec fifo, whose reader `start` is, or by the parent that stayed. `filter`: loads a filter that
 * comes late. A parent that stayed says its word before: waiting for it takes read(2), which runc needs no more under such a filter.
 */
function startSteps(filter: readonly Step[], request: LaunchRequest, facts: HostFacts): readonly Step[] {
  if (request.startBy === "parent") {
    // The socket stays open until execve closes it: a filter that cannot be loaded is told, and a startContainer hook that fails.
    return [step("wait for the parent's start", "", [tell("created"), ...awaitGo()]), ...filter];
  }
  const O = openFlag(facts.arch);
  const fifo = slot("fifo");
  return [
    ...filter,
    step("tell the parent that the container is created", "", [
      tell("created"),
      // The fifo is open by path only; through a procfs it opens for writing, which waits for a reader: `start`.
      call("close", [fixedFd("sync")]),
    ]),
    step("wait for start on the exec fifo", "", [
      call("openat", [fixedFd("proc"), { data: "fdPath", fd: "fifo" }, O.O_WRONLY | O.O_CLOEXEC, 0], { out: fifo }),
      call("write", [fifo, "0", 1]),
      call("close", [fifo]),
      call("close", [fixedFd("fifo")]),
    ]),
  ];
}

/** SA_RESTORER: x86_64 delivers no signal to a handler without it. include/uapi/asm/signal.h */
const SA_RESTORER = 0x04000000;

/**
 * As PID 1 this process would ignore every signal that it does not catch, and `runc kill` could not end a created container but by SIGKILL.
 * So it catches the usual ones with the interpreter's own way out; execve puts all back.
 */
function dieOnSignalSteps(facts: HostFacts): readonly Step[] {
  const address = exitAddress(facts.arch);
  const action = struct("{sa_handler: exit}", 32, [
    { at: 0, size: 8, value: address },
    { at: 8, size: 8, value: SA_RESTORER },
    { at: 16, size: 8, value: address },
  ]);
  return ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM"].map((name) =>
    step(`let ${name} end the waiting process`, "", [
      call("rt_sigaction", [signalNames.indexOf(name), action, 0, 8]),
    ])
  );
}

function mountsProc(mounts: readonly ParsedMount[]): boolean {
  return mounts.some(({ mount, path }) => mount.type === "proc" && path === "/proc");
}

/**
 * Where the container has no /proc, one of its pid namespace that is mounted nowhere, and has nothing but processes. To hide is not enough: who has
 * CAP_SYS_PTRACE in the host's user namespace takes a descriptor by pidfd_getfd(2) from whomever it likes. In a user namespace such a mount is refused,
 * and nobody in there has that capability over this process, whose memory is of the host's.
 */
function detachedProcOps(own: Slot, hide: readonly Op[]): readonly Op[] {
  const context = slot("context");
  const refused = { onError: [{ errnos: ["*"], ops: hide }] } as const;
  return [
    call("fsopen", ["proc", FsOpen.FSOPEN_CLOEXEC], { out: context, ...refused }),
    call("fsconfig", [context, FsConfig.FSCONFIG_SET_STRING, "subset", "pid", 0], refused),
    call("fsconfig", [context, FsConfig.FSCONFIG_CMD_CREATE, 0, 0, 0], refused),
    call("fsmount", [context, FsMount.FSMOUNT_CLOEXEC, MountAttr.MOUNT_ATTR_RDONLY], { out: own, ...refused }),
    call("close", [context]),
    call("dup3", [own, fixedFd("proc"), 0]),
    call("close", [own]),
  ];
}

/**
 * The host's /proc has served: who can look at this process's descriptors from inside the container (an `exec` into a created one) must not
 * find it there. What waits for `start` does with the container's own; where that has none, nobody may look (CVE-2024-21626's kind).
 */
function leaveHostProcSteps(
  mounts: readonly ParsedMount[],
  config: Config,
  request: LaunchRequest,
  facts: HostFacts,
): readonly Step[] {
  const label = "let go of the host's /proc";
  // The other executor forks for a hook through a procfs.
  const isNeeded = request.startBy === "fifo" || (config.hooks?.startContainer?.length ?? 0) > 0;
  if (!isNeeded) return [step(label, "", [call("close", [fixedFd("proc")])])];
  const O = openFlag(facts.arch);
  const own = slot("own proc");
  const type = slot("type");
  const statfs = buffer("statfs", 120);
  const hide: readonly Op[] = [call("prctl", [Prctl.PR_SET_DUMPABLE, 0, 0, 0, 0]), { op: "endStep" }];
  const otherwise = mountsProc(mounts) ? hide : [...detachedProcOps(own, hide), { op: "endStep" } as const];
  return [step(label, "", [
    call("openat", [AT_FDCWD, "/proc", O.O_PATH | O.O_DIRECTORY | O.O_NOFOLLOW | O.O_CLOEXEC, 0], {
      out: own,
      onError: [{ errnos: ["*"], ops: otherwise }],
    }),
    call("fstatfs", [own, statfs]),
    load(statfs, 4, type),
    when(type, "!=", FsMagic.PROC, otherwise),
    call("dup3", [own, fixedFd("proc"), 0]),
    call("close", [own]),
  ])];
}

function stage(
  config: Config,
  facts: HostFacts,
  request: LaunchRequest,
  mounts: readonly ParsedMount[],
): readonly Step[] {
  const { cgroup } = request;
  const helped = helpedMounts(mounts, config, facts);
  if (helped.length === 0 && entersLate(config, request)) return lateStage(config, facts, request);
  return [
    ...firstSteps(config, facts, request),
    // Before any namespace: all of the container's processes are to be born inside.
    ...enterCgroupSteps(cgroup, facts.arch),
    affinityStep(facts),
    // While it still has the host's rights.
    ...(helped.length === 0 ? [] : helperSteps(helped, facts.arch)),
    ...joinSteps(earlyJoined(joinedNamespaces(config), cgroup)),
    ...createSteps(config, facts.arch, { cgroup, cgroupLater: false }),
    setProcessName("runc:[2:INIT]"),
    ...forkSteps(cgroup),
  ];
}

function firstSteps(config: Config, facts: HostFacts, request: LaunchRequest): readonly Step[] {
  return [
    closeForeignStep(request.inheritedFds),
    // While the process's files in /proc are still its own.
    ...oomScoreSteps(config.process!, facts.arch),
  ];
}

/**
 * Whether the cgroups can still be reached when all namespaces are there, and nobody looks for the stage before. In a pid namespace that is joined
 * others would see the files by which the container's process enters them.
 */
function entersLate(config: Config, { stageIsMoved }: LaunchRequest): boolean {
  return !stageIsMoved && !hasNamespace(config, "user") &&
    !joinedNamespaces(config).some(({ type }) => type === "mount" || type === "pid");
}

/**
 * The container's process enters its cgroups as its first act. Namespaces and process are then made while the parent makes the cgroups, and none of
 * them is charged to the container's memory.
 */
function lateStage(config: Config, facts: HostFacts, request: LaunchRequest): readonly Step[] {
  const { cgroup } = request;
  const { beforeFork, afterFork } = enterCgroupLater(cgroup, facts.arch);
  return [
    ...firstSteps(config, facts, request),
    ...joinSteps(earlyJoined(joinedNamespaces(config), cgroup)),
    ...createSteps(config, facts.arch, { cgroup, cgroupLater: true }),
    setProcessName("runc:[2:INIT]"),
    ...beforeFork,
    ...forkSteps(cgroup),
    ...afterFork,
    affinityStep(facts),
    ...createCgroupSteps(config, cgroup),
  ];
}

function init(
  config: Config,
  facts: HostFacts,
  request: LaunchRequest,
  mounts: readonly ParsedMount[],
): readonly Step[] {
  const process = config.process!;
  const { personality, memoryPolicy, mountLabel } = config.linux ?? {};
  const notify = request.notifyDirectory === undefined ? [] : [`NOTIFY_SOCKET=${NOTIFY_PLACE}/notify.sock`];
  const env = environment(process.env, [...notify, ...listenEntries(request.listenFds)]);
  const inUserNamespace = hasNamespace(config, "user");
  const ownMounts = hasNamespace(config, "mount");
  const ownDev = fillsDev(mounts);
  const helped = helpedMounts(mounts, config, facts);
  const filter = placeFilter(request.seccomp, process, closeSteps(request.inheritedFds));
  const hooks = startContainerHooks(config, env, request, facts);
  const mountsByProc = lacksMountCalls(facts.refused);
  return [
    ...hideAgainSteps(joinedNamespaces(config)),
    step("start a session", "", [
      call("setsid", [], { tolerate: ["EPERM"] }),
      // What is made has the mode that is asked for.
      call("umask", [0], { out: callersUmask }),
    ]),
    ...lateJoinSteps(joinedNamespaces(config), request.cgroup),
    ...ownCgroupNamespaceSteps(config, request.cgroup),
    ...(inUserNamespace && facts.euid === 0 ? [clearGroupsStep()] : []),
    ...(request.noNewKeyring ? [] : [
      ...keyLabelSteps(process.selinuxLabel, facts.arch),
      ...keyringSteps({ id: request.id, init: true, userNamespace: inUserNamespace }),
    ]),
    ...loopbackSteps(config),
    ...networkDeviceSteps(config),
    ...prepareRootSteps(config, request),
    ...(helped.length === 0 ? [] : meetHelperSteps(helped, facts.arch)),
    ...mountSteps(labelMounts(mounts, mountLabel), config, facts),
    ...(helped.length === 0 ? [] : leaveHelperSteps()),
    ...queueLabelSteps(mounts, mountLabel, facts.arch),
    ...(ownDev ? deviceSteps(config, facts) : []),
    // The old root is still there for the hooks, and the mounts already are.
    ...limitSteps(config),
    // The first program that is not ours may come next.
    ...hideSteps(facts),
    ...createContainerHookSteps(config),
    ...enterRootSteps(config, facts, request),
    ...awaitLimitSteps(config),
    ...(ownDev ? reopenNullSteps(facts) : []),
    ...workingDirectorySteps(process.cwd, facts.arch),
    // After the config's mounts, for the pty is of the container's devpts; before the root is read-only, for /dev/console is made in it.
    ...consoleSteps(process, facts.arch, { devConsole: true }),
    ...(request.pidfdSocket ? pidfdSteps("standard") : []),
    ...(ownMounts
      ? [...finishMountSteps(mounts), ...readonlyRootSteps(config), umaskStep(config)]
      : [restoreUmaskStep()]),
    ...nameSteps(config),
    ...appArmorSteps(process, facts),
    // Before masks and read-only paths, which may cover /proc/sys.
    ...sysctlSteps(config, facts.arch),
    // As late as the host's /proc is at hand: nothing is executed before the program but hooks.
    ...execLabelSteps(process.selinuxLabel, facts.arch),
    ...hooks.open,
    ...(mountsByProc ? [] : leaveHostProcSteps(mounts, config, request, facts)),
    // After every mount: a later one here would bring back a writable view.
    ...readonlyPathSteps(config, facts),
    ...maskedPathSteps(config, facts, ownDev),
    // What a link of the image may lead to meanwhile is in no mount namespace of ours: nothing can be mounted there.
    ...(mountsByProc ? leaveHostProcSteps(mounts, config, request, facts) : []),
    ...noNewPrivilegesSteps(process),
    ...attributeSteps(process, {
      hasCpuset: (config.linux?.resources?.cpu?.cpus ?? "") !== "",
      personality: personality && personalityDomains[personality.domain],
      memoryPolicy: memoryPolicy && memoryPolicyNumbers(memoryPolicy),
    }),
    ...(request.startBy === "fifo" ? dieOnSignalSteps(facts) : []),
    ...becomeUserSteps(process, facts, { env, filter, annotations: config.annotations }),
    ...startSteps(filter.late, request, facts),
    ...hooks.run,
    // Nothing is opened any more but the program.
    ...restrictSteps(config.annotations ?? {}),
    ...filter.close,
    ...execSteps(process, env),
  ];
}

/** Whether the launch has to be given the fixed descriptors `sources-init` and `sources-helper`, a connected pair. */
export function hasHelper(mounts: readonly ParsedMount[], config: Config, facts: HostFacts): boolean {
  return helpedMounts(mounts, config, facts).length > 0;
}

/** What the plan has stage and init say. `helped`: see {@link hasHelper}. */
export function saidInCreate(
  config: Config,
  request: LaunchRequest,
  helped: boolean,
  mounts: readonly ParsedMount[] = containerMounts(config, request),
): readonly Planned[] {
  const { env, noNewPrivileges } = config.process!;
  const { seccomp, startBy } = request;
  const says: Planned[] = ["child", "hooks", "created"];
  if (mounts.length > 0 || config.linux?.devices?.length) says.push("target");
  if (helped) says.push("helper");
  if (makesNamespace(config, "user")) says.push("mapping");
  if (hasNetworkDevices(config)) says.push("network");
  if (mounts.some(({ options }) => options.extensions.includes("tmpcopyup"))) says.push("copyUp");
  if (needsHome(env, request.notifyDirectory !== undefined || request.listenFds > 0)) says.push("passwd");
  if (seccomp !== undefined && hasListener(seccomp.profile)) {
    says.push(noNewPrivileges && startBy === "parent" ? "lateSeccomp" : "seccomp");
  }
  return says;
}

function clearGroupsStep(): Step {
  // The host's groups mean nothing in the user namespace. EPERM: its setgroups is denied.
  return step("leave the host's groups", "/linux/gidMappings", [call("setgroups", [0, 0], { tolerate: ["EPERM"] })]);
}

function umaskStep(config: Config): Step {
  const umask = config.process!.user.umask ?? 0o022;
  return step(`set the umask to 0${umask.toString(8)}`, "/process/user/umask", [call("umask", [umask])]);
}

/** Without a mount namespace runc leaves the umask alone. */
function restoreUmaskStep(): Step {
  return step("give the caller's umask back", "", [call("umask", [callersUmask])]);
}

const callersUmask = slot("umask");

/** Where the container finds the sd_notify proxy's socket. */
const NOTIFY_PLACE = "/run/notify";

/**
 * The container's mounts: the config's, and the sd_notify proxy's directory as the last one. `own`: those of the config, where they are parsed
 * already.
 */
export function containerMounts(
  config: Config,
  request: LaunchRequest,
  own: readonly ParsedMount[] = parseMounts(config.mounts, request),
): readonly ParsedMount[] {
  if (request.notifyDirectory === undefined) return own;
  const mount = {
    destination: NOTIFY_PLACE,
    type: "bind",
    source: request.notifyDirectory,
    options: ["bind", "nosuid", "noexec", "nodev", "ro"],
  };
  return [...own, ...parseMounts([mount], request, own.length)];
}

/**
 * The plan that starts the container of `config`. Pure: equal arguments give equal plans. `mounts`: see {@link containerMounts}.
 *
 * `config` has been validated. @throws {RuncError} for what only planning finds, with the field.
 */
export function planCreate(
  config: Config,
  facts: HostFacts,
  request: LaunchRequest,
  mounts: readonly ParsedMount[] = containerMounts(config, request),
): Plan {
  return { stage: stage(config, facts, request, mounts), init: init(config, facts, request, mounts) };
}
