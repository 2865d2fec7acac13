/**
 * The system calls that a plan may use: their numbers, and how explain and error messages print their arguments.
 *
 * Source: arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h, Linux 6.1.
 *
 * @module
 */

/** The architectures that Deno supports on Linux. */
export type Arch = "x86_64" | "aarch64";

/**
 * Number on x86_64, number on aarch64, and the kinds of the arguments in order: `fd`, `at` (a directory's descriptor or
 * AT_FDCWD), `str`, `ptr`, `int`, `hex`, `oct`, `dev`, `flags:<table>` (a bit set) and `enum:<table>`, with a table of
 * constants.ts.
 */
export type SyscallRow = readonly [x86_64: number, aarch64: number, args: string];

/** All system calls, by name. */
export const syscalls = {
  capset: [126, 91, "ptr ptr"],
  chdir: [80, 49, "str"],
  chroot: [161, 51, "str"],
  clock_gettime: [228, 113, "enum:Clock ptr"],
  clone: [56, 220, "flags:CloneFlag ptr ptr ptr int"],
  clone3: [435, 435, "ptr int"],
  close: [3, 57, "fd"],
  close_range: [436, 436, "int int flags:CloseRange"],
  connect: [42, 203, "fd ptr int"],
  dup3: [292, 24, "fd fd flags:OpenFlag"],
  execve: [59, 221, "ptr ptr ptr"],
  execveat: [322, 281, "at str ptr ptr flags:AtFlag"],
  epoll_create1: [291, 20, "flags:OpenFlag"],
  epoll_ctl: [233, 21, "fd int fd ptr"],
  epoll_pwait: [281, 22, "fd ptr int int ptr int"],
  exit_group: [231, 94, "int"],
  faccessat: [269, 48, "at str int"],
  faccessat2: [439, 439, "at str int flags:AccessFlag"],
  fchmodat: [268, 53, "at str oct"],
  fchdir: [81, 50, "fd"],
  fchmod: [91, 52, "fd oct"],
  fchown: [93, 55, "fd int int"],
  fchownat: [260, 54, "at str int int flags:AtFlag"],
  fcntl: [72, 25, "fd int int"],
  flock: [73, 32, "fd enum:Flock"],
  fsconfig: [431, 431, "fd enum:FsConfig str ptr int"],
  fsmount: [432, 432, "fd flags:FsMount flags:MountAttr"],
  fsopen: [430, 430, "str flags:FsOpen"],
  fstat: [5, 80, "fd ptr"],
  fstatfs: [138, 44, "fd ptr"],
  getcwd: [79, 17, "ptr int"],
  getpid: [39, 172, ""],
  getppid: [110, 173, ""],
  ioctl: [16, 29, "fd enum:Ioctl ptr"],
  ioprio_set: [251, 30, "int int int"],
  keyctl: [250, 219, "enum:Keyctl int int int int"],
  kill: [62, 129, "int int"],
  landlock_add_rule: [445, 445, "fd int ptr int"],
  landlock_create_ruleset: [444, 444, "ptr int int"],
  landlock_restrict_self: [446, 446, "fd int"],
  lseek: [8, 62, "fd int int"],
  memfd_create: [319, 279, "str int"],
  mkdirat: [258, 34, "at str oct"],
  mknodat: [259, 33, "at str oct dev"],
  mount: [165, 40, "str str str flags:MountFlag str"],
  mount_setattr: [442, 442, "at str flags:AtFlag ptr int"],
  move_mount: [429, 429, "at str at str flags:MoveMount"],
  newfstatat: [262, 79, "at str ptr flags:AtFlag"],
  openat: [257, 56, "at str flags:OpenFlag oct"],
  openat2: [437, 437, "at str ptr int"],
  open_tree: [428, 428, "at str flags:OpenTree"],
  personality: [135, 92, "hex"],
  pidfd_open: [434, 434, "int int"],
  pidfd_send_signal: [424, 424, "fd int ptr int"],
  pipe2: [293, 59, "ptr flags:OpenFlag"],
  pivot_root: [155, 41, "str str"],
  ppoll: [271, 73, "ptr int ptr ptr int"],
  prctl: [157, 167, "enum:Prctl int int int int"],
  prlimit64: [302, 261, "int int ptr ptr"],
  read: [0, 63, "fd ptr int"],
  readlinkat: [267, 78, "at str ptr int"],
  recvfrom: [45, 207, "fd ptr int int ptr ptr"],
  recvmsg: [47, 212, "fd ptr flags:MsgFlag"],
  rt_sigaction: [13, 134, "enum:Signal ptr ptr int"],
  rt_sigprocmask: [14, 135, "int ptr ptr int"],
  sched_setaffinity: [203, 122, "int int ptr"],
  sched_setattr: [314, 274, "int ptr int"],
  seccomp: [317, 277, "enum:SeccompOperation flags:SeccompFilterFlag ptr"],
  sendfile: [40, 71, "fd fd ptr int"],
  sendmsg: [46, 211, "fd ptr flags:MsgFlag"],
  sendto: [44, 206, "fd ptr int flags:MsgFlag ptr int"],
  setdomainname: [171, 162, "str int"],
  setgid: [106, 144, "int"],
  setgroups: [116, 159, "int ptr"],
  sethostname: [170, 161, "str int"],
  set_mempolicy: [238, 237, "hex ptr int"],
  setns: [308, 268, "fd flags:CloneFlag"],
  setresgid: [119, 149, "int int int"],
  setresuid: [117, 147, "int int int"],
  setsid: [112, 157, ""],
  setuid: [105, 146, "int"],
  setxattr: [188, 5, "str str str int int"],
  socket: [41, 198, "int int int"],
  socketpair: [53, 199, "int int int ptr"],
  splice: [275, 76, "fd ptr fd ptr int flags:SpliceFlag"],
  statx: [332, 291, "at str flags:AtFlag hex ptr"],
  symlinkat: [266, 36, "str at str"],
  umask: [95, 166, "oct"],
  umount2: [166, 39, "str flags:UmountFlag"],
  unlinkat: [263, 35, "at str flags:AtFlag"],
  unshare: [272, 97, "flags:CloneFlag"],
  wait4: [61, 260, "int ptr int ptr"],
  write: [1, 64, "fd str int"],
} as const satisfies Record<string, SyscallRow>;

/** Name of a system call that a plan may use: `openat`. */
export type SyscallName = keyof typeof syscalls;

/** The number of `name` on `arch`. */
export function syscallNumber(name: SyscallName, arch: Arch): number {
  return syscalls[name][arch === "x86_64" ? 0 : 1];
}
