/**
 * Rules that compare users, limits, capabilities, security modules and seccomp with the host.
 *
 * @module
 */

import type { Config, IdMapping } from "../../../specs/config.ts";
import { namespaceOf, quote } from "../../config/validate/facts.ts";
import { hasSeccomp } from "../../seccomp/filter.ts";
import { asksForLandlock } from "../../steps/landlock.ts";
import type { CheckFacts, IdRange } from "../facts.ts";
import type { CheckRule } from "../rule.ts";

/** The names of actions in /proc/sys/kernel/seccomp/actions_avail. @see seccomp(2) */
const actionWords: Readonly<Record<string, string>> = {
  SCMP_ACT_KILL: "kill_thread",
  SCMP_ACT_KILL_THREAD: "kill_thread",
  SCMP_ACT_KILL_PROCESS: "kill_process",
  SCMP_ACT_TRAP: "trap",
  SCMP_ACT_ERRNO: "errno",
  SCMP_ACT_NOTIFY: "user_notif",
  SCMP_ACT_TRACE: "trace",
  SCMP_ACT_LOG: "log",
  SCMP_ACT_ALLOW: "allow",
};

/** A new user namespace that the caller maps without root. */
function mapsAsUser(config: Config, { rootlessEuid }: CheckFacts): boolean {
  return rootlessEuid && namespaceOf(config, "user") !== undefined && !namespaceOf(config, "user")?.path;
}

/** Whether the caller may map these ids: its own alone, else ranges that are listed for it, if they are known. */
function mayMap({ hostID, size }: IdMapping, own: number, ranges: readonly IdRange[] | undefined): boolean {
  if (ranges === undefined || (hostID === own && size === 1)) return true;
  return ranges.some(({ first, size: listed }) => hostID >= first && hostID + size <= first + listed);
}

const ofUsers: readonly CheckRule[] = [
  {
    id: "user-namespace-refused",
    severity: "problem",
    field: "linux.namespaces",
    finds: "a new user namespace on a host that refuses one",
    why: "unshare(2) fails: the number of namespaces is limited, or users without root may not make any",
    fix: "raise the limit: sysctl -w user.max_user_namespaces=15000; `runc doctor` names the cause",
    *find(config, { userNamespaceErrno }) {
      const namespace = namespaceOf(config, "user");
      if (namespace === undefined || namespace.path || userNamespaceErrno === 0) return;
      const at = `/linux/namespaces/${config.linux!.namespaces!.indexOf(namespace)}`;
      const message = `this host refuses a new user namespace (errno ${userNamespaceErrno})`;
      yield { at, found: "user", wanted: "a host that allows it", message };
    },
  },
  {
    id: "subordinate-ids",
    severity: "problem",
    field: "linux",
    finds: "a mapping of ids that /etc/subuid or /etc/subgid does not list for the caller",
    why: "newuidmap and newgidmap map only ids that belong to the caller",
    fix: "add a range: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER",
    *find(config, facts) {
      if (!mapsAsUser(config, facts)) return;
      const { caller, subordinate } = facts;
      for (const kind of ["uid", "gid"] as const) {
        for (const [index, found] of (config.linux?.[`${kind}Mappings`] ?? []).entries()) {
          if (mayMap(found, caller[kind], subordinate[kind])) continue;
          const last = found.hostID + found.size - 1;
          const message = `/etc/sub${kind} does not list the ids ${found.hostID} to ${last} for this user`;
          yield { at: `/linux/${kind}Mappings/${index}`, found, wanted: "ids of this user", message };
        }
      }
    },
  },
  {
    id: "mapping-tools",
    severity: "problem",
    field: "linux",
    finds: "a mapping of several ids without root on a host without newuidmap or newgidmap",
    why: "the kernel lets a user map only its own id; these programs map the others",
    fix: "install the package uidmap (Debian), shadow-utils (Fedora) or shadow-subids (Alpine)",
    *find(config, facts) {
      const { caller, subordinate: { missingTools } } = facts;
      if (!mapsAsUser(config, facts) || missingTools.length === 0) return;
      for (const kind of ["uid", "gid"] as const) {
        const mappings = config.linux?.[`${kind}Mappings`] ?? [];
        const isOwn = mappings.every(({ hostID, size }) => hostID === caller[kind] && size === 1);
        if (isOwn || !missingTools.includes(`new${kind}map`)) continue;
        const message = `new${kind}map is not installed`;
        yield { at: `/linux/${kind}Mappings`, found: mappings, wanted: "only the own id", message };
      }
    },
  },
  {
    id: "rlimit-too-high",
    severity: "problem",
    field: "process.rlimits",
    finds: "an rlimit that the host does not allow",
    why: "prlimit(2) fails with EPERM: open files are limited by fs.nr_open, others by the caller's hard limit",
    fix: "lower the limit; for open files with root: sysctl -w fs.nr_open=N",
    *find({ process }, { caller, largestOpenFiles }) {
      const mayRaise = caller.capabilities.includes("CAP_SYS_RESOURCE");
      for (const [index, { type, hard: found }] of (process?.rlimits ?? []).entries()) {
        const own = mayRaise ? undefined : caller.hardLimits[type];
        const most = type === "RLIMIT_NOFILE" && (own === undefined || own > largestOpenFiles) ? largestOpenFiles : own;
        if (most === undefined || BigInt(found) <= most) continue;
        const message = `${type} ${found} is above what this host allows, ${most}`;
        yield { at: `/process/rlimits/${index}/hard`, found, wanted: `at most ${most}`, message };
      }
    },
  },
  {
    id: "capability-not-held",
    severity: "problem",
    field: "process.capabilities",
    finds: "a capability that the caller does not have itself, without a user namespace",
    why: "capset(2) fails with EPERM: nobody can give a capability that it does not have",
    fix: "remove the capability, or run the runtime with it (it may be in a container itself)",
    *find(config, { caller, rootlessEuid }) {
      if (rootlessEuid || namespaceOf(config, "user") !== undefined) return;
      for (const [index, found] of (config.process?.capabilities?.permitted ?? []).entries()) {
        if (!found.startsWith("CAP_") || caller.capabilities.includes(found)) continue;
        const at = `/process/capabilities/permitted/${index}`;
        yield { at, found, wanted: "a capability of the caller", message: `this process does not have ${found}` };
      }
    },
  },
];

const ofModules: readonly CheckRule[] = [
  {
    id: "apparmor-off",
    severity: "problem",
    field: "process.apparmorProfile",
    finds: "an AppArmor profile on a host without AppArmor",
    why: "the profile cannot be applied, and the container fails to start",
    fix: "remove apparmorProfile, or boot with apparmor=1 security=apparmor",
    *find({ process }, { appArmor }) {
      const found = process?.apparmorProfile ?? "";
      if (found === "" || appArmor.isEnabled) return;
      yield {
        at: "/process/apparmorProfile",
        found,
        wanted: "nothing",
        message: "AppArmor is not enabled on this host",
      };
    },
  },
  {
    id: "apparmor-profile",
    severity: "problem",
    field: "process.apparmorProfile",
    finds: "an AppArmor profile that is not loaded",
    why: "the container fails to start with ENOENT",
    fix: "load the profile: apparmor_parser -r FILE",
    *find({ process }, { appArmor: { isEnabled, profiles } }) {
      const found = process?.apparmorProfile ?? "";
      if (["", "unconfined"].includes(found) || !isEnabled || profiles === undefined || profiles.includes(found)) {
        return;
      }
      const message = `the AppArmor profile ${quote(found)} is not loaded`;
      yield { at: "/process/apparmorProfile", found, wanted: "a loaded profile", message };
    },
  },
  {
    id: "mount-label",
    severity: "problem",
    field: "linux.mountLabel",
    finds: "`linux.mountLabel` on a host without SELinux",
    why: "the kernel does not know the mount option context=, and mount(2) fails",
    fix: "remove mountLabel, or enable SELinux",
    *find({ linux }, { selinux }) {
      const found = linux?.mountLabel ?? "";
      if (found === "" || selinux) return;
      yield { at: "/linux/mountLabel", found, wanted: "nothing", message: "SELinux is not enabled on this host" };
    },
  },
  {
    id: "landlock-missing",
    severity: "problem",
    field: "annotations",
    finds: "annotations for Landlock on a host without it",
    why: "the container fails to start, because the restriction would be missing",
    fix: "boot with lsm=landlock,..., or remove the annotations",
    *find({ annotations = {} }, { hasLandlock }) {
      if (!asksForLandlock(annotations) || hasLandlock) return;
      const message = "the kernel has no Landlock, or it is off";
      yield { at: "/annotations", wanted: "no annotation org.opencontainers.landlock.*", message };
    },
  },
];

const ofSeccomp: readonly CheckRule[] = [
  {
    id: "seccomp-library",
    severity: "problem",
    field: "linux.seccomp",
    finds: "a seccomp profile on a host without libseccomp",
    why: "the profile cannot be compiled",
    fix: "install libseccomp2 (Debian, Ubuntu) or libseccomp (Fedora, Alpine)",
    *find(config, { seccomp: { hasLibrary } }) {
      if (!hasSeccomp(config) || hasLibrary) return;
      yield { at: "/linux/seccomp", wanted: "nothing", message: "libseccomp.so.2 is not installed" };
    },
  },
  {
    id: "seccomp-name",
    severity: "warning",
    field: "linux.seccomp.syscalls",
    finds: "a system call that libseccomp does not know",
    why: "the name is ignored: it is misspelt, or newer than the library",
    fix: "correct the name, or install a newer libseccomp",
    *find({ linux }, { seccomp: { hasLibrary, knowsCall } }) {
      if (!hasLibrary) return;
      for (const [index, { names }] of (linux?.seccomp?.syscalls ?? []).entries()) {
        // One warning for each list: the profiles of engines have names for newer libraries.
        const found = names.filter((name) => name !== "" && !knowsCall(name));
        if (found.length === 0) continue;
        const message = `libseccomp does not know ${found.map(quote).join(", ")}`;
        yield { at: `/linux/seccomp/syscalls/${index}/names`, found, wanted: "names of system calls", message };
      }
    },
  },
  {
    id: "seccomp-action",
    severity: "problem",
    field: "linux.seccomp",
    finds: "a seccomp action that the kernel does not have",
    why: "the kernel treats it as SCMP_ACT_KILL",
    fix: "use an action of /proc/sys/kernel/seccomp/actions_avail",
    *find(config, { seccomp: { actions } }) {
      if (!hasSeccomp(config) || actions === undefined) return;
      const { defaultAction, syscalls = [] } = config.linux!.seccomp!;
      const given = [
        [defaultAction, "/defaultAction"] as const,
        ...syscalls.map(({ action }, index) => [action, `/syscalls/${index}/action`] as const),
      ];
      for (const [found, place] of given) {
        const word = actionWords[found];
        if (word === undefined || actions.includes(word)) continue;
        yield {
          at: `/linux/seccomp${place}`,
          found,
          wanted: actions.join(", "),
          message: `this kernel has no ${found}`,
        };
      }
    },
  },
  {
    id: "seccomp-flag",
    severity: "problem",
    field: "linux.seccomp.flags",
    finds: "the flag SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV on a kernel without it",
    why: "seccomp(2) fails with EINVAL",
    fix: "remove the flag, or use Linux 5.19 or newer",
    *find({ linux }, { seccomp: { waitsKillable } }) {
      const found = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV";
      const index = (linux?.seccomp?.flags ?? []).indexOf(found);
      if (index < 0 || waitsKillable) return;
      const at = `/linux/seccomp/flags/${index}`;
      yield { at, found, wanted: "a flag of this kernel", message: `this kernel has no ${found}` };
    },
  },
  {
    id: "seccomp-agent-missing",
    severity: "problem",
    field: "linux.seccomp.listenerPath",
    finds: "a `listenerPath` without a socket",
    why: "the agent does not run, so the container cannot start",
    fix: "start the agent before the container",
    *find({ linux }, { fileAt }) {
      const { listenerPath: found = "", syscalls = [] } = linux?.seccomp ?? {};
      if (found === "" || !syscalls.some(({ action }) => action === "SCMP_ACT_NOTIFY")) return;
      if (fileAt(found)?.kind === "socket") return;
      yield { at: "/linux/seccomp/listenerPath", found, wanted: "a socket", message: `there is no socket at ${found}` };
    },
  },
];

/** Rules for users, limits, security modules and seccomp. */
export const hostSecurityChecks: readonly CheckRule[] = [...ofUsers, ...ofModules, ...ofSeccomp];
