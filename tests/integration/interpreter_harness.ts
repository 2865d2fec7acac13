/** Hand-written programs for the interpreters: a small encoder, and a way to run one and see what it did. */

import { Errno, type ErrnoName } from "../../lib/ffi/errno.ts";
import type { Fd } from "../../lib/ffi/fd.ts";
import { pipe } from "../../lib/ffi/files.ts";
import { alloc, hostArch, Kernel } from "../../lib/ffi/kernel.ts";
import { shellStatus, spawn, waitChild } from "../../lib/ffi/process/process.ts";
import { packetPair, receive, streamPair } from "../../lib/ffi/sockets.ts";
import type { Arch } from "../../lib/ffi/syscalls.ts";
import { buildImage, programBase } from "../../lib/plan/native/elf.ts";
import {
  ANY_ERRNO,
  ERRNO_SHIFT,
  Flag,
  head,
  HEAD_SIZE,
  header,
  HEADER_SIZE,
  MAGIC,
  NO_SLOT,
  Opcode,
  OperandKind,
  report,
  VERSION,
} from "../../lib/plan/native/format.ts";

/** Numbers on x86_64 and aarch64: arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h. */
const calls = {
  clone: [56, 220],
  epoll_create1: [291, 20],
  epoll_ctl: [233, 21],
  epoll_pwait: [281, 22],
  eventfd2: [290, 19],
  exit_group: [231, 94],
  getpid: [39, 172],
  getppid: [110, 173],
  kill: [62, 129],
  lseek: [8, 62],
  mmap: [9, 222],
  nanosleep: [35, 101],
  openat: [257, 56],
  prctl: [157, 167],
  read: [0, 63],
  rt_sigaction: [13, 134],
  wait4: [61, 260],
  write: [1, 64],
} as const;

/** A number, a slot, the address of data, an address as it is, or the offset of a label. */
export type Operand =
  | number
  | { slot: number }
  | { data: string; offset?: number }
  | { address: number }
  | { label: string };

/** One instruction of a program. */
export interface Step {
  /** Where jumps and handlers with this name go on. */
  readonly label?: string;
  readonly run: keyof typeof calls | keyof typeof Opcode | number;
  readonly with?: readonly Operand[];
  /** Number of the slot that gets the result. */
  readonly out?: number;
  /** In order: errno or `any`, and the label to go on at, or `next`. */
  readonly on?: readonly (readonly [errno: ErrnoName | "any", label: string])[];
  readonly retryAgain?: boolean;
}

/** A program: instructions, initialised data and zeroed memory (sizes in bytes) by name. */
export interface Program {
  readonly steps: readonly Step[];
  readonly data?: Readonly<Record<string, string | readonly number[]>>;
  readonly zeroed?: Readonly<Record<string, number>>;
}

/** What a program did. */
export interface Outcome {
  /** As a shell reports it: the exit status, or 128 + the signal's number. */
  readonly status: number;
  readonly stdout: Uint8Array;
  readonly reports: readonly Report[];
}

/** A report, with the label of its instruction or else the instruction's index. */
export interface Report {
  readonly kind: number;
  readonly at: string | number;
  readonly value: bigint;
}

/** How to run a program. */
export interface RunOptions {
  /** The other end of the report socket is closed before the program starts. */
  readonly deaf?: boolean;
  /** Run it under qemu with `-strace` written to this file, even where the machine could run it itself. */
  readonly strace?: string;
}

/** The descriptor that test programs report on. */
const REPORT_FD = 9;
/** Follows the program in the file; a program that sees it was mapped too far. */
const trailer = new Uint8Array(64).fill(0xee);

/** A command that runs programs for `arch`, or none where the machine does itself. */
export function emulatorFor(arch: Arch): string | undefined {
  return arch === hostArch() ? undefined : qemu(arch);
}

/** Where the user-mode emulator for `arch` is (Debian: qemu-user-static). */
export const qemu = (arch: Arch) => `/usr/bin/qemu-${arch}-static`;

/** For `ignore`: whether a file that a test needs is missing. Never in CI, where the test then fails. */
export function lacks(path: string | undefined): boolean {
  if (path === undefined || Deno.env.get("CI")) return false;
  try {
    Deno.statSync(path);
    return false;
  } catch {
    return true;
  }
}

/** Runs a program to its end. Its stdout must fit a pipe (64 KiB), its reports a socket's buffer. */
export function run(arch: Arch, program: Program, options: RunOptions = {}): Outcome {
  const { image, offsets } = encode(arch, program);
  const path = Deno.makeTempFileSync({ prefix: "interpreter-" });
  try {
    Deno.writeFileSync(path, image);
    Deno.chmodSync(path, 0o755);
    const emulator = options.strace ? [qemu(arch), "-strace", "-D", options.strace] : [emulatorFor(arch) ?? []].flat();
    const { status, stdout, packets } = runCommand([...emulator, path], options.deaf ?? false);
    return { status, stdout, reports: packets.map((packet) => readReport(packet, program, offsets)) };
  } finally {
    Deno.removeSync(path);
  }
}

function runCommand(argv: readonly string[], deaf: boolean) {
  const kernel = new Kernel();
  try {
    return spawnAndWait(kernel, argv, deaf);
  } finally {
    kernel.close();
  }
}

function spawnAndWait(kernel: Kernel, argv: readonly string[], deaf: boolean) {
  const output = pipe(kernel, "stdout");
  // Only a stream socket raises SIGPIPE.
  const sockets = deaf ? streamPair(kernel, "reports") : packetPair(kernel, "reports");
  using stdout = output.read;
  using ours = sockets[0];
  let pid: number;
  {
    using write = output.write;
    using theirs = sockets[1];
    if (deaf) ours.close();
    const fds = [{ to: 1, from: write.number }, { to: REPORT_FD, from: theirs.number }];
    pid = spawn(kernel, { path: argv[0]!, argv, env: [], fds });
  }
  if (pid < 0) throw new Error(`Cannot start ${argv.join(" ")}: errno ${-pid}`);
  const status = shellStatus(waitChild(kernel, pid)!);
  return { status, stdout: readAll(kernel, stdout), packets: deaf ? [] : receiveAll(kernel, ours) };
}

function readAll(kernel: Kernel, fd: Fd): Uint8Array {
  const buffer = alloc(65536);
  const length = kernel.retry("read", fd.number, buffer, buffer.length);
  return buffer.subarray(0, length);
}

function receiveAll(kernel: Kernel, socket: Fd): Uint8Array[] {
  const packets: Uint8Array[] = [];
  for (;;) {
    const { bytes } = receive(kernel, socket, 4096);
    if (bytes.length === 0) return packets;
    packets.push(bytes);
  }
}

function readReport(packet: Uint8Array, { steps }: Program, offsets: readonly number[]): Report {
  if (packet.length !== report.size) throw new RangeError(`A report of ${packet.length} bytes`);
  const view = new DataView(packet.buffer, packet.byteOffset);
  const index = offsets.indexOf(view.getUint32(report.instruction, true));
  return {
    kind: view.getUint32(report.kind, true),
    at: steps[index]?.label ?? index,
    value: view.getBigInt64(report.value, true),
  };
}

function encode(arch: Arch, { steps, data = {}, zeroed = {} }: Program) {
  const offsets: number[] = [];
  const labels = new Map<string, number>([["next", 0]]);
  let end = HEADER_SIZE;
  for (const step of steps) {
    offsets.push(end);
    if (step.label !== undefined) labels.set(step.label, end);
    end += HEAD_SIZE + 4 * ((step.with?.length ?? 0) + (step.on?.length ?? 0));
  }
  const pieces = Object.entries(data).map(([name, content]) => {
    const bytes = typeof content === "string" ? new TextEncoder().encode(`${content}\0`) : Uint8Array.from(content);
    return { name, bytes, at: place(name, bytes.length) };
  });
  const programLength = end;
  for (const [name, size] of Object.entries(zeroed)) place(name, size);

  const program = new Uint8Array(programLength);
  const view = new DataView(program.buffer);
  view.setUint32(header.magic, MAGIC, true);
  view.setUint32(header.version, VERSION, true);
  view.setUint32(header.entry, HEADER_SIZE, true);
  view.setUint32(header.reportFd, REPORT_FD, true);
  steps.forEach((step, index) => writeStep(view, offsets[index]!, step, { arch, labels }));
  for (const { bytes, at } of pieces) program.set(bytes, at);
  const { image } = buildImage({ arch, program, zeroLength: end - programLength, trailer });
  return { image, offsets };

  function place(name: string, size: number): number {
    const at = Math.ceil(end / 8) * 8;
    labels.set(`data ${name}`, at);
    end = at + size;
    return at;
  }
}

function writeStep(view: DataView, at: number, step: Step, context: { arch: Arch; labels: Map<string, number> }): void {
  const { arch, labels } = context;
  const operands = (step.with ?? []).map((operand) => encodeOperand(operand, arch, labels));
  const handlers = step.on ?? [];
  view.setUint16(at + head.code, codeOf(step.run, arch), true);
  view.setUint16(at + head.kinds, operands.reduce((kinds, [kind], index) => kinds | kind << 2 * index, 0), true);
  view.setUint8(at + head.operands, operands.length);
  view.setUint8(at + head.out, step.out ?? NO_SLOT);
  view.setUint8(at + head.handlers, handlers.length);
  view.setUint8(at + head.flags, step.retryAgain ? Flag.retryAgain : 0);
  operands.forEach(([, word], index) => view.setInt32(at + HEAD_SIZE + 4 * index, word, true));
  handlers.forEach(([errno, label], index) => {
    const number = errno === "any" ? ANY_ERRNO : Errno[errno];
    const word = number * 2 ** ERRNO_SHIFT + known(labels, label) / 4;
    view.setUint32(at + HEAD_SIZE + 4 * (operands.length + index), word, true);
  });
}

function codeOf(run: Step["run"], arch: Arch): number {
  if (typeof run === "number") return run;
  return run in calls
    ? calls[run as keyof typeof calls][arch === "x86_64" ? 0 : 1]
    : Opcode[run as keyof typeof Opcode];
}

function encodeOperand(operand: Operand, arch: Arch, labels: Map<string, number>): [kind: number, word: number] {
  if (typeof operand === "number") return [OperandKind.immediate, operand];
  if ("slot" in operand) return [OperandKind.slot, operand.slot];
  if ("label" in operand) return [OperandKind.immediate, known(labels, operand.label)];
  if ("address" in operand) return [OperandKind.address, operand.address | 0];
  const address = programBase(arch) + known(labels, `data ${operand.data}`) + (operand.offset ?? 0);
  return [OperandKind.address, address];
}

function known(labels: Map<string, number>, label: string): number {
  const offset = labels.get(label);
  if (offset === undefined) throw new RangeError(`No label ${label}`);
  return offset;
}
