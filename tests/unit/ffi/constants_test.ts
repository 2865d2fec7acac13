import { assertEquals } from "@std/assert";
import * as constants from "../../../lib/ffi/constants.ts";
import { formatFlags, MountAttr, MountFlag, openFlag } from "../../../lib/ffi/constants.ts";

/** The headers' names and values, as a C program printed them on Debian 12 (linux-libc-dev 6.1). */
const headers: Readonly<Record<string, string>> = {
  // linux/time.h
  Clock: "CLOCK_REALTIME=0 CLOCK_MONOTONIC=1",
  // linux/sched.h, asm-generic/signal.h
  CloneFlag: `CLONE_NEWTIME=0x80 CLONE_VM=0x100 CLONE_PIDFD=0x1000 CLONE_PARENT=0x8000 CLONE_NEWNS=0x20000
    CLONE_NEWCGROUP=0x2000000 CLONE_NEWUTS=0x4000000 CLONE_NEWIPC=0x8000000 CLONE_NEWUSER=0x10000000 CLONE_NEWPID=0x20000000
    CLONE_NEWNET=0x40000000 SIGCHLD=0x11`,
  // linux/mount.h, linux/fs.h
  MountFlag:
    `MS_RDONLY=0x1 MS_NOSUID=0x2 MS_NODEV=0x4 MS_NOEXEC=0x8 MS_SYNCHRONOUS=0x10 MS_REMOUNT=0x20 MS_MANDLOCK=0x40
    MS_DIRSYNC=0x80 MS_NOSYMFOLLOW=0x100 MS_NOATIME=0x400 MS_NODIRATIME=0x800 MS_BIND=0x1000 MS_MOVE=0x2000 MS_REC=0x4000
    MS_SILENT=0x8000 MS_UNBINDABLE=0x20000 MS_PRIVATE=0x40000 MS_SLAVE=0x80000 MS_SHARED=0x100000 MS_RELATIME=0x200000
    MS_I_VERSION=0x800000 MS_STRICTATIME=0x1000000 MS_LAZYTIME=0x2000000`,
  MountAttr:
    `MOUNT_ATTR_RDONLY=0x1 MOUNT_ATTR_NOSUID=0x2 MOUNT_ATTR_NODEV=0x4 MOUNT_ATTR_NOEXEC=0x8 MOUNT_ATTR__ATIME=0x70
    MOUNT_ATTR_NOATIME=0x10 MOUNT_ATTR_STRICTATIME=0x20 MOUNT_ATTR_NODIRATIME=0x80 MOUNT_ATTR_IDMAP=0x100000
    MOUNT_ATTR_NOSYMFOLLOW=0x200000`,
  OpenTree:
    "OPEN_TREE_CLONE=0x1 AT_SYMLINK_NOFOLLOW=0x100 AT_EMPTY_PATH=0x1000 AT_RECURSIVE=0x8000 OPEN_TREE_CLOEXEC=0x80000",
  MoveMount: "MOVE_MOUNT_F_EMPTY_PATH=0x4 MOVE_MOUNT_T_EMPTY_PATH=0x40",
  FsConfig: "FSCONFIG_SET_FLAG=0 FSCONFIG_SET_STRING=1 FSCONFIG_CMD_CREATE=6",
  FsOpen: "FSOPEN_CLOEXEC=1",
  FsMount: "FSMOUNT_CLOEXEC=1",
  // sys/file.h
  Flock: "LOCK_SH=1 LOCK_EX=2 LOCK_NB=4 LOCK_UN=8",
  // linux/openat2.h
  Resolve: `RESOLVE_NO_XDEV=0x1 RESOLVE_NO_MAGICLINKS=0x2 RESOLVE_NO_SYMLINKS=0x4 RESOLVE_BENEATH=0x8
    RESOLVE_IN_ROOT=0x10`,
  // linux/fcntl.h
  AtFlag: "AT_SYMLINK_NOFOLLOW=0x100 AT_REMOVEDIR=0x200 AT_EMPTY_PATH=0x1000 AT_RECURSIVE=0x8000",
  AccessFlag: "AT_EACCESS=0x200 AT_SYMLINK_NOFOLLOW=0x100",
  // sys/mount.h
  UmountFlag: "MNT_FORCE=1 MNT_DETACH=2 MNT_EXPIRE=4 UMOUNT_NOFOLLOW=8",
  // linux/close_range.h
  CloseRange: "CLOSE_RANGE_UNSHARE=2 CLOSE_RANGE_CLOEXEC=4",
  // sys/socket.h
  MsgFlag:
    "MSG_PEEK=0x2 MSG_CTRUNC=0x8 MSG_TRUNC=0x20 MSG_DONTWAIT=0x40 MSG_NOSIGNAL=0x4000 MSG_CMSG_CLOEXEC=0x40000000",
  // linux/prctl.h
  Prctl:
    `PR_SET_PDEATHSIG=1 PR_SET_DUMPABLE=4 PR_SET_KEEPCAPS=8 PR_SET_NAME=15 PR_GET_SECCOMP=21 PR_SET_SECCOMP=22 PR_CAPBSET_DROP=24 PR_SET_CHILD_SUBREAPER=36
    PR_SET_NO_NEW_PRIVS=38 PR_CAP_AMBIENT=47`,
  // linux/seccomp.h
  SeccompOperation: "SECCOMP_SET_MODE_FILTER=1",
  SeccompFilterFlag: `SECCOMP_FILTER_FLAG_LOG=2 SECCOMP_FILTER_FLAG_SPEC_ALLOW=4 SECCOMP_FILTER_FLAG_NEW_LISTENER=8
    SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV=32`,
  // linux/keyctl.h
  Keyctl: "KEYCTL_JOIN_SESSION_KEYRING=1 KEYCTL_SETPERM=5",
  // asm-generic/ioctls.h, linux/sockios.h
  Ioctl:
    `TCGETS=0x5401 TCSETS=0x5402 TIOCSCTTY=0x540e TIOCGWINSZ=0x5413 TIOCSWINSZ=0x5414 FIONREAD=0x541b TIOCSPTLCK=0x40045431
    TIOCGPTPEER=0x5441 SIOCSIFFLAGS=0x8914`,
  // linux/stat.h
  FileType: `S_IFMT=0xf000 S_IFSOCK=0xc000 S_IFLNK=0xa000 S_IFREG=0x8000 S_IFBLK=0x6000 S_IFDIR=0x4000 S_IFCHR=0x2000
    S_IFIFO=0x1000`,
};

function parsed(text: string): Readonly<Record<string, string>> {
  return Object.fromEntries(text.trim().split(/\s+/).map((pair) => pair.split("=") as [string, string]));
}

for (const [name, text] of Object.entries(headers)) {
  Deno.test(`${name} has the values of the kernel's headers`, () => {
    const known = parsed(text);
    const table = constants[name as keyof typeof constants] as unknown as Readonly<Record<string, number>>;
    for (const [constant, value] of Object.entries(table)) assertEquals(value, Number(known[constant]), constant);
  });
}

Deno.test("constants outside of tables have the values of the kernel's headers", () => {
  const { AT_FDCWD, PR_CAP_AMBIENT_CLEAR_ALL, PR_CAP_AMBIENT_RAISE } = constants;
  assertEquals([AT_FDCWD, PR_CAP_AMBIENT_RAISE, PR_CAP_AMBIENT_CLEAR_ALL], [-100, 2, 4]);
});

Deno.test("openFlag() differs between the architectures in O_DIRECTORY and O_NOFOLLOW", () => {
  // asm-generic/fcntl.h; arch/arm64/include/uapi/asm/fcntl.h
  const common = {
    O_WRONLY: 1,
    O_RDWR: 2,
    O_CREAT: 0x40,
    O_EXCL: 0x80,
    O_NOCTTY: 0x100,
    O_TRUNC: 0x200,
    O_APPEND: 0x400,
    O_NONBLOCK: 0x800,
    O_CLOEXEC: 0x80000,
    O_PATH: 0x200000,
  };
  assertEquals(openFlag("x86_64"), { ...common, O_DIRECTORY: 0x10000, O_NOFOLLOW: 0x20000 });
  assertEquals(openFlag("aarch64"), { ...common, O_DIRECTORY: 0x4000, O_NOFOLLOW: 0x8000 });
});

Deno.test("file system types have the magic numbers of linux/magic.h", () => {
  assertEquals(constants.FsMagic, {
    // MQUEUE_MAGIC in ipc/mqueue.c.
    MQUEUE: 0x19800202,
    PROC: 0x9fa0,
    SYSFS: 0x62656572,
    DEVPTS: 0x1cd1,
    CGROUP2: 0x63677270,
    CGROUP: 0x27e0eb,
    RESCTRL: 0x7655821,
    TMPFS: 0x01021994,
  });
});

Deno.test("names in lists stand at the kernel's numbers", () => {
  const cases: readonly [list: readonly string[], length: number, Readonly<Record<string, number>>][] = [
    [constants.rlimitNames, 16, {
      RLIMIT_CPU: 0,
      RLIMIT_FSIZE: 1,
      RLIMIT_DATA: 2,
      RLIMIT_STACK: 3,
      RLIMIT_CORE: 4,
      RLIMIT_RSS: 5,
      RLIMIT_NPROC: 6,
      RLIMIT_NOFILE: 7,
      RLIMIT_MEMLOCK: 8,
      RLIMIT_AS: 9,
      RLIMIT_LOCKS: 10,
      RLIMIT_SIGPENDING: 11,
      RLIMIT_MSGQUEUE: 12,
      RLIMIT_NICE: 13,
      RLIMIT_RTPRIO: 14,
      RLIMIT_RTTIME: 15,
    }],
    [constants.capabilityNames, 41, {
      CAP_CHOWN: 0,
      CAP_DAC_READ_SEARCH: 2,
      CAP_KILL: 5,
      CAP_SETPCAP: 8,
      CAP_NET_BIND_SERVICE: 10,
      CAP_NET_RAW: 13,
      CAP_SYS_CHROOT: 18,
      CAP_SYS_ADMIN: 21,
      CAP_MKNOD: 27,
      CAP_AUDIT_WRITE: 29,
      CAP_SETFCAP: 31,
      CAP_MAC_OVERRIDE: 32,
      CAP_SYSLOG: 34,
      CAP_AUDIT_READ: 37,
      CAP_PERFMON: 38,
      CAP_BPF: 39,
      CAP_CHECKPOINT_RESTORE: 40,
    }],
    [constants.signalNames, 32, {
      SIGHUP: 1,
      SIGINT: 2,
      SIGTRAP: 5,
      SIGABRT: 6,
      SIGBUS: 7,
      SIGKILL: 9,
      SIGUSR1: 10,
      SIGUSR2: 12,
      SIGPIPE: 13,
      SIGTERM: 15,
      SIGSTKFLT: 16,
      SIGCHLD: 17,
      SIGCONT: 18,
      SIGSTOP: 19,
      SIGTSTP: 20,
      SIGURG: 23,
      SIGWINCH: 28,
      SIGIO: 29,
      SIGPWR: 30,
      SIGSYS: 31,
    }],
  ];
  for (const [list, length, numbers] of cases) {
    assertEquals(list.length, length);
    assertEquals(new Set(list).size, length);
    for (const [name, number] of Object.entries(numbers)) assertEquals(list.indexOf(name), number, name);
  }
});

Deno.test("formatFlags() names each bit, the unnamed ones together as hex", () => {
  const cases: readonly [table: Readonly<Record<string, number>>, value: number, text: string][] = [
    [MountFlag, 0, "0"],
    [MountFlag, 6, "MS_NOSUID|MS_NODEV"],
    [MountFlag, 0x5000, "MS_BIND|MS_REC"],
    [MountFlag, 0x40000000, "0x40000000"],
    [MountFlag, 0x80000000, "0x80000000"],
    [MountFlag, 1 | 0x200 | 0x80000000, "MS_RDONLY|0x80000200"],
    [{ A: 1, NONE: 0 }, 1, "A"],
    // A name for several bits stands for all of them or for none.
    [MountAttr, 0x70, "MOUNT_ATTR__ATIME"],
    [MountAttr, 0x10, "MOUNT_ATTR_NOATIME"],
    [MountAttr, 0x20 | 0x1, "MOUNT_ATTR_RDONLY|MOUNT_ATTR_STRICTATIME"],
    [constants.CloneFlag, 0x8000 + 17, "CLONE_PARENT|SIGCHLD"],
    [{}, 0, "0"],
    [{}, 5, "0x5"],
  ];
  for (const [table, value, text] of cases) assertEquals(formatFlags(table, value), text);
});

Deno.test("every bit of the bit set tables has a name of its own", () => {
  const bitSets = ["CloneFlag", "MountFlag", "OpenTree", "MoveMount", "UmountFlag", "AtFlag", "MsgFlag", "OpenFlag"];
  for (const name of bitSets) {
    for (const [constant, value] of Object.entries(constants.flagTables[name]!)) {
      assertEquals(formatFlags(constants.flagTables[name]!, value), constant, name);
    }
  }
});
