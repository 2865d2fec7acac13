/**
 * The kernel's constants under the kernel's names, one table per family. Option parsers and printers derive from these
 * tables.
 *
 * Source: include/uapi/linux, Linux 6.1, unless a table says otherwise.
 *
 * @module
 */

import type { Arch } from "./syscalls.ts";

/** include/uapi/linux/sched.h */
export const CloneFlag = {
  CLONE_NEWTIME: 0x80,
  CLONE_VM: 0x100,
  CLONE_PIDFD: 0x1000,
  CLONE_PARENT: 0x8000,
  CLONE_NEWNS: 0x20000,
  CLONE_NEWCGROUP: 0x2000000,
  CLONE_NEWUTS: 0x4000000,
  CLONE_NEWIPC: 0x8000000,
  CLONE_NEWUSER: 0x10000000,
  CLONE_NEWPID: 0x20000000,
  CLONE_NEWNET: 0x40000000,
  SIGCHLD: 17,
} as const;

/** include/uapi/linux/time.h */
export const Clock = { CLOCK_REALTIME: 0, CLOCK_MONOTONIC: 1 } as const;

/** include/uapi/linux/mount.h and, for MS_*, include/linux/fs.h */
export const MountFlag = {
  MS_RDONLY: 1,
  MS_NOSUID: 2,
  MS_NODEV: 4,
  MS_NOEXEC: 8,
  MS_SYNCHRONOUS: 16,
  MS_REMOUNT: 32,
  MS_MANDLOCK: 64,
  MS_DIRSYNC: 128,
  MS_NOSYMFOLLOW: 256,
  MS_NOATIME: 1024,
  MS_NODIRATIME: 2048,
  MS_BIND: 4096,
  MS_MOVE: 8192,
  MS_REC: 16384,
  MS_SILENT: 32768,
  MS_UNBINDABLE: 1 << 17,
  MS_PRIVATE: 1 << 18,
  MS_SLAVE: 1 << 19,
  MS_SHARED: 1 << 20,
  MS_RELATIME: 1 << 21,
  MS_I_VERSION: 1 << 23,
  MS_STRICTATIME: 1 << 24,
  MS_LAZYTIME: 1 << 25,
} as const;

/** mount_setattr(2) */
export const MountAttr = {
  MOUNT_ATTR_RDONLY: 0x1,
  MOUNT_ATTR_NOSUID: 0x2,
  MOUNT_ATTR_NODEV: 0x4,
  MOUNT_ATTR_NOEXEC: 0x8,
  MOUNT_ATTR__ATIME: 0x70,
  MOUNT_ATTR_NOATIME: 0x10,
  MOUNT_ATTR_STRICTATIME: 0x20,
  MOUNT_ATTR_NODIRATIME: 0x80,
  MOUNT_ATTR_IDMAP: 0x100000,
  MOUNT_ATTR_NOSYMFOLLOW: 0x200000,
} as const;

const commonOpenFlags = {
  O_WRONLY: 1,
  O_RDWR: 2,
  O_CREAT: 0o100,
  O_EXCL: 0o200,
  O_NOCTTY: 0o400,
  O_TRUNC: 0o1000,
  O_APPEND: 0o2000,
  O_NONBLOCK: 0o4000,
  O_CLOEXEC: 0o2000000,
  O_PATH: 0o10000000,
} as const;

/** include/uapi/asm-generic/fcntl.h. arch/arm64/include/uapi/asm/fcntl.h has other numbers for three of them. */
const openFlags = {
  x86_64: { ...commonOpenFlags, O_DIRECTORY: 0o200000, O_NOFOLLOW: 0o400000 },
  aarch64: { ...commonOpenFlags, O_DIRECTORY: 0o40000, O_NOFOLLOW: 0o100000 },
} as const satisfies Record<Arch, Record<string, number>>;

export type OpenFlags = { readonly [Name in keyof typeof openFlags.x86_64]: number };

/** The O_* table of an architecture. */
export function openFlag(arch: Arch): OpenFlags {
  return openFlags[arch];
}

/** The size of `struct stat` in bytes, on x86_64; less on aarch64. */
export const STAT_SIZE = 144;

/**
 * Offsets in `struct stat`; `dev`, `ino`, `rdev` and `size` have 8 bytes, the others 4.
 *
 * Source: arch/x86/include/uapi/asm/stat.h and include/uapi/asm-generic/stat.h
 */
export const statOffsets = {
  x86_64: { dev: 0, ino: 8, mode: 24, uid: 28, gid: 32, rdev: 40, size: 48 },
  aarch64: { dev: 0, ino: 8, mode: 16, uid: 24, gid: 28, rdev: 32, size: 48 },
} as const satisfies Record<Arch, Record<string, number>>;

/** The fields of `struct stat`. */
export type StatField = keyof (typeof statOffsets)["x86_64"];

/** include/uapi/linux/openat2.h */
export const Resolve = {
  RESOLVE_NO_XDEV: 0x01,
  RESOLVE_NO_MAGICLINKS: 0x02,
  RESOLVE_NO_SYMLINKS: 0x04,
  RESOLVE_BENEATH: 0x08,
  RESOLVE_IN_ROOT: 0x10,
} as const;

/** include/uapi/linux/fcntl.h */
export const AtFlag = {
  AT_SYMLINK_NOFOLLOW: 0x100,
  AT_REMOVEDIR: 0x200,
  AT_EMPTY_PATH: 0x1000,
  AT_RECURSIVE: 0x8000,
} as const;
/** faccessat(2). AT_EACCESS has the same number as AT_REMOVEDIR, which belongs to another call. */
export const AccessFlag = { AT_EACCESS: 0x200, AT_SYMLINK_NOFOLLOW: 0x100 } as const;
export const AT_FDCWD = -100;

/** include/uapi/linux/mount.h. open_tree(2) also accepts the AT_* flags. */
export const OpenTree = {
  OPEN_TREE_CLONE: 1,
  AT_SYMLINK_NOFOLLOW: 0x100,
  AT_EMPTY_PATH: 0x1000,
  AT_RECURSIVE: 0x8000,
  OPEN_TREE_CLOEXEC: 0o2000000,
} as const;

/** move_mount(2), include/uapi/linux/mount.h */
export const MoveMount = { MOVE_MOUNT_F_EMPTY_PATH: 0x4, MOVE_MOUNT_T_EMPTY_PATH: 0x40 } as const;

/** umount(2) */
export const UmountFlag = { MNT_FORCE: 1, MNT_DETACH: 2, MNT_EXPIRE: 4, UMOUNT_NOFOLLOW: 8 } as const;

/** close_range(2) */
export const CloseRange = { CLOSE_RANGE_UNSHARE: 2, CLOSE_RANGE_CLOEXEC: 4 } as const;

/** send(2), recv(2) */
export const MsgFlag = {
  MSG_PEEK: 2,
  MSG_CTRUNC: 8,
  MSG_TRUNC: 0x20,
  MSG_DONTWAIT: 0x40,
  MSG_NOSIGNAL: 0x4000,
  MSG_CMSG_CLOEXEC: 0x40000000,
} as const;

/** flock(2) */
export const Flock = { LOCK_SH: 1, LOCK_EX: 2, LOCK_NB: 4, LOCK_UN: 8 } as const;

/** splice(2) */
export const SpliceFlag = { SPLICE_F_MOVE: 1, SPLICE_F_NONBLOCK: 2, SPLICE_F_MORE: 4 } as const;

/** fsconfig(2), include/uapi/linux/mount.h */
export const FsConfig = { FSCONFIG_SET_FLAG: 0, FSCONFIG_SET_STRING: 1, FSCONFIG_CMD_CREATE: 6 } as const;
export const FsOpen = { FSOPEN_CLOEXEC: 1 } as const;
export const FsMount = { FSMOUNT_CLOEXEC: 1 } as const;

/** include/uapi/linux/prctl.h */
export const Prctl = {
  PR_SET_PDEATHSIG: 1,
  PR_SET_DUMPABLE: 4,
  PR_SET_KEEPCAPS: 8,
  PR_SET_NAME: 15,
  PR_GET_SECCOMP: 21,
  PR_SET_SECCOMP: 22,
  PR_CAPBSET_DROP: 24,
  PR_SET_CHILD_SUBREAPER: 36,
  PR_SET_NO_NEW_PRIVS: 38,
  PR_CAP_AMBIENT: 47,
} as const;
export const PR_CAP_AMBIENT_RAISE = 2;
export const PR_CAP_AMBIENT_CLEAR_ALL = 4;

/** include/uapi/linux/seccomp.h */
export const SECCOMP_MODE_FILTER = 2;
export const SeccompOperation = { SECCOMP_SET_MODE_FILTER: 1 } as const;
export const SeccompFilterFlag = {
  SECCOMP_FILTER_FLAG_LOG: 2,
  SECCOMP_FILTER_FLAG_SPEC_ALLOW: 4,
  SECCOMP_FILTER_FLAG_NEW_LISTENER: 8,
  SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV: 32,
} as const;

/** include/uapi/linux/keyctl.h */
export const Keyctl = { KEYCTL_JOIN_SESSION_KEYRING: 1, KEYCTL_SETPERM: 5 } as const;

/** include/uapi/asm-generic/ioctls.h, include/uapi/linux/sockios.h */
export const Ioctl = {
  TCGETS: 0x5401,
  TCSETS: 0x5402,
  TIOCSCTTY: 0x540e,
  TIOCGWINSZ: 0x5413,
  TIOCSWINSZ: 0x5414,
  FIONREAD: 0x541b,
  TIOCSPTLCK: 0x40045431,
  TIOCGPTPEER: 0x5441,
  SIOCSIFFLAGS: 0x8914,
} as const;

/** include/uapi/linux/stat.h */
export const FileType = {
  S_IFMT: 0o170000,
  S_IFSOCK: 0o140000,
  S_IFLNK: 0o120000,
  S_IFREG: 0o100000,
  S_IFBLK: 0o060000,
  S_IFDIR: 0o040000,
  S_IFCHR: 0o020000,
  S_IFIFO: 0o010000,
} as const;

/** statfs(2), include/uapi/linux/magic.h */
export const FsMagic = {
  PROC: 0x9fa0,
  SYSFS: 0x62656572,
  // ipc/mqueue.c
  MQUEUE: 0x19800202,
  DEVPTS: 0x1cd1,
  CGROUP2: 0x63677270,
  CGROUP: 0x27e0eb,
  RESCTRL: 0x7655821,
  TMPFS: 0x01021994,
} as const;

/** include/uapi/asm-generic/resource.h. The index is the number: `RLIMIT_CPU` is 0. */
export const rlimitNames: readonly string[] = [
  "RLIMIT_CPU",
  "RLIMIT_FSIZE",
  "RLIMIT_DATA",
  "RLIMIT_STACK",
  "RLIMIT_CORE",
  "RLIMIT_RSS",
  "RLIMIT_NPROC",
  "RLIMIT_NOFILE",
  "RLIMIT_MEMLOCK",
  "RLIMIT_AS",
  "RLIMIT_LOCKS",
  "RLIMIT_SIGPENDING",
  "RLIMIT_MSGQUEUE",
  "RLIMIT_NICE",
  "RLIMIT_RTPRIO",
  "RLIMIT_RTTIME",
];

/** include/uapi/linux/capability.h: the index is the number. */
export const capabilityNames: readonly string[] = [
  "CAP_CHOWN",
  "CAP_DAC_OVERRIDE",
  "CAP_DAC_READ_SEARCH",
  "CAP_FOWNER",
  "CAP_FSETID",
  "CAP_KILL",
  "CAP_SETGID",
  "CAP_SETUID",
  "CAP_SETPCAP",
  "CAP_LINUX_IMMUTABLE",
  "CAP_NET_BIND_SERVICE",
  "CAP_NET_BROADCAST",
  "CAP_NET_ADMIN",
  "CAP_NET_RAW",
  "CAP_IPC_LOCK",
  "CAP_IPC_OWNER",
  "CAP_SYS_MODULE",
  "CAP_SYS_RAWIO",
  "CAP_SYS_CHROOT",
  "CAP_SYS_PTRACE",
  "CAP_SYS_PACCT",
  "CAP_SYS_ADMIN",
  "CAP_SYS_BOOT",
  "CAP_SYS_NICE",
  "CAP_SYS_RESOURCE",
  "CAP_SYS_TIME",
  "CAP_SYS_TTY_CONFIG",
  "CAP_MKNOD",
  "CAP_LEASE",
  "CAP_AUDIT_WRITE",
  "CAP_AUDIT_CONTROL",
  "CAP_SETFCAP",
  "CAP_MAC_OVERRIDE",
  "CAP_MAC_ADMIN",
  "CAP_SYSLOG",
  "CAP_WAKE_ALARM",
  "CAP_BLOCK_SUSPEND",
  "CAP_AUDIT_READ",
  "CAP_PERFMON",
  "CAP_BPF",
  "CAP_CHECKPOINT_RESTORE",
];

/** signal(7): the index is the number. */
export const signalNames: readonly string[] = [
  "",
  "SIGHUP",
  "SIGINT",
  "SIGQUIT",
  "SIGILL",
  "SIGTRAP",
  "SIGABRT",
  "SIGBUS",
  "SIGFPE",
  "SIGKILL",
  "SIGUSR1",
  "SIGSEGV",
  "SIGUSR2",
  "SIGPIPE",
  "SIGALRM",
  "SIGTERM",
  "SIGSTKFLT",
  "SIGCHLD",
  "SIGCONT",
  "SIGSTOP",
  "SIGTSTP",
  "SIGTTIN",
  "SIGTTOU",
  "SIGURG",
  "SIGXCPU",
  "SIGXFSZ",
  "SIGVTALRM",
  "SIGPROF",
  "SIGWINCH",
  "SIGIO",
  "SIGPWR",
  "SIGSYS",
];

/** The tables that explain uses to print bit sets, under the names that syscalls.ts uses. */
export const flagTables: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  AccessFlag,
  AtFlag,
  Clock,
  CloneFlag,
  CloseRange,
  FsConfig,
  FsMount,
  FsOpen,
  Ioctl,
  Keyctl,
  MountAttr,
  MountFlag,
  MoveMount,
  MsgFlag,
  // The two bits that x86_64 and aarch64 swap print with x86_64's names. A plan for another machine is only read, never
  // run.
  OpenFlag: openFlags.x86_64,
  OpenTree,
  Prctl,
  SeccompFilterFlag,
  SeccompOperation,
  Flock,
  SpliceFlag,
  Signal: Object.fromEntries(signalNames.map((name, number) => [name, number])),
  UmountFlag,
};

/** Cache of {@link formatFlags}: plans print the same few values many times. */
const formatted = new Map<object, Map<number, string>>();

/** `MS_NOSUID|MS_NODEV`. Bits without a name print as hex; no bits print as `0`. */
export function formatFlags(table: Readonly<Record<string, number>>, value: number): string {
  let known = formatted.get(table);
  if (known === undefined) formatted.set(table, known = new Map());
  let text = known.get(value);
  if (text === undefined) known.set(value, text = namesOf(table, value));
  return text;
}

function namesOf(table: Readonly<Record<string, number>>, value: number): string {
  let rest = value;
  const names: string[] = [];
  for (const name of Object.keys(table)) {
    const bit = table[name]!;
    if (bit === 0 || (rest & bit) !== bit) continue;
    names.push(name);
    rest &= ~bit;
  }
  if (rest !== 0 || names.length === 0) names.push(rest === 0 ? "0" : "0x" + (rest >>> 0).toString(16));
  return names.join("|");
}
