/**
 * Words that may stand in a config, by the name of the field.
 *
 * @module
 */

import { capabilityNames, rlimitNames } from "../../lib/ffi/constants.ts";
import { seccompActions, seccompArchs, seccompFlags, seccompOperators } from "../../lib/libcontainer/seccomp/names.ts";
import { propagationNames } from "../../lib/libcontainer/config/mount_options.ts";
import { namespaceTypes } from "../../lib/specs/config.ts";
import { mountOptionNames } from "../../lib/libcontainer/config/mount_options.ts";

const capabilities = [...capabilityNames, "CAP_NONE", "cap_kill", "ALL"];
const paths = [
  ...[
    "/",
    "",
    ".",
    "..",
    "/proc",
    "/proc/sys",
    "/dev",
    "/dev/x",
    "/dev/null",
    "/dev/console",
    "/etc/hosts",
    "/tmp",
    "/a/b/c",
  ],
  ...[
    "/a//b/",
    "/a/../b",
    "a/b",
    "../../x",
    "/proc/self/fd/3",
    "/dev/fd",
    "/sys/fs/cgroup",
    "/proc/1/ns/net",
    "rootfs",
  ],
];
const cpus = ["0", "0-1", "1,3-4", "0-4294967295", "3-1", "0,", "-1", "x", "1023", "0-1023:2/4"];
const data = [
  "size=64k",
  "mode=755",
  "mode=0",
  "size=0",
  "gid=5",
  "newinstance",
  "ptmxmode=0666",
  "lowerdir=/a:/b",
  "nr_inodes=1",
];

/** By the last name on the way to the value. */
const byName: Readonly<Record<string, readonly string[]>> = {
  ociVersion: ["1.0.2", "1.2.0", "1.3.0", "2.0.0", "1.0.0-rc1", "1", "1.0.2-dev"],
  type: [
    ...namespaceTypes,
    ...rlimitNames,
    ...["bind", "proc", "tmpfs", "devpts", "mqueue", "sysfs", "cgroup", "cgroup2", "overlay", "c", "b", "u", "p", "a"],
  ],
  options: [...mountOptionNames, ...data],
  bounding: capabilities,
  effective: capabilities,
  inheritable: capabilities,
  permitted: capabilities,
  ambient: capabilities,
  policy: ["SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE", "SCHED_DEADLINE"],
  class: ["IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"],
  flags: [
    ...Object.keys(seccompFlags),
    ...["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_DL_OVERRUN", "MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"],
  ],
  mode: ["MPOL_DEFAULT", "MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_PREFERRED", "MPOL_LOCAL", "MPOL_WEIGHTED_INTERLEAVE"],
  action: Object.keys(seccompActions),
  defaultAction: Object.keys(seccompActions),
  architectures: Object.keys(seccompArchs),
  op: Object.keys(seccompOperators),
  names: ["read", "write", "mkdir", "personality", "clone", "clone3", "nonsense", "socket", "execve", ""],
  domain: ["LINUX", "LINUX32", "linux"],
  rootfsPropagation: [...propagationNames, "", "nonsense"],
  cpus,
  mems: cpus,
  initial: cpus,
  final: cpus,
  nodes: cpus,
  access: ["r", "w", "m", "rwm", "", "mwr", "x", "rr"],
  pageSize: ["2MB", "1GB", "64KB", "", "3MB", "2mb", "2MB/../x"],
  env: ["PATH=/bin", "HOME=/", "A=b", "A", "=", "=b", "A=b=c", "A=\n", "LISTEN_FDS=1", "TERM=xterm"],
  args: ["sh", "-c", "true", "/bin/true", "./true", "", "nonsense", "a b"],
  cgroupsPath: ["/a/b", "a", "", "/", "a:b:c", ":runc:a", "system.slice:docker:1", "::", "a:b", "../x", "/a/../b"],
  schemata: ["L3:0=f", "MB:0=10", "x", "L3:0=f\nMB:0=10"],
  closID: ["a", ".", "..", "a/b", ""],
};

/** Keys of maps. */
const keys: readonly string[] = [
  ...[
    "net.ipv4.ip_forward",
    "kernel.shmmax",
    "kernel.hostname",
    "kernel/shmmax",
    "fs.mqueue.msg_max",
    "net/ipv4.ip_forward",
  ],
  ...[
    "memory.max",
    "memory.high",
    "cpu.max",
    "pids.max",
    "../x",
    "a/b",
    "cgroup.freeze",
    "monotonic",
    "boottime",
    "realtime",
  ],
  ...["eth0", "lo", "mlx5_0", "a b", "org.opencontainers.landlock.read", "org.opencontainers.landlock.write"],
  ...[
    "org.systemd.property.TimeoutStopUSec",
    "org.systemd.property.CollectMode",
    "org.criu.config",
    "run.oci.handler",
    "a",
    "bundle",
  ],
  ...["__proto__", "constructor", "toString", "hasOwnProperty", "", "A=B", "\n", "\ud800"],
];

const every = [...new Set([...Object.values(byName).flat(), ...paths, ...keys])];

/** What a value of the field `name` may be. */
export const wordsFor = (name: string): readonly string[] => byName[name] ?? paths;
/** What a key of a map may be. */
export const mapKeys = keys;
/** All of them. */
export const everyWord: readonly string[] = every;
