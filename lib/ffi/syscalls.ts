/**
 * The system calls that a plan may use, or that this program makes by number: their numbers, and how explain and error
 * messages print their arguments.
 *
 * Source: arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h, Linux 6.1.
 *
 * @module
 */

/** The architectures that Deno supports on Linux. */
export type Arch = "x86_64" | "aarch64";

/**
 * The number on each architecture, and the kinds of the arguments in order: `fd`, `at` (a directory's descriptor or
 * AT_FDCWD), `str`, `ptr`, `int`, `hex`, `oct`, `dev`, `flags:<table>` (a bit set) and `enum:<table>`, with a table of
 * constants.ts.
 */
export type SyscallRow = Readonly<Record<Arch, number>> & { readonly args: string };

/** All system calls, by name. */
export const syscalls = {
  bpf: { x86_64: 321, aarch64: 280, args: "int ptr int" },
  capget: { x86_64: 125, aarch64: 90, args: "ptr ptr" },
  capset: { x86_64: 126, aarch64: 91, args: "ptr ptr" },
  chdir: { x86_64: 80, aarch64: 49, args: "str" },
  chroot: { x86_64: 161, aarch64: 51, args: "str" },
  clock_gettime: { x86_64: 228, aarch64: 113, args: "enum:Clock ptr" },
  clone: { x86_64: 56, aarch64: 220, args: "flags:CloneFlag ptr ptr ptr int" },
  clone3: { x86_64: 435, aarch64: 435, args: "ptr int" },
  close: { x86_64: 3, aarch64: 57, args: "fd" },
  close_range: { x86_64: 436, aarch64: 436, args: "int int flags:CloseRange" },
  connect: { x86_64: 42, aarch64: 203, args: "fd ptr int" },
  dup3: { x86_64: 292, aarch64: 24, args: "fd fd flags:OpenFlag" },
  execve: { x86_64: 59, aarch64: 221, args: "ptr ptr ptr" },
  execveat: { x86_64: 322, aarch64: 281, args: "at str ptr ptr flags:AtFlag" },
  epoll_create1: { x86_64: 291, aarch64: 20, args: "flags:OpenFlag" },
  epoll_ctl: { x86_64: 233, aarch64: 21, args: "fd int fd ptr" },
  epoll_pwait: { x86_64: 281, aarch64: 22, args: "fd ptr int int ptr int" },
  exit_group: { x86_64: 231, aarch64: 94, args: "int" },
  faccessat: { x86_64: 269, aarch64: 48, args: "at str int" },
  faccessat2: { x86_64: 439, aarch64: 439, args: "at str int flags:AccessFlag" },
  fchmodat: { x86_64: 268, aarch64: 53, args: "at str oct" },
  fchdir: { x86_64: 81, aarch64: 50, args: "fd" },
  fchmod: { x86_64: 91, aarch64: 52, args: "fd oct" },
  fchown: { x86_64: 93, aarch64: 55, args: "fd int int" },
  fchownat: { x86_64: 260, aarch64: 54, args: "at str int int flags:AtFlag" },
  fcntl: { x86_64: 72, aarch64: 25, args: "fd int int" },
  flock: { x86_64: 73, aarch64: 32, args: "fd enum:Flock" },
  fsconfig: { x86_64: 431, aarch64: 431, args: "fd enum:FsConfig str ptr int" },
  fsmount: { x86_64: 432, aarch64: 432, args: "fd flags:FsMount flags:MountAttr" },
  fsopen: { x86_64: 430, aarch64: 430, args: "str flags:FsOpen" },
  fstat: { x86_64: 5, aarch64: 80, args: "fd ptr" },
  fstatfs: { x86_64: 138, aarch64: 44, args: "fd ptr" },
  getcwd: { x86_64: 79, aarch64: 17, args: "ptr int" },
  getdents64: { x86_64: 217, aarch64: 61, args: "fd ptr int" },
  geteuid: { x86_64: 107, aarch64: 175, args: "" },
  getpid: { x86_64: 39, aarch64: 172, args: "" },
  getppid: { x86_64: 110, aarch64: 173, args: "" },
  getuid: { x86_64: 102, aarch64: 174, args: "" },
  ioctl: { x86_64: 16, aarch64: 29, args: "fd enum:Ioctl ptr" },
  ioprio_set: { x86_64: 251, aarch64: 30, args: "int int int" },
  kcmp: { x86_64: 312, aarch64: 272, args: "int int int int int" },
  keyctl: { x86_64: 250, aarch64: 219, args: "enum:Keyctl int int int int" },
  kill: { x86_64: 62, aarch64: 129, args: "int int" },
  landlock_add_rule: { x86_64: 445, aarch64: 445, args: "fd int ptr int" },
  landlock_create_ruleset: { x86_64: 444, aarch64: 444, args: "ptr int int" },
  landlock_restrict_self: { x86_64: 446, aarch64: 446, args: "fd int" },
  lseek: { x86_64: 8, aarch64: 62, args: "fd int int" },
  memfd_create: { x86_64: 319, aarch64: 279, args: "str int" },
  mkdirat: { x86_64: 258, aarch64: 34, args: "at str oct" },
  mknodat: { x86_64: 259, aarch64: 33, args: "at str oct dev" },
  mmap: { x86_64: 9, aarch64: 222, args: "ptr int hex hex fd int" },
  mount: { x86_64: 165, aarch64: 40, args: "str str str flags:MountFlag str" },
  mount_setattr: { x86_64: 442, aarch64: 442, args: "at str flags:AtFlag ptr int" },
  move_mount: { x86_64: 429, aarch64: 429, args: "at str at str flags:MoveMount" },
  munmap: { x86_64: 11, aarch64: 215, args: "ptr int" },
  newfstatat: { x86_64: 262, aarch64: 79, args: "at str ptr flags:AtFlag" },
  openat: { x86_64: 257, aarch64: 56, args: "at str flags:OpenFlag oct" },
  openat2: { x86_64: 437, aarch64: 437, args: "at str ptr int" },
  open_tree: { x86_64: 428, aarch64: 428, args: "at str flags:OpenTree" },
  personality: { x86_64: 135, aarch64: 92, args: "hex" },
  pidfd_getfd: { x86_64: 438, aarch64: 438, args: "fd int int" },
  pidfd_open: { x86_64: 434, aarch64: 434, args: "int int" },
  pidfd_send_signal: { x86_64: 424, aarch64: 424, args: "fd int ptr int" },
  pipe2: { x86_64: 293, aarch64: 59, args: "ptr flags:OpenFlag" },
  pivot_root: { x86_64: 155, aarch64: 41, args: "str str" },
  ppoll: { x86_64: 271, aarch64: 73, args: "ptr int ptr ptr int" },
  prctl: { x86_64: 157, aarch64: 167, args: "enum:Prctl int int int int" },
  prlimit64: { x86_64: 302, aarch64: 261, args: "int int ptr ptr" },
  pwrite64: { x86_64: 18, aarch64: 68, args: "fd ptr int int" },
  read: { x86_64: 0, aarch64: 63, args: "fd ptr int" },
  readlinkat: { x86_64: 267, aarch64: 78, args: "at str ptr int" },
  recvfrom: { x86_64: 45, aarch64: 207, args: "fd ptr int int ptr ptr" },
  recvmsg: { x86_64: 47, aarch64: 212, args: "fd ptr flags:MsgFlag" },
  renameat: { x86_64: 264, aarch64: 38, args: "at str at str" },
  rt_sigaction: { x86_64: 13, aarch64: 134, args: "enum:Signal ptr ptr int" },
  rt_sigprocmask: { x86_64: 14, aarch64: 135, args: "int ptr ptr int" },
  sched_setaffinity: { x86_64: 203, aarch64: 122, args: "int int ptr" },
  sched_setattr: { x86_64: 314, aarch64: 274, args: "int ptr int" },
  seccomp: { x86_64: 317, aarch64: 277, args: "enum:SeccompOperation flags:SeccompFilterFlag ptr" },
  sendfile: { x86_64: 40, aarch64: 71, args: "fd fd ptr int" },
  sendmsg: { x86_64: 46, aarch64: 211, args: "fd ptr flags:MsgFlag" },
  sendto: { x86_64: 44, aarch64: 206, args: "fd ptr int flags:MsgFlag ptr int" },
  setdomainname: { x86_64: 171, aarch64: 162, args: "str int" },
  setgid: { x86_64: 106, aarch64: 144, args: "int" },
  setgroups: { x86_64: 116, aarch64: 159, args: "int ptr" },
  sethostname: { x86_64: 170, aarch64: 161, args: "str int" },
  set_mempolicy: { x86_64: 238, aarch64: 237, args: "hex ptr int" },
  setns: { x86_64: 308, aarch64: 268, args: "fd flags:CloneFlag" },
  setresgid: { x86_64: 119, aarch64: 149, args: "int int int" },
  setresuid: { x86_64: 117, aarch64: 147, args: "int int int" },
  setsid: { x86_64: 112, aarch64: 157, args: "" },
  setsockopt: { x86_64: 54, aarch64: 208, args: "fd int int ptr int" },
  setuid: { x86_64: 105, aarch64: 146, args: "int" },
  setxattr: { x86_64: 188, aarch64: 5, args: "str str str int int" },
  shutdown: { x86_64: 48, aarch64: 210, args: "fd int" },
  signalfd4: { x86_64: 289, aarch64: 74, args: "fd ptr int flags:OpenFlag" },
  socket: { x86_64: 41, aarch64: 198, args: "int int int" },
  socketpair: { x86_64: 53, aarch64: 199, args: "int int int ptr" },
  splice: { x86_64: 275, aarch64: 76, args: "fd ptr fd ptr int flags:SpliceFlag" },
  statx: { x86_64: 332, aarch64: 291, args: "at str flags:AtFlag hex ptr" },
  symlinkat: { x86_64: 266, aarch64: 36, args: "str at str" },
  umask: { x86_64: 95, aarch64: 166, args: "oct" },
  umount2: { x86_64: 166, aarch64: 39, args: "str flags:UmountFlag" },
  unlinkat: { x86_64: 263, aarch64: 35, args: "at str flags:AtFlag" },
  unshare: { x86_64: 272, aarch64: 97, args: "flags:CloneFlag" },
  wait4: { x86_64: 61, aarch64: 260, args: "int ptr int ptr" },
  waitid: { x86_64: 247, aarch64: 95, args: "int int ptr hex ptr" },
  write: { x86_64: 1, aarch64: 64, args: "fd str int" },
} as const satisfies Record<string, SyscallRow>;

/** Name of a system call: `openat`. */
export type SyscallName = keyof typeof syscalls;

/** The number of `name` on `arch`. */
export function syscallNumber(name: SyscallName, arch: Arch): number {
  return syscalls[name][arch];
}
