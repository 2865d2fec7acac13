/**
 * The default seccomp profile of sandboxes: the system calls that ordinary programs need. Everything else fails with
 * EPERM, and calls that are newer than this list with ENOSYS, so that programs take their older way. Pure.
 *
 * Left out on purpose: calls that change the host (clocks, modules, swap, accounting, reboot), that make or enter
 * namespaces and mounts, that have had many bugs in the kernel while few programs need them (bpf, io_uring, userfaultfd,
 * perf_event_open, keyrings, vmsplice), and that reach files around their directories (open_by_handle_at).
 *
 * @module
 */

import type { Arch } from "../../ffi/syscalls.ts";
import type { Seccomp, SeccompSyscall } from "../../specs/config.ts";

/** By topic. A name that an architecture does not have has no effect there. */
const allowed: Readonly<Record<string, string>> = {
  files: `access chdir chmod chown close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64
    fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync flock fstat fstatfs fsync ftruncate
    futimesat getcwd getdents getdents64 ioctl lchown link linkat lseek lstat mkdir mkdirat mknod mknodat newfstatat open
    openat openat2 rename renameat renameat2 readlink readlinkat rmdir stat statfs statx symlink symlinkat sync
    sync_file_range syncfs truncate umask unlink unlinkat utime utimensat utimes`,
  content: `pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readv sendfile splice tee write writev
    cachestat`,
  attributes:
    `fgetxattr flistxattr fremovexattr fsetxattr getxattr lgetxattr listxattr llistxattr lremovexattr lsetxattr
    removexattr setxattr getxattrat listxattrat removexattrat setxattrat`,
  memory: `brk madvise mincore mlock mlock2 mlockall mmap mprotect mremap msync munlock munlockall munmap pkey_alloc
    pkey_free pkey_mprotect remap_file_pages memfd_create membarrier get_mempolicy map_shadow_stack mseal
    process_madvise`,
  processes:
    `execve execveat exit exit_group fork vfork wait4 waitid getpgid getpgrp getpid getppid getsid gettid setpgid
    setsid pidfd_open pidfd_send_signal pidfd_getfd process_mrelease kcmp ptrace process_vm_readv process_vm_writev
    prctl arch_prctl set_tid_address set_thread_area get_thread_area modify_ldt rseq restart_syscall getcpu`,
  credentials: `capget capset getegid geteuid getgid getgroups getresgid getresuid getuid setfsgid setfsuid setgid
    setgroups setregid setresgid setresuid setreuid setuid seccomp landlock_add_rule landlock_create_ruleset
    landlock_restrict_self`,
  limits: `getpriority getrlimit getrusage prlimit64 setpriority setrlimit ioprio_get ioprio_set sched_get_priority_max
    sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
    sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield`,
  signals: `kill tgkill tkill pause rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
    rt_sigtimedwait rt_tgsigqueueinfo sigaltstack signalfd signalfd4`,
  time: `alarm clock_getres clock_gettime clock_nanosleep getitimer gettimeofday nanosleep setitimer time timer_create
    timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime times`,
  events: `epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 poll ppoll pselect6
    select inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents
    io_setup io_submit`,
  threads: `futex futex_requeue futex_wait futex_waitv futex_wake get_robust_list set_robust_list`,
  sockets: `accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg recvmsg sendmmsg
    sendmsg sendto setsockopt shutdown socketpair pipe pipe2`,
  ipc: `mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd semctl semget
    semop semtimedop shmat shmctl shmdt shmget`,
  system: `getrandom sysinfo uname`,
};

/** CLONE_NEW* of clone(2). CLONE_NEWTIME has no place in its flags. */
const NAMESPACE_FLAGS = 0x7e020000;
const ENOSYS = 38;

/** AF_UNIX, AF_INET, AF_INET6, AF_NETLINK: include/linux/socket.h. Others are for hardware, virtual machines and crypto. */
const socketFamilies = [1, 2, 10, 16];

/** Values of personality(2): Linux, 32 bits, each also with an old version number; and the question. */
const personalities = [0, 8, 0x20000, 0x20008, 0xffffffff];

/** What a capability is of no use without. */
const byCapability: Readonly<Record<string, string>> = {
  CAP_DAC_READ_SEARCH: "open_by_handle_at name_to_handle_at",
  CAP_SYS_ADMIN: `fsconfig fsmount fsopen fspick mount mount_setattr move_mount open_tree pivot_root quotactl
    quotactl_fd setdomainname sethostname setns umount umount2 unshare`,
  CAP_SYS_BOOT: "reboot kexec_load kexec_file_load",
  CAP_SYS_CHROOT: "chroot",
  CAP_SYS_MODULE: "delete_module finit_module init_module",
  CAP_SYS_NICE: "mbind migrate_pages move_pages set_mempolicy set_mempolicy_home_node",
  CAP_SYS_PACCT: "acct",
  CAP_SYS_RAWIO: "ioperm iopl",
  CAP_SYS_TIME: "adjtimex clock_adjtime clock_settime settimeofday stime",
  CAP_SYS_TTY_CONFIG: "vhangup",
  CAP_SYSLOG: "syslog",
  CAP_BPF: "bpf",
  CAP_PERFMON: "perf_event_open",
};

const architectures: Readonly<Record<Arch, string>> = { x86_64: "SCMP_ARCH_X86_64", aarch64: "SCMP_ARCH_AARCH64" };

const namesOf = (text: string): readonly string[] => text.trim().split(/\s+/);

const allow = (names: readonly string[]): SeccompSyscall => ({ names, action: "SCMP_ACT_ALLOW" });

const allowValues = (name: string, values: readonly number[]): readonly SeccompSyscall[] =>
  values.map((value) => ({ ...allow([name]), args: [{ index: 0, value, op: "SCMP_CMP_EQ" }] }));

/**
 * The profile for a sandbox with these capabilities (`CAP_SYS_TIME`). Programs for another architecture than the
 * machine's own, such as 32-bit ones, are killed: their system calls have other numbers.
 */
export function seccompProfile(arch: Arch, capabilities: readonly string[] = []): Seccomp {
  const more = capabilities.flatMap((name) => namesOf(byCapability[name] ?? "")).filter((name) => name !== "");
  // With it, namespaces may be made, and clone3(2), whose flags a filter cannot see, need not be refused.
  const makesNamespaces = capabilities.includes("CAP_SYS_ADMIN");
  return {
    defaultAction: "SCMP_ACT_ERRNO",
    defaultErrnoRet: 1,
    architectures: [architectures[arch]],
    syscalls: [
      allow([...Object.values(allowed).flatMap(namesOf), ...more]),
      ...allowValues("socket", socketFamilies),
      ...allowValues("personality", personalities),
      ...(makesNamespaces ? [allow(["clone", "clone3"])] : cloneRules()),
    ],
  };
}

function cloneRules(): readonly SeccompSyscall[] {
  const flags = { index: 0, value: NAMESPACE_FLAGS, valueTwo: 0, op: "SCMP_CMP_MASKED_EQ" };
  return [
    { ...allow(["clone"]), args: [flags] },
    // A libc that gets ENOSYS uses clone(2).
    { names: ["clone3"], action: "SCMP_ACT_ERRNO", errnoRet: ENOSYS },
  ];
}
