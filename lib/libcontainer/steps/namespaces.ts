/**
 * Namespaces: joined by path or made new, the user namespace's id maps, clock offsets. Runs in: stage.
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

/** Processes of the namespaces that are joined must not reach into this one through ptrace or /proc (CVE-2016-9962). */
const hideStep = (): Step =>
  step("hide from the processes of the joined namespaces", "", [call("prctl", [Prctl.PR_SET_DUMPABLE, 0, 0, 0, 0])]);

/** The same once more: the other executor's execve has undone it. PR_SET_DUMPABLE(2const). Runs in: init, as its first act. */
export function hideAgainSteps(joined: readonly JoinedNamespace[]): readonly Step[] {
  return joined.length === 0 ? [] : [hideStep()];
}

/**
 * Joins namespaces in an order that works whoever owns them: those that the caller may join first, then the user namespace, then, with
 * its capabilities, those that were refused before. setns(2): joining needs CAP_SYS_ADMIN in the owning user namespace.
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
  // "<clock> <seconds> <nanoseconds>" a line. time_namespaces(7)
  return Object.entries(offsets)
    .map(([clock, offset]) => `${clock} ${offset.secs ?? 0} ${offset.nanosecs ?? 0}\n`)
    .join("");
}

/** A new time namespace and its clocks, which can be set only before the first process is in it. time_namespaces(7) */
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
 * Makes the new namespaces that config.json asks for. `cgroupLater`: but for the cgroup namespace, whose root is to be a cgroup that is entered
 * later. @see createCgroupSteps
 */
export function createSteps(
  config: Config,
  arch: Arch,
  { cgroup, cgroupLater }: { cgroup: CgroupEntry; cgroupLater: boolean },
): readonly Step[] {
  const made = (config.linux?.namespaces ?? []).filter(({ path }) => !path).map(({ type }) => type);
  const steps: Step[] = [];
  if (made.includes("user")) {
    // Alone and first: the other namespaces must belong to it. user_namespaces(7)
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
  // Before the change of uid: that makes the process non-dumpable, and its files in /proc then belong to the host's root.
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

/** The cgroup namespace that {@link createSteps} has left out. Runs in: init, before its own steps. */
export function createCgroupSteps(config: Config, cgroup: CgroupEntry): readonly Step[] {
  if (!makesNamespace(config, "cgroup") || waitsForChild("cgroup", cgroup)) return [];
  return [createCgroup()];
}

const createCgroup = () =>
  step("create cgroup namespace", "/linux/namespaces", [call("unshare", [CloneFlag.CLONE_NEWCGROUP])]);

/** A child that is born in its cgroup must make the cgroup namespace itself: the namespace's root is its maker's cgroup. */
function waitsForChild(type: NamespaceType, cgroup: CgroupEntry): boolean {
  return type === "cgroup" && cgroup.cloneInto !== undefined;
}

/** Those of `joined` that the stage joins. @see lateJoinSteps */
export function earlyJoined(joined: readonly JoinedNamespace[], cgroup: CgroupEntry): readonly JoinedNamespace[] {
  return joined.filter(({ type }) => !waitsForChild(type, cgroup));
}

/**
 * The cgroup namespace that is joined after all others: where cgroup2 is mounted with nsdelegate, a process in the namespace has nobody
 * born into a cgroup from outside of it (ENOENT). Runs in: init. cgroup_attach_permissions in kernel/cgroup/cgroup.c
 */
export function lateJoinSteps(joined: readonly JoinedNamespace[], cgroup: CgroupEntry): readonly Step[] {
  return joinSteps(joined.filter(({ type }) => waitsForChild(type, cgroup)));
}

/** The cgroup namespace, where the stage could not make it. Runs in: init. cgroup_namespaces(7) */
export function ownCgroupNamespaceSteps(config: Config, cgroup: CgroupEntry): readonly Step[] {
  if (!makesNamespace(config, "cgroup") || !waitsForChild("cgroup", cgroup)) return [];
  return [createCgroup()];
}

/** Descriptors that our caller left open by mistake are not the container's. The fixed ones stand between them. Runs in: stage. */
export function closeForeignStep(inheritedFds: number): Step {
  return step("close what the caller left open", "", [
    call("close_range", [3 + inheritedFds, fixedFd("last foreign"), 0]),
    call("close_range", [fixedFd("next foreign"), -1, 0]),
  ]);
}

const awaitCgroups = (): Step => step("wait until the parent has made the cgroups", "/linux/cgroupsPath", awaitGo());

/** This process, which has one thread, goes in by itself: far cheaper than being put there. */
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
 * Opens the cgroup2 directory, if there is one, that the container's process is to be born in. That process inherits the descriptor, and is seen by
 * the container's others from its first moment: one with CAP_SYS_PTRACE opens /proc/PID/fd/N and goes up from there. So it is a mount of its own, with
 * nothing above it, that nobody can write through.
 *
 * Where no such mount can be made, this process enters the cgroup before it forks. That is slow, for the kernel then waits for an RCU grace period.
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
    // Without a copy EBADF.
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

/** Enters the cgroups before other namespaces are joined or made: the paths are the host's, and so are the rights. Runs in: stage. */
export function enterCgroupSteps(cgroup: CgroupEntry, arch: Arch): readonly Step[] {
  return [awaitCgroups(), ...enterSteps(cgroup, arch), ...openCgroupSteps(cgroup, arch)];
}

/** The same around the fork, where that does not matter: what can be done without the parent is done while it makes the cgroups. */
export function enterCgroupLater(
  cgroup: CgroupEntry,
  arch: Arch,
): { readonly beforeFork: readonly Step[]; readonly afterFork: readonly Step[] } {
  const enter = enterSteps(cgroup, arch);
  return cgroup.cloneInto === undefined
    ? { beforeFork: [], afterFork: [awaitCgroups(), ...enter] }
    : { beforeFork: [awaitCgroups(), ...openCgroupSteps(cgroup, arch)], afterFork: enter };
}

/** Open cgroup2 directory that the container's process is born in, or {@link NO_CGROUP}. */
const cgroupDirectory = slot("cgroup");

/** Each stage's end: it forks the container's process, tells the parent its pid, and goes. What follows is the container's process's. */
export function forkSteps(cgroup: CgroupEntry): readonly Step[] {
  const pid = slot("pid");
  return [step("fork the container's process, tell the parent its pid and exit", "", [
    {
      op: "fork",
      // The parent, not this stage, is to be the new process's parent, and can wait for it. clone(2)
      flags: CloneFlag.CLONE_PARENT | CloneFlag.SIGCHLD,
      intoCgroup: cgroup.cloneInto === undefined ? undefined : cgroupDirectory,
      out: pid,
      parent: [...tellValue("child", pid), call("exit_group", [0])],
      child: cgroup.cloneInto === undefined ? [] : [call("close", [cgroupDirectory], { tolerate: ["EBADF"] })],
    },
  ])];
}
