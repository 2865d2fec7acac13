import { assertEquals } from "@std/assert";
import { flagTables } from "../../../lib/ffi/constants.ts";
import { syscallNumber, syscalls } from "../../../lib/ffi/syscalls.ts";

/**
 * Name, x86_64, aarch64: arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h, Linux 6.1. A call that
 * a plan is to name has its row here first.
 */
const numbers = `
  capset 126 91 | chdir 80 49 | chroot 161 51 | clock_gettime 228 113 | clone 56 220 | bpf 321 280 | kcmp 312 272 | pidfd_getfd 438 438 | clone3 435 435 | close 3 57 |
  close_range 436 436 | connect 42 203 | dup3 292 24 | execve 59 221 | execveat 322 281 | epoll_create1 291 20 | epoll_ctl 233 21 |
  epoll_pwait 281 22 | newfstatat 262 79 | memfd_create 319 279 | faccessat 269 48 | exit_group 231 94 |
  faccessat2 439 439 | fchmodat 268 53 | fchdir 81 50 | fchmod 91 52 | fchown 93 55 | fchownat 260 54 |
  fcntl 72 25 | flock 73 32 | fsconfig 431 431 | fsmount 432 432 | fsopen 430 430 | fstat 5 80 | fstatfs 138 44 |
  getcwd 79 17 | getdents64 217 61 | geteuid 107 175 | getpid 39 172 | getppid 110 173 | ioctl 16 29 | keyctl 250 219 | kill 62 129 | lseek 8 62 |
  mkdirat 258 34 | mknodat 259 33 | mount 165 40 | mount_setattr 442 442 | move_mount 429 429 | openat 257 56 |
  openat2 437 437 | open_tree 428 428 | pidfd_open 434 434 | pidfd_send_signal 424 424 | pipe2 293 59 |
  pivot_root 155 41 | ppoll 271 73 | prctl 157 167 | prlimit64 302 261 | read 0 63 | readlinkat 267 78 | recvfrom 45 207 | recvmsg 47 212 | socketpair 53 199 |
  rt_sigaction 13 134 | rt_sigprocmask 14 135 | sched_setaffinity 203 122 | seccomp 317 277 | sendfile 40 71 | sendmsg 46 211 | sendto 44 206 | setdomainname 171 162 |
  setgid 106 144 | setgroups 116 159 | sethostname 170 161 | setns 308 268 | setresgid 119 149 |
  setresuid 117 147 | setsid 112 157 | setuid 105 146 | socket 41 198 | splice 275 76 | statx 332 291 | symlinkat 266 36 |
  landlock_create_ruleset 444 444 | landlock_add_rule 445 445 | landlock_restrict_self 446 446 | setxattr 188 5 |
  ioprio_set 251 30 | personality 135 92 | sched_setattr 314 274 | set_mempolicy 238 237 |
  capget 125 90 | mmap 9 222 | munmap 11 215 | pwrite64 18 68 | renameat 264 38 | setsockopt 54 208 | shutdown 48 210 |
  signalfd4 289 74 | waitid 247 95 | getuid 102 174 |
  umask 95 166 | umount2 166 39 | unlinkat 263 35 | unshare 272 97 | wait4 61 260 | write 1 64
`.trim().split("|").map((row) => row.trim().split(" ") as [string, string, string]);

Deno.test("system calls have the kernel's numbers on both architectures", () => {
  const known = new Map(numbers.map(([name, x86, arm]) => [name, [Number(x86), Number(arm)]]));
  for (const [name, { x86_64, aarch64 }] of Object.entries(syscalls)) {
    assertEquals([x86_64, aarch64], known.get(name), name);
  }
});

Deno.test("syscallNumber() chooses the architecture's", () => {
  assertEquals(syscallNumber("pivot_root", "x86_64"), 155);
  assertEquals(syscallNumber("pivot_root", "aarch64"), 41);
});

Deno.test("no two system calls have one number", () => {
  for (const arch of ["x86_64", "aarch64"] as const) {
    const all = Object.values(syscalls).map((row) => row[arch]);
    assertEquals(new Set(all).size, all.length);
  }
});

Deno.test("every kind of argument is one that explain knows, with a table that exists", () => {
  const plain = new Set(["fd", "at", "str", "ptr", "int", "hex", "oct", "dev"]);
  for (const [name, { args: kinds }] of Object.entries(syscalls)) {
    for (const kind of kinds.split(" ").filter((kind) => kind !== "")) {
      const [how, table] = kind.split(":") as [string, string?];
      if (table === undefined) assertEquals(plain.has(how), true, `${name}: ${kind}`);
      else assertEquals([["flags", "enum"].includes(how), table in flagTables], [true, true], `${name}: ${kind}`);
    }
    assertEquals(kinds.split(" ").length <= 6, true, `${name} has at most six arguments`);
  }
});
