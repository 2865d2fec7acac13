/**
 * The plan of a new container, as a table of contents. The order of the steps is a security property; each comment
 * gives the reason.
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
} from "../steps/command.ts";
import { consoleSteps } from "../steps/console.ts";
import { containerHookSteps, openForHooksSteps } from "../steps/container_hooks.ts";
import { awaitGo, tell } from "../steps/protocol.ts";
import { deviceSteps, reopenNullSteps } from "../steps/devices.ts";
import { root } from "../steps/root/in_root.ts";
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
import { hasNamespace, hasNetworkDevices, joinedNamespaces } from "../config/namespaces.ts";
import { memoryPolicyNumbers } from "../config/memory_policy.ts";
import { lacksMountCalls } from "../steps/mounts/old_mounts.ts";
import { helperSteps, leaveHelperSteps, meetHelperSteps } from "../steps/mounts/mount_sources.ts";
import { personalityDomains } from "../steps/personality.ts";
import { enterRootSteps, prepareRootSteps, readonlyRootSteps, workingDirectorySteps } from "../steps/root/rootfs.ts";
import { appArmorSteps, execLabelSteps, keyLabelSteps, queueLabelSteps } from "../steps/security_labels.ts";
import { placeFilter } from "../steps/seccomp.ts";
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

/**
 * Whether init waits before pivot_root: for the parent's hooks, or because a createContainer hook follows, which is the
 * first foreign program.
 */
export function hasRuntimeHooks(config: Config): boolean {
  const { prestart = [], createRuntime = [], createContainer = [] } = config.hooks ?? {};
  return prestart.length + createRuntime.length + createContainer.length > 0;
}

const setProcessName = (name: string): Step =>
  step(`take the process name ${name}`, "", [call("prctl", [Prctl.PR_SET_NAME, text(name), 0, 0, 0])]);

/** Init waits, because sysctls and hooks may refer to the devices. */
function networkDeviceSteps(config: Config): readonly Step[] {
  if (!hasNetworkDevices(config)) return [];
  return [
    step("have the parent move network devices here and wait for it", "/linux/netDevices", [
      tell("network"),
      ...awaitGo(),
    ]),
  ];
}

/**
 * Limits and device rules come into force after the mounts, because a mount may need a device that the container must
 * not open. Without hooks, init continues while the parent works.
 */
function limitSteps(config: Config): readonly Step[] {
  if (!hasRuntimeHooks(config)) {
    return [step("have the parent set limits and device rules", "/linux/resources", [tell("hooks")])];
  }
  return [
    step("have the parent set limits and device rules and run hooks, and wait for it", "/hooks", [
      tell("hooks"),
      ...awaitGo(),
    ]),
  ];
}

/** Init opens no file of the image before this step, because the file may be any device. */
function awaitLimitSteps(config: Config): readonly Step[] {
  if (hasRuntimeHooks(config)) return [];
  return [step("wait until limits and device rules are in force", "/linux/resources", awaitGo())];
}

/**
 * Hooks in the container, and programs that `exec` runs in a created one, may have all rights of this process. If it is
 * not dumpable, they need CAP_SYS_PTRACE to access its memory and descriptors, such as the socket to the parent. execve
 * resets this. Omitted if the runtime may not inspect such a process, because it could not enter a created container.
 */
function hideSteps({ mayTrace }: HostFacts): readonly Step[] {
  if (!mayTrace) return [];
  return [step("hide from the programs in the container", "", [call("prctl", [Prctl.PR_SET_DUMPABLE, 0, 0, 0, 0])])];
}

function createContainerHookSteps(config: Config): readonly Step[] {
  const hooks = config.hooks?.createContainer ?? [];
  if (hooks.length === 0) return [];
  const none = struct("/* 0 vars */", 8, []);
  // Init has umask 0 while it creates files. Hooks get the caller's umask.
  const ops = [call("fchdir", [root]), call("umask", [callersUmask])];
  return containerHookSteps("createContainer", hooks, none, { ops, inheritedFds: 0 });
}

/** startContainer hooks. `open`: opens the descriptors that `run` needs. */
function startContainerHooks(config: Config, env: Environment, request: LaunchRequest, facts: HostFacts) {
  const hooks = config.hooks?.startContainer ?? [];
  const { seccomp, executor = "native", inheritedFds } = request;
  const filtered = seccomp === undefined ? undefined : executor;
  // A native fork has init's working directory, process.cwd. A fork of the JavaScript executor has another one.
  const ops = executor === "native" ? [] : [call("chdir", [config.process!.cwd])];
  const entry = { ops, filtered, inheritedFds };
  return {
    open: filtered === "native" ? openForHooksSteps(hooks, facts.arch) : [],
    run: containerHookSteps("startContainer", hooks, environmentPointers(env), entry),
  };
}

/**
 * Waits for the start: on the exec fifo until `start` reads it, or for a message from the parent, if it stays.
 * `filter`: loads a late filter. The parent's message is read before that, because runc no longer calls read(2) under
 * such a filter.
 */
function startSteps(filter: readonly Step[], request: LaunchRequest, facts: HostFacts): readonly Step[] {
  if (request.startBy !== "fifo") {
    // execve closes the socket. Until then it reports failures to load the filter and of startContainer hooks.
    return [
      step("tell the parent that the container is created and wait for its start", "", [tell("created"), ...awaitGo()]),
      ...filter,
    ];
  }
  const O = openFlag(facts.arch);
  const fifo = slot("fifo");
  return [
    ...filter,
    step("tell the parent that the container is created and close the socket to it", "", [
      tell("created"),
      call("close", [fixedFd("sync")]),
    ]),
    step("wait for start on the exec fifo and close it", "", [
      // The fifo is open with O_PATH. A procfs opens it for writing, which waits for a reader: `start`.
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
 * As PID 1, this process would ignore every signal that it does not catch, and `runc kill` could end a created
 * container only with SIGKILL. So it catches the usual signals. The handler is the interpreter's code that exits.
 * execve resets all handlers.
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
 * For a container without /proc: a detached procfs of its pid namespace, with processes only. Hiding is not enough: a
 * process with CAP_SYS_PTRACE in the host's user namespace can take a descriptor from any process by pidfd_getfd(2). In
 * a user namespace, the kernel refuses such a mount. No process in that namespace has the capability over this one,
 * because this one's memory belongs to the host's user namespace.
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
 * The host's /proc is no longer needed. A process in the container that can inspect this one's descriptors (an `exec`
 * into a created container) must not find it (similar to CVE-2024-21626). The wait for `start` uses the container's
 * /proc. If the container has none, this process uses {@link detachedProcOps} or hides.
 */
function leaveHostProcSteps(
  mounts: readonly ParsedMount[],
  config: Config,
  request: LaunchRequest,
  facts: HostFacts,
): readonly Step[] {
  // The JavaScript executor needs a procfs to fork for a hook.
  const isNeeded = request.startBy === "fifo" || (config.hooks?.startContainer?.length ?? 0) > 0;
  if (!isNeeded) return [step("close the host's /proc", "", [call("close", [fixedFd("proc")])])];
  const O = openFlag(facts.arch);
  const own = slot("own proc");
  const type = slot("type");
  const statfs = buffer("statfs", 120);
  const hide: readonly Op[] = [call("prctl", [Prctl.PR_SET_DUMPABLE, 0, 0, 0, 0]), { op: "endStep" }];
  const otherwise = mountsProc(mounts) ? hide : [...detachedProcOps(own, hide), { op: "endStep" } as const];
  return [step("replace the host's /proc by the container's or hide this process", "", [
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
    // Before any namespace, so that all of the container's processes start in the cgroups.
    ...enterCgroupSteps(cgroup, facts.arch),
    affinityStep(facts),
    // While the stage still has the host's rights.
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
    // While the process's files in /proc still belong to its user.
    ...oomScoreSteps(config.process!, facts.arch),
  ];
}

/**
 * Whether the cgroups are still accessible after all namespaces are created, and the parent does not move the stage
 * before. In a joined pid namespace, other processes would see the files that the container's process opens to enter
 * the cgroups.
 */
function entersLate(config: Config, { stageIsMoved }: LaunchRequest): boolean {
  return !stageIsMoved && !hasNamespace(config, "user") &&
    !joinedNamespaces(config).some(({ type }) => type === "mount" || type === "pid");
}

/**
 * The container's process enters its cgroups as its first step. The stage creates the namespaces, and without
 * `cloneInto` also that process, while the parent creates the cgroups. These are not charged to the container's memory.
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
    step("start a session and set the umask to 0", "", [
      call("setsid", [], { tolerate: ["EPERM"] }),
      // Created files get exactly the requested mode.
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
    // Hooks need the old root and the finished mounts.
    ...limitSteps(config),
    // The next step may run the first foreign program.
    ...hideSteps(facts),
    ...createContainerHookSteps(config),
    ...enterRootSteps(config, facts, request),
    ...awaitLimitSteps(config),
    ...(ownDev ? reopenNullSteps(facts) : []),
    ...workingDirectorySteps(process.cwd, facts.arch),
    // After the config's mounts, because the pty is in the container's devpts. Before the root is read-only, because
    // /dev/console is created in it.
    ...consoleSteps(process, facts.arch, { devConsole: true }),
    ...(request.pidfdSocket ? pidfdSteps("standard") : []),
    ...(ownMounts
      ? [...finishMountSteps(mounts), ...readonlyRootSteps(config), umaskStep(config)]
      : [restoreUmaskStep()]),
    ...nameSteps(config),
    ...appArmorSteps(process, facts),
    // Before masks and read-only paths, which may cover /proc/sys.
    ...sysctlSteps(config, facts.arch),
    // As late as the host's /proc is available. From here on, only hooks are executed before the program.
    ...execLabelSteps(process.selinuxLabel, facts.arch),
    ...hooks.open,
    ...(mountsByProc ? [] : leaveHostProcSteps(mounts, config, request, facts)),
    // After all other mounts: a later mount on such a path would make it writable again.
    ...readonlyPathSteps(config, facts),
    ...maskedPathSteps(config, facts, ownDev),
    // Until here, a symlink of the image may lead into the host's /proc. Nothing can be mounted there, because it is in
    // another mount namespace.
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
    // From here on, only the program is opened.
    ...restrictSteps(config.annotations ?? {}),
    ...filter.close,
    ...execSteps(process, env),
  ];
}

/** Whether the launch needs the fixed descriptors `sources-init` and `sources-helper`, a connected pair. */
export function hasHelper(mounts: readonly ParsedMount[], config: Config, facts: HostFacts): boolean {
  return helpedMounts(mounts, config, facts).length > 0;
}

function clearGroupsStep(): Step {
  // The host's groups mean nothing in the user namespace. EPERM: setgroups is denied in it.
  return step("leave the host's groups", "/linux/gidMappings", [call("setgroups", [0, 0], { tolerate: ["EPERM"] })]);
}

function umaskStep(config: Config): Step {
  const umask = config.process!.user.umask ?? 0o022;
  return step(`set the umask to 0${umask.toString(8)}`, "/process/user/umask", [call("umask", [umask])]);
}

/** Without a mount namespace, runc does not change the umask. */
function restoreUmaskStep(): Step {
  return step("restore the caller's umask", "", [call("umask", [callersUmask])]);
}

const callersUmask = slot("umask");

/** The directory of the sd_notify proxy's socket in the container. */
const NOTIFY_PLACE = "/run/notify";

/**
 * The container's mounts: the config's, then the sd_notify proxy's directory. `own`: the config's, if already parsed.
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
 * The plan that starts the container of `config`. Pure: equal arguments give equal plans. `mounts`: see
 * {@link containerMounts}.
 *
 * `config` has been validated. @throws {RuncError} for errors that only planning finds, with the field.
 */
export function planCreate(
  config: Config,
  facts: HostFacts,
  request: LaunchRequest,
  mounts: readonly ParsedMount[] = containerMounts(config, request),
): Plan {
  return { stage: stage(config, facts, request, mounts), init: init(config, facts, request, mounts) };
}
