/**
 * Questions about this program and the kernel.
 *
 * @module
 */

import { errnoName } from "../../../ffi/errno.ts";
import { type NamespaceType, namespaceTypes } from "../../../specs/config.ts";
import { hasNamespace, makesNamespace, namespaceKinds } from "../../config/namespaces.ts";
import type { Question, Verdict } from "./answer.ts";
import type { DoctorFacts } from "./facts.ts";

const ok = (message: string): Verdict => ({ state: "ok", message });

/** The namespaces that every container with the default config has. */
const usual: readonly string[] = ["pid", "network", "mount", "ipc", "uts"];

function namespaceVerdict(facts: DoctorFacts, type: NamespaceType): Verdict {
  const errno = facts.namespaceErrnos[type];
  if (errno === undefined) return { state: "limited", message: `${type} namespaces could not be tried` };
  if (errno === 0) return ok(`${type} namespaces can be made`);
  const name = errnoName(errno);
  // Without root each other type needs a user namespace, which has its own question.
  if (name === "EPERM" && facts.caller.uid !== 0 && type !== "user") {
    return ok(`${type} namespaces can be made in a user namespace`);
  }
  return { state: "off", message: `${type} namespaces cannot be made: ${name}`, fix: namespaceFix(facts, type, name) };
}

function namespaceFix({ userNamespaceRestrictions }: DoctorFacts, type: NamespaceType, errno: string): string {
  // EINVAL: the kernel does not know the flag. ENOSPC: namespaces(7), "The /proc/sys/user directory".
  if (errno === "EINVAL") return `boot a kernel with CONFIG_${option(type)}=y`;
  if (errno === "ENOSPC") return `sysctl -w user.max_${namespaceKinds[type].file}_namespaces=100000`;
  if (type === "user" && userNamespaceRestrictions.length > 0) return allowCommand(userNamespaceRestrictions);
  return "run outside of the container that this process is in, or give it CAP_SYS_ADMIN and no seccomp filter";
}

/** Turns each restriction, which is a switch, to its other position. `restrictions`: `name=value`. */
export function allowCommand(restrictions: readonly string[]): string {
  return restrictions.map((one) => `sysctl -w ${one.replace(/=.*/, "")}=${one.endsWith("=0") ? 1 : 0}`).join(" && ");
}

/** The kernel's build option of a type. */
const option = (type: NamespaceType) =>
  ({ network: "NET_NS", mount: "NAMESPACES", cgroup: "CGROUPS" } as Readonly<Partial<Record<NamespaceType, string>>>)[
    type
  ] ?? `${type.toUpperCase()}_NS`;

/** About this program. */
export const programQuestions: readonly Question[] = [
  {
    id: "snapshot",
    area: "program",
    asks: "Is the program resumed from its snapshot?",
    how: "the program knows how it was started; beside a launcher it looks for the snapshot",
    neededBy: () => false,
    judge({ program: { kind, path, hasSnapshot } }) {
      if (kind === "snapshot") return ok("the program is resumed from its snapshot");
      if (kind !== "launcher") {
        return { state: "limited", message: `the program is started as ${kind}, without a snapshot` };
      }
      const message = hasSnapshot
        ? `${path} is a snapshot, but it cannot be resumed here: the processor lacks an instruction of the build host, or an area of memory cannot be mapped; each command starts Deno`
        : `${path} was built without a snapshot; each command starts Deno`;
      return { state: "limited", message, fix: "deno task build && deno task install, as root on this host" };
    },
  },
  {
    id: "state-directory",
    area: "program",
    asks: "Can the state directory be written to?",
    how: "faccessat(2) on it, or on its nearest existing parent",
    isBasic: () => true,
    neededBy: () => true,
    judge({ state: { directory, isWritable } }) {
      if (isWritable) return ok(`state can be kept below ${directory}`);
      const message = `${directory} cannot be written to`;
      return {
        state: "off",
        message,
        fix: "export XDG_RUNTIME_DIR=/run/user/$(id -u), or use --root with a directory of yours",
      };
    },
  },
];

/** About the kernel's calls and namespaces. */
export const kernelQuestions: readonly Question[] = [
  {
    id: "system-calls",
    area: "kernel",
    asks: "Are the system calls there that this program uses?",
    how: "each call is made with arguments that are invalid, and must not fail with ENOSYS or EPERM",
    isBasic: () => true,
    neededBy: () => true,
    judge({ unavailableCalls, isFiltered, kernelRelease }) {
      if (unavailableCalls.length === 0) return ok(`Linux ${kernelRelease} has all system calls`);
      const names = unavailableCalls.join(", ");
      if (!isFiltered) return { state: "off", message: `the kernel lacks ${names}`, fix: "boot Linux 5.14 or newer" };
      const message = `a seccomp filter around this process refuses ${names}; other calls are used where that is safe`;
      return { state: "limited", message, fix: "run the engine around it with --security-opt seccomp=unconfined" };
    },
  },
  {
    id: "privileges",
    area: "kernel",
    asks: "Does the caller have the rights of the host's root?",
    how: "the permitted capabilities and the id map of this process",
    neededBy: () => false,
    judge({ caller, inUserNamespace }) {
      if (caller.uid !== 0) {
        return { state: "limited", message: `the caller is user ${caller.uid}: containers need a user namespace` };
      }
      if (inUserNamespace) {
        return { state: "limited", message: "the caller is root of a user namespace, not of the host" };
      }
      if (caller.capabilities.includes("CAP_SYS_ADMIN")) return ok("the caller is root of the host");
      return {
        state: "limited",
        message: "the caller is root without CAP_SYS_ADMIN",
        fix: "give the container around it CAP_SYS_ADMIN",
      };
    },
  },
  ...namespaceTypes.map((type): Question => ({
    id: `namespace-${type}`,
    area: "kernel",
    asks: `Can a ${type} namespace be made?`,
    how: "unshare(2) in a child process",
    ...(usual.includes(type) ? { isBasic: () => true } : {}),
    neededBy: (config) => makesNamespace(config, type),
    judge: (facts) => namespaceVerdict(facts, type),
  })),
  {
    id: "proc",
    area: "kernel",
    asks: "May a container mount its own /proc?",
    how: "a child process mounts proc in new user and pid namespaces; mountinfo shows what covers /proc",
    neededBy: (config) => hasNamespace(config, "user") && (config.mounts ?? []).some(({ type }) => type === "proc"),
    judge({ proc: { covers, hidepid, mountErrno } }) {
      if (covers.length > 0) {
        const message = `parts of /proc are covered, so a user namespace may not mount proc: ${covers.join(", ")}`;
        return { state: "off", message, fix: `umount ${covers.join(" ")}` };
      }
      if (hidepid !== "") {
        const message = `/proc is mounted with hidepid=${hidepid}: users without root cannot look at their containers`;
        return { state: "limited", message, fix: "mount -o remount,hidepid=0 /proc" };
      }
      if (mountErrno === undefined || mountErrno === 0) return ok("nothing covers /proc");
      const message = `proc cannot be mounted in a user namespace: ${errnoName(mountErrno)}`;
      return { state: "limited", message };
    },
  },
  {
    id: "idmapped-mounts",
    area: "kernel",
    asks: "Do the file systems support id-mapped mounts?",
    how: "mount_setattr(2) on a detached copy of the mount, with the user namespace of a child process",
    neededBy: (config) =>
      (config.mounts ?? []).some(({ uidMappings, options = [] }) =>
        uidMappings !== undefined || options.includes("idmap") || options.includes("ridmap")
      ),
    judge({ idmapErrnos, caller }) {
      const entries = Object.entries(idmapErrnos);
      const refused = entries.filter(([, errno]) => errno !== undefined && errno !== 0).map(([path]) => path);
      if (refused.length > 0) {
        const message = `no id-mapped mounts on the file system of ${refused.join(", ")}`;
        return { state: "off", message, fix: "move the directory to ext4, xfs or btrfs, or boot a newer kernel" };
      }
      const isKnown = entries.every(([, errno]) => errno === 0);
      if (isKnown) return ok("id-mapped mounts can be made");
      const message = caller.uid === 0 ? "id-mapped mounts could not be tried" : "only root can make id-mapped mounts";
      return { state: "limited", message };
    },
  },
  {
    id: "memory-files",
    area: "kernel",
    asks: "May a file in memory be executed?",
    how: "vm.memfd_noexec",
    neededBy: () => false,
    judge({ memfdNoexec }) {
      if (memfdNoexec < 2) return ok("files in memory can be executed");
      const message = "vm.memfd_noexec=2 forbids to execute files in memory; a file in the state directory is used";
      return { state: "limited", message, fix: "sysctl -w vm.memfd_noexec=1" };
    },
  },
  {
    id: "keys",
    area: "kernel",
    asks: "Is there room for one more session keyring?",
    how: "/proc/key-users and the limit for this user",
    isBasic: () => true,
    neededBy: () => true,
    judge({ keys: { used, most }, caller }) {
      if (used < most) return ok(`${used} of ${most} keys are in use`);
      const name = caller.uid === 0 ? "kernel.keys.root_maxkeys" : "kernel.keys.maxkeys";
      const message = `all ${most} keys of this user are in use: a container fails with EDQUOT (disk quota exceeded)`;
      return { state: "off", message, fix: `sysctl -w ${name}=${2 * most}` };
    },
  },
];
