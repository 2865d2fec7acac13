/**
 * The first process of a sandbox: it ends when the program that has made the sandbox ends, and the kernel then ends all
 * others of the sandbox. Pure.
 *
 * It is machine code of our own, so that it needs nothing of the root file system. Runs in: the sandbox, as process 1.
 *
 * Its standard input is a socket, whose other end only our process holds, close-on-exec. However that process ends, the
 * kernel closes its end. No program of the sandbox can prevent it: process 1 gets no signals from its own namespace, a
 * socket cannot be opened again through /proc, and the file is executable but not readable, so nothing may trace it.
 *
 * @see pid_namespaces(7), ptrace(2), PR_SET_DUMPABLE in prctl(2)
 * @module
 */

import { Prctl, signalNames } from "../../ffi/constants.ts";
import { type Arch, syscallNumber } from "../../ffi/syscalls.ts";
import * as aarch64 from "../../plan/native/asm_aarch64.ts";
import * as x86 from "../../plan/native/asm_x86_64.ts";
import { assemble, type Assembly, type Row } from "../../plan/native/assembler.ts";
import { elfHeaders, elfHeadersSize, SegmentFlag } from "../../plan/native/elf_headers.ts";
import { CODE_BASE } from "../../plan/native/format.ts";

/** include/uapi/asm-generic/signal-defs.h */
const SIG_IGN = 1;
/** The size of a signal set, in bytes. */
const SIGSET_SIZE = 8;
const SIGCHLD = signalNames.indexOf("SIGCHLD");

/** A call of the program: its name and arguments. `memory`: the address of 32 bytes. */
type Call = readonly [name: Parameters<typeof syscallNumber>[0], ...args: readonly (number | "memory")[]];

/** What it does, in order. Nobody writes to the socket: read(2) returns at its end. */
const calls: readonly Call[] = [
  // Orphans become its children. The kernel reaps them at once if SIGCHLD is ignored. wait(2)
  ["rt_sigaction", SIGCHLD, "memory", 0, SIGSET_SIZE],
  ["prctl", Prctl.PR_SET_DUMPABLE, 0],
  // One byte tells that it runs.
  ["write", 0, "memory", 1],
  ["read", 0, "memory", 1],
  ["exit_group", 0],
];

const argumentsOf = {
  x86_64: ["edi", "esi", "edx", "r10d"],
  aarch64: ["x0", "x1", "x2", "x3"],
} as const;

/** The code, as rows. */
export function firstProcessCode(arch: Arch): Assembly {
  return assemble(arch === "x86_64" ? rowsX86() : rowsAarch64());
}

/** The 32 bytes below the stack are `struct sigaction`: handler, flags, restorer, mask. arch/*\/include/asm/signal.h */
function rowsX86(): readonly Row[] {
  const memory = x86.at("rbx", -32);
  return [
    x86.mov("rbx", "rsp"),
    x86.movImm("eax", SIG_IGN),
    x86.store(memory, "rax"),
    x86.movImm("eax", 0),
    ...[-24, -16, -8].map((offset) => x86.store(x86.at("rbx", offset), "rax")),
    ...calls.flatMap(([name, ...args]): Row[] => [
      ...args.map((argument, index) =>
        argument === "memory" ? x86.lea("rsi", memory) : x86.movImm(argumentsOf.x86_64[index]!, argument)
      ),
      x86.movImm("eax", syscallNumber(name, "x86_64")),
      x86.syscall(),
    ]),
  ];
}

function rowsAarch64(): readonly Row[] {
  return [
    aarch64.movSp("x19"),
    aarch64.subImm("x19", "x19", 32),
    aarch64.movImm("x9", SIG_IGN),
    aarch64.str("x9", aarch64.at("x19", 0)),
    aarch64.movImm("x9", 0),
    ...[8, 16, 24].map((offset) => aarch64.str("x9", aarch64.at("x19", offset))),
    ...calls.flatMap(([name, ...args]): Row[] => [
      ...args.map((argument, index) => {
        const register = argumentsOf.aarch64[index]!;
        return argument === "memory" ? aarch64.mov(register, "x19") : aarch64.movImm(register, argument);
      }),
      aarch64.movImm("x8", syscallNumber(name, "aarch64")),
      aarch64.svc(),
    ]),
  ];
}

/** The program as a file: a static ELF executable. */
export function firstProcess(arch: Arch): Uint8Array<ArrayBuffer> {
  const { code } = firstProcessCode(arch);
  const start = elfHeadersSize(1);
  const size = start + code.length;
  const segment = {
    flags: SegmentFlag.PF_R | SegmentFlag.PF_X,
    offset: 0,
    address: CODE_BASE,
    fileSize: size,
    memorySize: size,
    align: 0x10000,
  };
  const file = new Uint8Array(size);
  file.set(elfHeaders({ arch, entry: CODE_BASE + start, segments: [segment] }));
  file.set(code, start);
  return file;
}
