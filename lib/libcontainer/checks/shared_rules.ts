/**
 * What the documents say about the rules that `create` applies too (../config/validate.ts), and about the parser's
 * complaints. The compiler checks that each rule has a text.
 *
 * @module
 */

import type { validationRules, warningRules } from "../config/validate.ts";
import type { RuleText } from "./rule.ts";

/** The ids of the rules that `create` applies. */
export type SharedRuleId = (typeof validationRules)[number][0];
/** The ids of the rules that `create` logs as warnings. */
export type SharedWarningId = (typeof warningRules)[number][0];

type Text = Omit<RuleText, "severity">;

/** The parser's complaints, and what prevents a check. */
export const schemaTexts = {
  "config-missing": {
    severity: "problem",
    finds: "a bundle without a readable config.json",
    why: "there is nothing to run",
    fix: "write a config.json: runc spec --bundle DIR",
  },
  "json-syntax": {
    severity: "problem",
    finds: "a config.json that is not JSON, or not an object",
    why: "nothing else can be checked",
    fix: "correct the text at the given line and column",
  },
  "field-type": {
    severity: "problem",
    finds: "a field whose value has a wrong type or is out of its range, or a text with a NUL byte",
    why: "the config cannot be read; system calls would cut a text at its NUL",
    fix: "write a value of the type that the specification has for the field",
  },
  "field-unknown": {
    severity: "warning",
    finds: "a field that the specification does not have, or text after the JSON value",
    why: "it is ignored, as the specification requires; most often its name is misspelt",
    fix: "correct the name, or remove the field",
  },
  plan: {
    severity: "problem",
    finds: "anything else for which no plan can be made; this is tried if there is no other problem",
    why: "`create` and `run` fail with the same error",
    fix: "change the field that the message names",
  },
} as const satisfies Readonly<Record<string, RuleText>>;

/** The rules that `create` applies, in their order. */
export const sharedTexts: Readonly<Record<SharedRuleId, Text>> = {
  "process-present": {
    finds: "no `process`",
    why: "the specification allows to set it at `start`, but `start` has no option for it",
    fix: "add process with args, cwd and user",
  },
  "cwd-absolute": {
    finds: "a `process.cwd` that is empty or not absolute",
    why: "the specification requires an absolute path in the container",
    fix: "set process.cwd, for example to /",
  },
  "args-present": {
    finds: "no `process.args`",
    why: "there is nothing to execute",
    fix: "set process.args to the program and its arguments",
  },
  "selinux-label": {
    finds: "a `process.selinuxLabel` on a host without SELinux",
    why: "the kernel has nowhere to write the label",
    fix: "remove selinuxLabel, or enable SELinux",
  },
  "root-present": {
    finds: "no `root`",
    why: "the specification requires it on Linux",
    fix: "add root with the path of the root file system",
  },
  "mount-fields": {
    finds: "a mount without a destination, or with a NUL byte",
    why: "mount(2) cannot be called",
    fix: "set the destination to an absolute path in the container",
  },
  "device-type": {
    finds: "a device with an unknown type or without a path",
    why: "mknod(2) makes character devices, block devices and FIFOs",
    fix: "set type to c, b, u or p, and path to an absolute path",
  },
  "systemd-cgroups-path": {
    finds: "a `cgroupsPath` that is not slice:prefix:name, with --systemd-cgroup",
    why: "the three parts are the slice and the name of the unit",
    fix: "write it like system.slice:runc:web, or leave out --systemd-cgroup",
  },
  "device-rules": {
    finds: "a device rule with an unknown type, or without r, w or m in its access",
    why: "the device controller has no such rule",
    fix: "set type to a, b or c, and access to letters of rwm",
  },
  "rootfs-propagation": {
    finds: "an unknown `rootfsPropagation`, or a private one with --no-pivot",
    why: "without pivot_root a private root lets the container's mounts reach the host",
    fix: "use private, rprivate, slave or rslave; with --no-pivot slave or rslave",
  },
  "namespace-types": {
    finds: "a namespace of an unknown type, or two of the same type",
    why: "the specification requires an error",
    fix: "list each type once",
  },
  "joined-user-mappings": {
    finds: "a user namespace to join that cannot be read, or with other mappings than the config",
    why: "the mappings of an existing namespace cannot change",
    fix: "remove uidMappings and gidMappings, or the path",
  },
  "root-mapped": {
    finds: "a user namespace without a mapping for id 0",
    why: "the container's root owns its files and makes its mounts, so it needs an id on the host",
    fix: "add a mapping with containerID 0 to linux.uidMappings and linux.gidMappings",
  },
  "seccomp-words": {
    finds: "an unknown action, flag, architecture or operator in `linux.seccomp`",
    why: "the profile cannot be compiled",
    fix: "use a name of the specification; `runc features` lists them",
  },
  "memory-policy-words": {
    finds: "an unknown mode, flag or list of nodes in `linux.memoryPolicy`",
    why: "set_mempolicy(2) has no such value",
    fix: "use a name of set_mempolicy(2); `runc features` lists them",
  },
  "personality-domain": {
    finds: "a `personality.domain` other than LINUX and LINUX32",
    why: "the specification has only these",
    fix: "use LINUX or LINUX32",
  },
  scheduler: {
    finds: "a scheduler without policy, or with a parameter that does not belong to its policy",
    why: "sched_setattr(2) fails with EINVAL",
    fix: "use nice with SCHED_OTHER and SCHED_BATCH, priority with SCHED_FIFO and SCHED_RR, times with SCHED_DEADLINE",
  },
  "cpu-affinity": {
    finds: "an `execCPUAffinity` that is not a list such as 0-3,7",
    why: "the processors cannot be read from it",
    fix: "write numbers and ranges, separated by commas",
  },
  "unified-cgroup2": {
    finds: "`resources.unified` on a host with cgroup v1",
    why: "the files exist only in cgroup v2",
    fix: "use the fields of the other controllers, or boot with systemd.unified_cgroup_hierarchy=1",
  },
  "memory-swap": {
    finds: "a `memory.swap` below `memory.limit`, on a host with cgroup v2",
    why: "the field limits memory and swap together, so swap alone would be negative",
    fix: "set swap to at least limit, or to -1",
  },
  "rootfs-usable": {
    finds: "a root file system that does not exist, is no directory, or has a symlink in its path",
    why: "with a symlink, the directory that is checked need not be the one that is used",
    fix: "correct root.path, or name the directory without symlinks: readlink -f DIR",
  },
  "net-devices": {
    finds: "`netDevices` without a network namespace or without root, or with an invalid name",
    why: "only root may move an interface, and only into another network namespace",
    fix: "add a network namespace, and use names of at most 16 characters",
  },
  "names-need-uts": {
    finds: "a `hostname` or `domainname` without a UTS namespace",
    why: "it would rename the host",
    fix: 'add {"type": "uts"} to linux.namespaces',
  },
  "paths-need-mount": {
    finds: "`maskedPaths` or `readonlyPaths` without a mount namespace",
    why: "the paths would be masked on the host",
    fix: 'add {"type": "mount"} to linux.namespaces',
  },
  "namespace-kernel": {
    finds: "a type of namespace that the kernel does not have",
    why: "clone(2) and unshare(2) fail with EINVAL",
    fix: "use a kernel with that option (CONFIG_*_NS), or remove the namespace",
  },
  "mappings-need-user": {
    finds: "`uidMappings` or `gidMappings` without a user namespace",
    why: "there is nothing to map",
    fix: 'add {"type": "user"} to linux.namespaces, or remove the mappings',
  },
  "time-offsets": {
    finds: "`timeOffsets` without a new time namespace, for an unknown clock, or with a second or more of nanoseconds",
    why: "offsets can be set only once, in a new namespace",
    fix: 'add {"type": "time"} without a path to linux.namespaces; the clocks are monotonic and boottime',
  },
  "sysctl-namespaced": {
    finds: "a kernel parameter that does not belong to a namespace of the container",
    why: "it would change the host",
    fix: "remove it, or add the namespace that it belongs to",
  },
  "intel-rdt": {
    finds: "`linux.intelRdt` on a host without resctrl, or with an invalid name",
    why: "the group cannot be made",
    fix: "mount resctrl (mount -t resctrl resctrl /sys/fs/resctrl), or remove intelRdt",
  },
  "rootless-user": {
    finds: "no new user namespace with mappings, for a caller without root",
    why: "a user without root has rights only over a user namespace of its own",
    fix: "start from the output of: runc spec --rootless",
  },
  "rootless-mount-ids": {
    finds: "a mount option `uid=` or `gid=` with an id that is not mapped, for a caller without root",
    why: "mount(2) fails with EINVAL",
    fix: "remove the option, or map the id",
  },
  "bind-options": {
    finds: "a bind mount with options of a file system",
    why: "the kernel ignores them, so the mount would not do what it says",
    fix: "remove the options, or mount the file system itself",
  },
  "idmap-mappings": {
    finds: "an id-mapped mount that is no bind mount, lacks a mapping, or has a caller without root",
    why: "mount_setattr(2) would refuse it",
    fix: "give a bind mount both uidMappings and gidMappings",
  },
  "io-priority": {
    finds: "an `ioPriority` with an unknown class or a priority outside 0 to 7",
    why: "ioprio_set(2) fails with EINVAL",
    fix: "use IOPRIO_CLASS_RT, IOPRIO_CLASS_BE or IOPRIO_CLASS_IDLE, and a priority from 0 to 7",
  },
  "memory-policy-nodes": {
    finds: "a memory policy with nodes that its mode does not take, or without those that it needs",
    why: "set_mempolicy(2) fails with EINVAL",
    fix: "list nodes for MPOL_BIND and MPOL_INTERLEAVE, none for MPOL_DEFAULT and MPOL_LOCAL",
  },
  "rootless-groups": {
    finds: "`additionalGids` that a caller without root cannot set",
    why: "setgroups(2) is denied, or the group is not mapped",
    fix: "add the groups to linux.gidMappings; /etc/subgid has to list them",
  },
  rlimits: {
    finds: "an rlimit of an unknown type, or with a soft limit above the hard one",
    why: "setrlimit(2) fails with EINVAL",
    fix: "use a name of getrlimit(2), and a soft limit of at most the hard one",
  },
  "env-entries": {
    finds: "an entry of `process.env` that is not NAME=VALUE",
    why: "it is no variable; execve(2) would pass it on, and programs ignore it or fail",
    fix: "write NAME=VALUE",
  },
  "process-nul": {
    finds: "a NUL byte in `process.args`, `process.env` or `process.cwd`",
    why: "system calls cut a text there",
    fix: "remove the NUL byte",
  },
  "oom-score": {
    finds: "an `oomScoreAdj` outside -1000 to 1000",
    why: "the kernel refuses it with EINVAL",
    fix: "use a value from -1000 to 1000",
  },
  "seccomp-agent": {
    finds: "SCMP_ACT_NOTIFY for write(2), as the default action, or without `listenerPath`",
    why: "the container sends the agent's descriptor with write(2), before the agent can answer",
    fix: "use another action for write, and set listenerPath",
  },
  "name-nul": {
    finds: "a NUL byte in `hostname` or `domainname`",
    why: "uname(2) cuts the name there",
    fix: "remove the NUL byte",
  },
  "path-length": {
    finds: "a path of more than 4095 bytes",
    why: "system calls fail with ENAMETOOLONG",
    fix: "shorten the path",
  },
  "hook-fields": {
    finds: "a hook without a path, or with a timeout of 0 or less",
    why: "there is nothing to execute, or no time to do it",
    fix: "set path; remove timeout for no limit",
  },
};

/** The rules that `create` logs as warnings. */
export const sharedWarningTexts: Readonly<Record<SharedWarningId, Text>> = {
  "destination-relative": {
    finds: "a mount with a relative destination",
    why: "it starts at the container's root; the specification deprecates this",
    fix: "write an absolute path",
  },
  "device-access-letters": {
    finds: "a device rule whose access has letters other than r, w and m",
    why: "the other letters are ignored",
    fix: "remove the other letters",
  },
  "mappings-repeated": {
    finds: "id mappings beside a user namespace to join",
    why: "they only repeat what the namespace has",
    fix: "remove uidMappings and gidMappings",
  },
};
