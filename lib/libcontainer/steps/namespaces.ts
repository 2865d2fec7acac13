/**
 * Namespaces, joined by path or new; a user namespace's id maps; clock offsets. Runs in: stage.
 *
 * @module
 */

import { AT_FDCWD, AtFlag, CloneFlag, MountAttr, MountFlag, openFlag, OpenTree, Prctl } from "../../ffi/constants.ts";
import { call, fixedFd, slot, step, struct, text, when } from "../../plan/build.ts";
import { NO_CGROUP, type Op, type Step } from "../../plan/op.ts";
import type { Config, NamespaceType, TimeOffsets } from "../../specs/config.ts";
import { type JoinedNamespace, makesNamespace, namespaceKinds } from "../config/namespaces.ts";
import type { Arch } from "../../ffi/syscalls.ts";
import type { CgroupEntry } from "../config/launch_request.ts";
import { awaitGo, tell, tellValue } from "./protocol.ts";

/** The fixed descriptor of a namespace to join. */
export const namespaceFd = (type: NamespaceType) => fixedFd(`ns-${type}`);

const becomeRoot: readonly Op[] = [
  call("setresgid", [0, 0, 0]),
  call("setresuid", [0, 0, 0]),
];

/** Processes in the joined namespaces must not access this one through ptrace or /proc (CVE-2016-9962). */
const hideStep = (): Step =>
  step("hide from the processes of the joined namespaces", "", [call("prctl", [Prctl.PR_SET_DUMPABLE, 0, 0, 0, 0])]);

/**
 * Clears the dumpable attribute again after the JavaScript executor's execve, which has reset it.
 * PR_SET_DUMPABLE(2const). Runs in: init, as its first step.
 */
export function hideAgainSteps(joined: readonly JoinedNamespace[]): readonly Step[] {
  return joined.length === 0 ? [] : [hideStep()];
}

/**
 * Joins namespaces in an order that works regardless of their owners: first those that the caller may join, then the
 * user namespace, then, with its capabilities, those that were refused before. setns(2): joining requires CAP_SYS_ADMIN
 * in the owning user namespace.
 */
export function joinSteps(joined: readonly JoinedNamespace[]): readonly Step[] {
  if (joined.length === 0) return [];
  const user = joined.find(({ type }) => type === "user");
  const others = joined.filter(({ type }) => type !== "user");
  const setns = ({ type }: JoinedNamespace, tolerate: boolean) =>
    call("setns", [namespaceFd(type), namespaceKinds[type].flag], {
      out: slot(`joined ${type}`),
      tolerate: tolerate ? ["EPERM"] : [],
    });
  const label = ({ type, path }: JoinedNamespace) => `join ${type} namespace ${path}`;
  const steps: Step[] = [
    hideStep(),
    ...others.map((one) => step(label(one), one.from, [setns(one, user !== undefined)])),
  ];
  if (user === undefined) return steps;
  steps.push(step(`${label(user)} and become its root`, user.from, [setns(user, false), ...becomeRoot]));
  for (const one of others) {
    steps.push(step(`${label(one)} as root of the user namespace`, one.from, [
      when(slot(`joined ${one.type}`), "!=", 0, [setns(one, false)]),
    ]));
  }
  return steps;
}

function offsetsText(offsets: TimeOffsets): string {
  // Each line is "<clock> <seconds> <nanoseconds>". time_namespaces(7)
  return Object.entries(offsets)
    .map(([clock, offset]) => `${clock} ${offset.secs ?? 0} ${offset.nanosecs ?? 0}\n`)
    .join("");
}

/**
 * Creates a time namespace and sets its clocks, which is possible only before the first process is in it.
 * time_namespaces(7)
 */
function timeSteps(config: Config, arch: Arch): readonly Step[] {
  if (!makesNamespace(config, "time")) return [];
  const ops: Op[] = [call("unshare", [CloneFlag.CLONE_NEWTIME])];
  const offsets = config.linux?.timeOffsets ?? {};
  if (Object.keys(offsets).length > 0) {
    const content = offsetsText(offsets);
    ops.push(
      call("openat", [fixedFd("proc"), "self/timens_offsets", openFlag(arch).O_WRONLY, 0], { out: slot("file") }),
      call("write", [slot("file"), text(content), content.length]),
      call("close", [slot("file")]),
    );
  }
  return [step(`create time namespace${ops.length > 1 ? " and set its clocks" : ""}`, "/linux/timeOffsets", ops)];
}

/**
 * Creates the new namespaces of config.json. `cgroupLater`: without the cgroup namespace, because its root must be a
 * cgroup that is entered later. @see createCgroupSteps
 */
export function createSteps(
  config: Config,
  arch: Arch,
  { cgroup, cgroupLater }: { cgroup: CgroupEntry; cgroupLater: boolean },
): readonly Step[] {
  const made = (config.linux?.namespaces ?? []).filter(({ path }) => !path).map(({ type }) => type);
  const steps: Step[] = [];
  if (made.includes("user")) {
    // Alone and first, because the other namespaces must belong to it. user_namespaces(7)
    steps.push(step("create user namespace and have the parent map its ids", "/linux/uidMappings", [
      call("unshare", [CloneFlag.CLONE_NEWUSER], {
        hint: {
          ENOSPC: "user.max_user_namespaces is reached or 0",
          EPERM: "this host allows no user namespaces: look at the sysctls kernel.unprivileged_userns_clone and " +
            "kernel.apparmor_restrict_unprivileged_userns, as far as there are any",
        },
      }),
      tell("mapping"),
      ...awaitGo(),
    ]));
  }
  // Before the change of uid, which makes the process non-dumpable, so that its files in /proc belong to the host's
  // root.
  steps.push(...timeSteps(config, arch));
  if (made.includes("user")) steps.push(step("become root of the user namespace", "/linux/uidMappings", becomeRoot));
  const rest = made.filter((type) =>
    type !== "user" && type !== "time" && !waitsForChild(type, cgroup) && !(type === "cgroup" && cgroupLater)
  );
  if (rest.length > 0) {
    const flags = rest.reduce((bits, type) => bits | namespaceKinds[type].flag, 0);
    steps.push(step(`create ${rest.join(", ")} namespaces`, "/linux/namespaces", [call("unshare", [flags])]));
  }
  return steps;
}

/** Creates the cgroup namespace that {@link createSteps} has omitted. Runs in: init, before its own steps. */
export function createCgroupSteps(config: Config, cgroup: CgroupEntry): readonly Step[] {
  if (!makesNamespace(config, "cgroup") || waitsForChild("cgroup", cgroup)) return [];
  return [createCgroup()];
}

const createCgroup = () =>
  step("create cgroup namespace", "/linux/namespaces", [call("unshare", [CloneFlag.CLONE_NEWCGROUP])]);

/**
 * A child created in its cgroup must create the cgroup namespace itself: the namespace's root is the creator's cgroup.
 */
function waitsForChild(type: NamespaceType, cgroup: CgroupEntry): boolean {
  return type === "cgroup" && cgroup.cloneInto !== undefined;
}

/** The namespaces of `joined` that the stage joins. @see lateJoinSteps */
export function earlyJoined(joined: readonly JoinedNamespace[], cgroup: CgroupEntry): readonly JoinedNamespace[] {
  return joined.filter(({ type }) => !waitsForChild(type, cgroup));
}

/**
 * Joins the cgroup namespace after all others. If cgroup2 is mounted with nsdelegate, a process in the namespace cannot
 * create a child in a cgroup outside it (ENOENT). Runs in: init. cgroup_attach_permissions in kernel/cgroup/cgroup.c
 */
export function lateJoinSteps(joined: readonly JoinedNamespace[], cgroup: CgroupEntry): readonly Step[] {
  return joinSteps(joined.filter(({ type }) => waitsForChild(type, cgroup)));
}

/** Creates the cgroup namespace if the stage could not. Runs in: init. cgroup_namespaces(7) */
export function ownCgroupNamespaceSteps(config: Config, cgroup: CgroupEntry): readonly Step[] {
  if (!makesNamespace(config, "cgroup") || !waitsForChild("cgroup", cgroup)) return [];
  return [createCgroup()];
}

/** Closes descriptors that the caller left open by mistake. The fixed ones are between both ranges. Runs in: stage. */
export function closeForeignStep(inheritedFds: number): Step {
  return step("close what the caller left open", "", [
    call("close_range", [3 + inheritedFds, fixedFd("last foreign"), 0]),
    call("close_range", [fixedFd("next foreign"), -1, 0]),
  ]);
}

const awaitCgroups = (): Step => step("wait until the parent has made the cgroups", "/linux/cgroupsPath", awaitGo());

/** This single-threaded process joins by itself, which is far cheaper than being moved. */
function enterSteps(cgroup: CgroupEntry, arch: Arch): readonly Step[] {
  const O = openFlag(arch);
  const file = slot("file");
  const tolerance = { all: ["*"], permission: ["EPERM", "EACCES", "EROFS"] } as const;
  return cgroup.taskFiles.map(({ path, tolerate }) =>
    step(`enter ${path.slice(0, path.lastIndexOf("/"))}`, "/linux/cgroupsPath", [
      call("openat", [AT_FDCWD, path, O.O_WRONLY | O.O_CLOEXEC, 0], {
        out: file,
        endStepOn: tolerate === undefined ? [] : tolerance[tolerate],
      }),
      call("write", [file, "0", 1], { tolerate: tolerate === undefined ? [] : tolerance[tolerate] }),
      call("close", [file]),
    ])
  );
}

/** `struct mount_attr`: attr_set at 0, propagation at 16. @see mount_setattr(2) */
const readonlyAndPrivate = struct("{attr_set: MOUNT_ATTR_RDONLY, propagation: MS_PRIVATE}", 32, [
  { at: 0, size: 8, value: MountAttr.MOUNT_ATTR_RDONLY },
  { at: 16, size: 8, value: MountFlag.MS_PRIVATE },
]);

/**
 * Opens the cgroup2 directory, if any, in which the container's process is created. That process inherits the
 * descriptor, and the container's other processes see it from the start: one with CAP_SYS_PTRACE could open
 * /proc/PID/fd/N and walk up from it. So the directory is a read-only mount of its own, without a parent directory.
 *
 * If no such mount can be created, this process enters the cgroup before it forks. That is slow, because the kernel
 * then waits for an RCU grace period.
 */
function openCgroupSteps({ cloneInto }: CgroupEntry, arch: Arch): readonly Step[] {
  if (cloneInto === undefined) return [];
  const O = openFlag(arch);
  const refused = slot("refused");
  const procs = slot("procs");
  return [step(`open ${cloneInto} as a mount of its own or enter it`, "/linux/cgroupsPath", [
    call("open_tree", [AT_FDCWD, cloneInto, OpenTree.OPEN_TREE_CLONE | OpenTree.OPEN_TREE_CLOEXEC], {
      out: cgroupDirectory,
      tolerate: ["*"],
    }),
    // EBADF if there is no copy.
    call("mount_setattr", [cgroupDirectory, "", AtFlag.AT_EMPTY_PATH, readonlyAndPrivate, 32], {
      out: refused,
      tolerate: ["*"],
    }),
    when(refused, "!=", 0, [
      call("close", [cgroupDirectory], { tolerate: ["EBADF"] }),
      call("openat", [AT_FDCWD, `${cloneInto}/cgroup.procs`, O.O_WRONLY | O.O_CLOEXEC, 0], { out: procs }),
      call("write", [procs, "0", 1]),
      call("close", [procs]),
      { op: "add", left: NO_CGROUP, right: 0, out: cgroupDirectory },
    ]),
  ])];
}

/**
 * Enters the cgroups before joining or creating other namespaces: the paths and the permissions are the host's. Runs
 * in: stage.
 */
export function enterCgroupSteps(cgroup: CgroupEntry, arch: Arch): readonly Step[] {
  return [awaitCgroups(), ...enterSteps(cgroup, arch), ...openCgroupSteps(cgroup, arch)];
}

/**
 * Enters the cgroups around the fork if the order does not matter: the stage then works while the parent creates the
 * cgroups.
 */
export function enterCgroupLater(
  cgroup: CgroupEntry,
  arch: Arch,
): { readonly beforeFork: readonly Step[]; readonly afterFork: readonly Step[] } {
  const enter = enterSteps(cgroup, arch);
  return cgroup.cloneInto === undefined
    ? { beforeFork: [], afterFork: [awaitCgroups(), ...enter] }
    : { beforeFork: [awaitCgroups(), ...openCgroupSteps(cgroup, arch)], afterFork: enter };
}

/** Open cgroup2 directory in which the container's process is created, or {@link NO_CGROUP}. */
const cgroupDirectory = slot("cgroup");

/**
 * The end of each stage: forks the container's process, sends its pid to the parent, and exits. The container's process
 * runs the following steps.
 */
export function forkSteps(cgroup: CgroupEntry): readonly Step[] {
  const pid = slot("pid");
  return [step("fork the container's process, tell the parent its pid and exit", "", [
    {
      op: "fork",
      // CLONE_PARENT: the parent, not this stage, becomes the new process's parent and can wait for it. clone(2)
      flags: CloneFlag.CLONE_PARENT | CloneFlag.SIGCHLD,
      intoCgroup: cgroup.cloneInto === undefined ? undefined : cgroupDirectory,
      out: pid,
      parent: [...tellValue("child", pid), call("exit_group", [0])],
      child: cgroup.cloneInto === undefined ? [] : [call("close", [cgroupDirectory], { tolerate: ["EBADF"] })],
    },
  ])];
}
