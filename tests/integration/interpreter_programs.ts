/** What the interpreters have to do, as programs with their outcome: one table for both architectures. */

import type { Arch } from "../../lib/ffi/syscalls.ts";
import { exitAddress, programBase } from "../../lib/plan/native/elf.ts";
import { Opcode, ReportKind, STACK_SLOT } from "../../lib/plan/native/format.ts";
import type { Operand, Program, Report, Step } from "./interpreter_harness.ts";

/** A program and what it does. */
export interface Case {
  readonly name: string;
  readonly program: Program | ((arch: Arch) => Program);
  /** 0 unless given. */
  readonly status?: number | ((arch: Arch) => number);
  /** Text, or 64-bit numbers as {@link show} writes them. Empty unless given. */
  readonly stdout?: string | readonly bigint[] | ((arch: Arch) => readonly bigint[]);
  /** None unless given. */
  readonly reports?: readonly Report[];
  readonly deaf?: boolean;
  /** It needs the kernel itself: qemu-user loads no seccomp filter. */
  readonly native?: boolean;
}

const exit = (status: number): Step => ({ run: "exit_group", with: [status] });
/** Writes a slot's 8 bytes to stdout; the program needs {@link shown}. */
const show = (slot: number): Step[] => [
  { run: "store", with: [{ data: "shown" }, 8, { slot }] },
  { run: "write", with: [1, { data: "shown" }, 8] },
];
const shown = { shown: 8 };
const set = (slot: number, value: Operand): Step => ({ run: "add", with: [value, 0], out: slot });
const error = (at: string | number, value: bigint): Report => ({ kind: ReportKind.error, at, value });
const warning = (at: string | number, value: bigint): Report => ({ kind: ReportKind.warning, at, value });

const [ENOENT, EAGAIN, EBADF, EINVAL, ENOSYS] = [2n, 11n, 9n, 22n, 38n];
const [AT_FDCWD, O_NONBLOCK, SIGTERM, SIGCHLD, SIGCONT, SIGSTOP] = [-100, 0o4000, 15, 17, 18, 19];
const EPOLL_CTL_ADD = 1, EPOLLIN = 1;
/** openat(2) of a file that is not there: ENOENT. */
const openMissing = { run: "openat", with: [AT_FDCWD, { data: "missing" }, 0] } as const;
const missing = { missing: "/no/such/file" };
/** read(2) of an eventfd that nobody wrote to: EAGAIN. */
export const readEmpty: readonly Step[] = [
  { run: "eventfd2", with: [0, O_NONBLOCK], out: 0 },
  { label: "read", run: "read", with: [{ slot: 0 }, { data: "shown" }, 8], retryAgain: true },
];
const sleep = { run: "nanosleep", with: [{ data: "50ms" }, 0] } as const;
/**
 * `struct sigaction` of the kernel (handler, flags, restorer, mask: 8 bytes each) for the code at exitAddress(). x86-64 starts no
 * handler without SA_RESTORER; this one never returns, so what restores does not matter. arch/x86/kernel/signal_64.c
 */
function exitAction(arch: Arch): readonly number[] {
  const SA_RESTORER = 0x04000000n;
  const words = BigUint64Array.of(BigInt(exitAddress(arch)), SA_RESTORER, 0n, 0n);
  return [...new Uint8Array(words.buffer)];
}
/** `struct timespec` of 50 ms. */
const fiftyMs = { "50ms": [0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0xf0, 0xfa, 0x02, 0, 0, 0, 0] };

const values: readonly Case[] = [
  {
    name: "a system call gets its arguments; exit_group ends the program",
    program: { steps: [{ run: "write", with: [1, { data: "text" }, 6] }, exit(7)], data: { text: "hello\n" } },
    status: 7,
    stdout: "hello\n",
  },
  {
    name: "all six arguments arrive",
    program: {
      steps: [
        // PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS|MAP_FIXED, no descriptor: at that address if all are right.
        { run: "mmap", with: [0x20000000, 4096, 3, 0x32, -1, 0], out: 0 },
        ...show(0),
        // The same from offset 1, which is no multiple of the page's size.
        { run: "mmap", with: [0x20000000, 4096, 3, 0x32, -1, 1], out: 0, on: [["EINVAL", "next"]] },
        ...show(0),
        exit(0),
      ],
      zeroed: shown,
    },
    stdout: [0x20000000n, -EINVAL],
  },
  {
    name: "immediates are sign-extended, addresses zero-extended, operands that are not given 0",
    program: {
      steps: [
        set(0, -2),
        ...show(0),
        set(31, { slot: 0 }),
        ...show(31),
        set(1, { data: "shown" }),
        { run: "and", with: [{ slot: 1 }, -0x10000], out: 1 },
        ...show(1),
        { run: "add", with: [5], out: 2 },
        ...show(2),
        set(3, { address: 0xfffffffe }),
        ...show(3),
        exit(0),
      ],
      zeroed: shown,
    },
    stdout: (arch) => [-2n, -2n, BigInt(programBase(arch)) & ~0xffffn, 5n, 0xfffffffen],
  },
  {
    name: "add and and work on 64 bits",
    program: {
      steps: [
        { run: "load", with: [{ data: "a" }, 8], out: 0 },
        { run: "load", with: [{ data: "a", offset: 8 }, 8], out: 1 },
        { run: "add", with: [{ slot: 0 }, { slot: 1 }], out: 2 },
        ...show(2),
        { run: "and", with: [{ slot: 0 }, { slot: 1 }], out: 2 },
        ...show(2),
        exit(0),
      ],
      data: { a: [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0x01, 0, 0, 0, 0x03, 0, 0, 0x40] },
      zeroed: shown,
    },
    stdout: [0x4000001300000000n, 0x300000001n],
  },
  {
    name: "sub works on 64 bits, below zero too",
    program: {
      steps: [
        { run: "load", with: [{ data: "a" }, 8], out: 0 },
        set(1, 5),
        { run: "sub", with: [{ slot: 0 }, { slot: 1 }], out: 2 },
        ...show(2),
        { run: "sub", with: [{ slot: 1 }, { slot: 0 }], out: 2 },
        ...show(2),
        { run: "sub", with: [{ slot: 1 }, { slot: 1 }], out: 2 },
        ...show(2),
        { run: "sub", with: [-1, 1], out: 2 },
        ...show(2),
        exit(0),
      ],
      data: { a: [4, 0, 0, 0, 1, 0, 0, 0] },
      zeroed: shown,
    },
    stdout: [0xffffffffn, -0xffffffffn, 0n, -2n],
  },
  {
    name: "slot 1 is where argc and argv are in the beginning, and memory is read and written through slots",
    program: {
      steps: [
        { run: "load", with: [{ slot: STACK_SLOT }, 8], out: 2 },
        ...show(2),
        { run: "add", with: [{ slot: STACK_SLOT }, 16], out: 3 },
        // argv ends with 0, for there is one argument.
        { run: "load", with: [{ slot: 3 }, 8], out: 4 },
        ...show(4),
        { run: "store", with: [{ slot: 3 }, 2, -1] },
        { run: "load", with: [{ slot: 3 }, 8], out: 4 },
        ...show(4),
        exit(0),
      ],
      zeroed: shown,
    },
    stdout: [1n, 0n, 0xffffn],
  },
  {
    name: "shr shifts 64 bits right and fills with 0; of the count the low 6 bits matter",
    program: {
      steps: [
        { run: "load", with: [{ data: "a" }, 8], out: 0 },
        set(1, 36),
        ...[0, 3, 63, 64, 0x103].flatMap((count): Step[] => [
          { run: "shr", with: [{ slot: 0 }, count], out: 2 },
          ...show(2),
        ]),
        { run: "shr", with: [{ slot: 0 }, { slot: 1 }], out: 2 },
        ...show(2),
        { run: "shr", with: [-1, 1], out: 2 },
        ...show(2),
        exit(0),
      ],
      data: { a: [0xef, 0xcd, 0xab, 0x89, 0x67, 0x45, 0x23, 0x81] },
      zeroed: shown,
    },
    stdout: [
      0x8123456789abcdefn,
      0x102468acf13579bdn,
      1n,
      0x8123456789abcdefn,
      0x102468acf13579bdn,
      0x8123456n,
      0x7fffffffffffffffn,
    ],
  },
  {
    name: "load reads 1, 2, 4 or 8 bytes, zero-extended",
    program: {
      steps: [
        ...[1, 2, 4, 8].flatMap((size): Step[] => [
          { run: "load", with: [{ data: "bytes", offset: 1 }, size], out: size },
          ...show(size),
        ]),
        exit(0),
      ],
      data: { bytes: [0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0x78] },
      zeroed: shown,
    },
    stdout: [0xf1n, 0xf2f1n, 0xf4f3f2f1n, 0x78f7f6f5f4f3f2f1n],
  },
  {
    name: "store writes 1, 2, 4 or 8 bytes and none beside them",
    program: {
      steps: [
        { run: "load", with: [{ data: "value" }, 8], out: 0 },
        ...[1, 2, 4, 8].flatMap((size): Step[] => [
          { run: "store", with: [{ data: "target" }, 8, -1] },
          { run: "store", with: [{ data: "target", offset: 8 }, 8, -1] },
          { run: "store", with: [{ data: "target", offset: 1 }, size, { slot: 0 }] },
          { run: "write", with: [1, { data: "target" }, 16] },
        ]),
        exit(0),
      ],
      data: { value: [1, 2, 3, 4, 5, 6, 7, 8] },
      zeroed: { target: 16 },
    },
    stdout: [~0xfe00n, -1n, ~0xfdfe00n, -1n, ~0xfbfcfdfe00n, -1n, 0x07060504030201ffn, ~0xf7n],
  },
  {
    name: "memory after the program is zero and writable, whatever follows in the file",
    program: {
      steps: [
        { run: "load", with: [{ data: "large" }, 8], out: 0 },
        { run: "load", with: [{ data: "large", offset: 0x100000 - 8 }, 8], out: 1 },
        ...show(0),
        ...show(1),
        { run: "store", with: [{ data: "large", offset: 0x100000 - 8 }, 8, 9] },
        { run: "load", with: [{ data: "large", offset: 0x100000 - 8 }, 8], out: 1 },
        ...show(1),
        exit(0),
      ],
      zeroed: { large: 0x100000, ...shown },
    },
    stdout: [0n, 0n, 9n],
  },
];

const jumps: readonly Case[] = [
  {
    name: "jump goes on and back",
    program: {
      steps: [
        { run: "jump", with: [{ label: "on" }] },
        { label: "back", run: "write", with: [1, { data: "text" }, 4] },
        exit(0),
        { label: "on", run: "write", with: [1, { data: "text", offset: 4 }, 3] },
        { run: "jump", with: [{ label: "back" }] },
      ],
      data: { text: "backon " },
    },
    stdout: "on back",
  },
  {
    name: "jumpNotEqual loops, and falls through at the end",
    program: {
      steps: [
        set(0, 3),
        { label: "again", run: "write", with: [1, { data: "x" }, 1] },
        { run: "add", with: [{ slot: 0 }, -1], out: 0 },
        { run: "jumpNotEqual", with: [{ slot: 0 }, 0, { label: "again" }] },
        exit(0),
      ],
      data: { x: "x" },
    },
    stdout: "xxx",
  },
  {
    name: "jumpEqual jumps, or does not; both jumps compare 64 bits",
    program: {
      steps: [
        { run: "load", with: [{ data: "large" }, 8], out: 0 },
        { run: "jumpEqual", with: [{ slot: 0 }, 5, { label: "wrong" }] },
        { run: "jumpNotEqual", with: [{ slot: 0 }, 5, { label: "right" }] },
        { label: "wrong", run: "fail", with: [1] },
        { label: "right", run: "jumpEqual", with: [{ slot: 0 }, { slot: 0 }, { label: "end" }] },
        { run: "fail", with: [2] },
        { label: "end", ...exit(0) },
      ],
      data: { large: [5, 0, 0, 0, 1, 0, 0, 0] },
    },
  },
];

const failures: readonly Case[] = [
  {
    name: "a failure goes on where the handler for its errno says, with -errno as the result",
    program: {
      steps: [
        { ...openMissing, out: 3, on: [["EACCES", "wrong"], ["ENOENT", "right"]] },
        { label: "wrong", run: "fail", with: [1] },
        { label: "right", run: "jump", with: [{ label: "end" }] },
        { run: "fail", with: [2] },
        { label: "end", ...show(3)[0]! },
        show(3)[1]!,
        exit(0),
      ],
      data: missing,
      zeroed: shown,
    },
    stdout: [-ENOENT],
  },
  {
    name: "a handler can go back",
    program: {
      steps: [
        { run: "jump", with: [{ label: "open" }] },
        { label: "back", ...exit(3) },
        { label: "open", ...openMissing, on: [["ENOENT", "back"]] },
        exit(4),
      ],
      data: missing,
    },
    status: 3,
  },
  {
    name: "a handler for any errno fits, and `next` goes on after the handlers",
    program: {
      steps: [{ ...openMissing, out: 0, on: [["EACCES", "wrong"], ["any", "next"]] }, ...show(0), exit(0), {
        label: "wrong",
        ...exit(1),
      }],
      data: missing,
      zeroed: shown,
    },
    stdout: [-ENOENT],
  },
  {
    name: "of the handlers that fit, the first wins",
    program: {
      steps: [
        { ...openMissing, on: [["any", "first"], ["ENOENT", "second"]] },
        { label: "second", ...exit(2) },
        { label: "first", ...openMissing, on: [["ENOENT", "third"], ["any", "second"]] },
        { label: "third", ...exit(3) },
      ],
      data: missing,
    },
    status: 3,
  },
  {
    name: "success passes over the handlers",
    program: {
      steps: [
        { run: "write", with: [1, { data: "text" }, 2], out: 0, on: [["EPERM", "wrong"], ["any", "wrong"]] },
        ...show(0),
        exit(0),
        { label: "wrong", ...exit(1) },
      ],
      data: { text: "12345678" },
      zeroed: shown,
    },
    stdout: "12\x02\0\0\0\0\0\0\0",
  },
  {
    name: "a failure without handlers is reported and ends the program",
    program: { steps: [set(0, 0), { label: "open", ...openMissing }, exit(0)], data: missing },
    status: 1,
    reports: [error("open", ENOENT)],
  },
  {
    name: "a report does not depend on what the call's arguments left in the registers",
    program: { steps: [{ label: "map", run: "mmap", with: [0x20000000, 4096, 3, 0x32, -1, 1] }] },
    status: 1,
    reports: [error("map", EINVAL)],
  },
  {
    name: "a failure whose errno no handler names is reported too",
    program: {
      steps: [{ label: "open", ...openMissing, on: [["EACCES", "next"], ["EINTR", "next"]] }, exit(0)],
      data: missing,
    },
    status: 1,
    reports: [error("open", ENOENT)],
  },
  {
    name: "a result whose low 32 bits look like a failure is none",
    program: {
      steps: [
        { run: "openat", with: [AT_FDCWD, { data: "path" }, 0], out: 0 },
        { run: "load", with: [{ data: "position" }, 8], out: 1 },
        { run: "lseek", with: [{ slot: 0 }, { slot: 1 }, 0], out: 2 },
        ...show(2),
        exit(0),
      ],
      data: { path: "/proc/self/mem", position: [0xf0, 0xff, 0xff, 0xff, 0x10, 0, 0, 0] },
      zeroed: shown,
    },
    stdout: [0x10fffffff0n],
  },
  {
    name: "fail reports 64 bits of its value and ends the program",
    program: {
      steps: [
        { run: "load", with: [{ data: "value" }, 8], out: 0 },
        { label: "fail", run: "fail", with: [{ slot: 0 }] },
        exit(0),
      ],
      data: { value: [8, 7, 6, 5, 4, 3, 2, 1] },
    },
    status: 1,
    reports: [error("fail", 0x0102030405060708n)],
  },
  {
    name: "warn reports and goes on",
    program: {
      steps: [
        { label: "first", run: "warn", with: [-5] },
        { label: "second", run: "warn", with: [6] },
        exit(2),
      ],
    },
    status: 2,
    reports: [warning("first", -5n), warning("second", 6n)],
  },
  ...[Opcode.sub + 1, 0x8100, 0xffff].map((code): Case => ({
    name: `code 0x${code.toString(16)} is none: ENOSYS`,
    program: { steps: [{ label: "unknown", run: code, with: [0, 0, 0] }, exit(0)] },
    status: 1,
    reports: [error("unknown", ENOSYS)],
  })),
  {
    name: "a report that nobody can receive is no signal; the program still ends",
    program: { steps: [{ run: "warn", with: [1] }, { run: "read", with: [99, 0, 0] }, exit(0)] },
    deaf: true,
    status: 1,
  },
  {
    name: "the instruction's offset in a report is right after jumps",
    program: {
      steps: [{ run: "jump", with: [{ label: "far" }] }, exit(0), { label: "far", run: "read", with: [99, 0, 0] }],
    },
    status: 1,
    reports: [error("far", EBADF)],
  },
];

const retries: readonly Case[] = [
  {
    name: "EAGAIN is a failure like any other without the flag",
    program: { steps: [readEmpty[0]!, { ...readEmpty[1]!, retryAgain: false }, exit(0)], zeroed: shown },
    status: 1,
    reports: [error("read", EAGAIN)],
  },
  {
    name: "EAGAIN with the flag is retried, but not for ever",
    program: { steps: [...readEmpty, exit(0)], zeroed: shown },
    status: 1,
    reports: [error("read", EAGAIN)],
  },
  {
    name: "EAGAIN with the flag comes to the handlers when the tries are used up",
    program: { steps: [readEmpty[0]!, { ...readEmpty[1]!, on: [["EAGAIN", "next"]] }, exit(5)], zeroed: shown },
    status: 5,
  },
  {
    name: "EINTR is retried",
    program: {
      steps: [
        { run: "eventfd2", with: [0, 0], out: 0 },
        { run: "epoll_create1", with: [0], out: 1 },
        { run: "epoll_ctl", with: [{ slot: 1 }, EPOLL_CTL_ADD, { slot: 0 }, { data: "event" }] },
        { run: "clone", with: [SIGCHLD], out: 2 },
        { run: "jumpEqual", with: [{ slot: 2 }, 0, { label: "child" }] },
        // Stopping and continuing a process interrupts epoll_wait(2) without a handler: signal(7).
        { run: "epoll_pwait", with: [{ slot: 1 }, { data: "event" }, 1, -1, 0, 8], out: 3 },
        ...show(3),
        exit(0),
        { label: "child", run: "getppid", out: 4 },
        sleep,
        { run: "kill", with: [{ slot: 4 }, SIGSTOP] },
        sleep,
        { run: "kill", with: [{ slot: 4 }, SIGCONT] },
        sleep,
        { run: "write", with: [{ slot: 0 }, { data: "one" }, 8] },
        exit(0),
      ],
      data: {
        event: [EPOLLIN, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        one: [1, 0, 0, 0, 0, 0, 0, 0],
        ...fiftyMs,
      },
      zeroed: shown,
    },
    stdout: [1n],
  },
];

const [PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER] = [22, 38, 2];
const [BPF_LD_W_ABS, BPF_JEQ_K, BPF_RET_K] = [0x20, 0x15, 0x06];
const [SECCOMP_RET_ERRNO, SECCOMP_RET_ALLOW] = [0x00050000, 0x7fff0000];
/** SIGILL of ud2, SIGTRAP of brk. */
const stopped = (arch: Arch): number => 128 + (arch === "x86_64" ? 4 : 5);

/** `struct sock_filter[]`: exit_group answers `errno`. */
function refuseExit(arch: Arch, errno: number): readonly number[] {
  const rows = [
    [BPF_LD_W_ABS, 0, 0, 0],
    [BPF_JEQ_K, 0, 1, arch === "x86_64" ? 231 : 94],
    [BPF_RET_K, 0, 0, SECCOMP_RET_ERRNO + errno],
    [BPF_RET_K, 0, 0, SECCOMP_RET_ALLOW],
  ] as const;
  return rows.flatMap(([code, yes, no, k]) => [code, 0, yes, no, ...new Uint8Array(Uint32Array.of(k).buffer)]);
}

/** Loads that filter, and then does `steps`. */
const withoutExit = (errno: number, steps: readonly Step[]) => (arch: Arch): Program => ({
  steps: [
    { run: "prctl", with: [PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0] },
    { run: "store", with: [{ data: "program" }, 2, 4] },
    { run: "store", with: [{ data: "program", offset: 8 }, 8, { data: "filter" }] },
    { run: "prctl", with: [PR_SET_SECCOMP, SECCOMP_MODE_FILTER, { data: "program" }] },
    { run: "write", with: [1, { data: "text" }, 7] },
    ...steps,
    { run: "write", with: [1, { data: "text" }, 7] },
  ],
  data: { filter: refuseExit(arch, errno), text: "loaded\n" },
  zeroed: { program: 16 },
});

const refusedExits: readonly Case[] = [
  ...[1, 38, 0].map((errno): Case => ({
    name: `a program ends where exit_group answers errno ${errno}, and goes on with nothing`,
    program: withoutExit(errno, [exit(0)]),
    native: true,
    status: stopped,
    stdout: "loaded\n",
  })),
  {
    name: "so it does where exit_group has handlers",
    program: withoutExit(1, [{ ...exit(0), on: [["any", "next"]] }]),
    native: true,
    status: stopped,
    stdout: "loaded\n",
  },
  {
    name: "so it does after a report",
    program: withoutExit(1, [{ label: "fail", run: "fail", with: [7] }]),
    native: true,
    status: stopped,
    stdout: "loaded\n",
    reports: [error("fail", 7n)],
  },
];

const processes: readonly Case[] = [
  {
    name: "after clone both processes go on with memory of their own; wait4 tells the child's status",
    program: {
      steps: [
        { run: "clone", with: [SIGCHLD], out: 0 },
        { run: "jumpEqual", with: [{ slot: 0 }, 0, { label: "child" }] },
        { run: "wait4", with: [{ slot: 0 }, { data: "status" }, 0, 0], out: 1 },
        { run: "jumpNotEqual", with: [{ slot: 0 }, { slot: 1 }, { label: "wrong" }] },
        { run: "load", with: [{ data: "status" }, 4], out: 2 },
        ...show(2),
        exit(0),
        { label: "child", run: "store", with: [{ data: "status" }, 4, -1] },
        { run: "write", with: [1, { data: "text" }, 8] },
        exit(42),
        { label: "wrong", run: "fail", with: [{ slot: 1 }] },
      ],
      data: { text: "in child" },
      zeroed: { status: 4, ...shown },
    },
    stdout: `in child\0${String.fromCharCode(42)}\0\0\0\0\0\0`,
  },
  {
    name: "exitAddress() as a signal handler ends the program with status 1",
    program: (arch) => ({
      steps: [
        { run: "rt_sigaction", with: [SIGTERM, { data: "action" }, 0, 8] },
        { run: "getpid", out: 0 },
        { run: "kill", with: [{ slot: 0 }, SIGTERM] },
        exit(2),
      ],
      data: { action: exitAction(arch) },
    }),
    status: 1,
  },
];

/** Prints /proc/self/maps. */
export const printMaps: Program = {
  steps: [
    { run: "openat", with: [AT_FDCWD, { data: "path" }, 0], out: 0 },
    { label: "again", run: "read", with: [{ slot: 0 }, { data: "buffer" }, 4096], out: 1 },
    { run: "write", with: [1, { data: "buffer" }, { slot: 1 }] },
    { run: "jumpNotEqual", with: [{ slot: 1 }, 0, { label: "again" }] },
    exit(0),
  ],
  data: { path: "/proc/self/maps" },
  zeroed: { buffer: 4096 },
};

/** Every case. */
export const cases: readonly Case[] = [...values, ...jumps, ...failures, ...retries, ...refusedExits, ...processes];
