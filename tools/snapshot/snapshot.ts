/**
 * Takes a snapshot of a started program as an executable file: the memory of a Deno that has loaded the program, and
 * code that restores it.
 *
 * Deno needs some 20 ms to start, and our program another 10 to load, with the same work each time. The snapshot does
 * this work once: executing the file continues in lib/ffi/snapshot.ts, where the program has stopped. The file needs
 * neither Deno nor libc, and may be anywhere: it contains all of the memory.
 *
 *     0         ELF header, code, paths, table of calls        mapped by the kernel at BASE
 *     4096 × n  pages of memory                                mapped by the code at their old addresses
 *
 * @module
 */

import { RuncError } from "../../lib/errors.ts";
import type { Fd } from "../../lib/ffi/fd.ts";
import { pipe } from "../../lib/ffi/files.ts";
import type { SnapshotPoint } from "../../lib/ffi/snapshot.ts";
import { alloc, type Kernel } from "../../lib/ffi/kernel.ts";
import { kill, spawn, waitChild } from "../../lib/ffi/process/process.ts";
import { BASE, CODE_AT, executableHead } from "./elf.ts";
import { writeFully, writeWhole } from "../durable.ts";
import { gatherUntilStop } from "./gather.ts";
import { type Area, PAGE, type Piece, ProcessMemory, Prot, split } from "./memory.ts";
import { requirements } from "./processor.ts";
import { stopSignal, waitStop } from "./ptrace.ts";
import {
  type CpuRequirement,
  encodeTable,
  type Reason,
  resumeCode,
  type ResumePlaces,
  type Saying,
  SAYING_SIZE,
  Sys,
  type TableCall,
} from "./resume_x86_64.ts";
import { type Touched, touchedPages } from "./touched.ts";
import { standIn } from "./vdso.ts";

/** The program to snapshot, and the output file. */
export interface SnapshotOptions {
  readonly deno: string;
  /** Arguments for Deno: flags and script. The script calls `stopForSnapshot` of lib/ffi/snapshot.ts. */
  readonly args: readonly string[];
  /** The output file. */
  readonly output: string;
  /** A typical command line of the program. */
  readonly sample: readonly string[];
  /** The absolute path of the program that the file executes if it cannot restore the memory. */
  readonly launcher: string;
}

/** mmap(2), asm-generic/mman-common.h */
const MAP_PRIVATE = 2, MAP_ANONYMOUS = 0x20, MAP_NORESERVE = 0x4000, MAP_FIXED_NOREPLACE = 0x100000;
const MADV_POPULATE_READ = 22, MADV_POPULATE_WRITE = 23;
/** asm/prctl.h, rseq.h of glibc: the signature that it registers with */
const ARCH_SET_FS = 0x1002, RSEQ_SIGNATURE = 0x53053053, RSEQ_SIZE = 32, ROBUST_LIST_SIZE = 24;
const SIGPIPE = 13, SIGCHLD = 17, SIGXFSZ = 25, SIG_IGN = 1, SIGKILL = 9;

/** V8's maximum stack depth, plus room for the functions that V8 calls. */
const STACK_ROOM = 4 << 20;
/** Slightly larger than glibc's `struct pthread`. */
const THREAD_BLOCK = 0x900;

/**
 * Places libraries from one third of the address space upwards, as Linux once did. In the resuming process, Linux
 * places everything, including its vdso, near the top or the bottom, so nothing overlaps the snapshot's libraries. @see
 * personality(2)
 */
const ADDR_COMPAT_LAYOUT = 0x0200000;

/**
 * Starts the program, waits until it stops, and writes the file. @throws {RuncError} if it does not stop, or if its
 * memory cannot be read.
 */
export function takeSnapshot(kernel: Kernel, options: SnapshotOptions): void {
  const { read, write } = pipe(kernel, "freeze point");
  using input = read;
  let pid: number;
  {
    using output = write;
    pid = start(kernel, options, output);
  }
  try {
    // The first stop is before Deno starts; the second is where the program asks for the snapshot.
    awaitStop(kernel, pid);
    gatherUntilStop(kernel, pid);
    awaitStop(kernel, pid);
    const point = readPoint(kernel, input);
    using memory = new ProcessMemory(kernel, pid);
    const parts: FileParts = {
      pieces: piecesOf(memory),
      touched: [],
      point,
      threadId: threadIdIn(memory, point, pid),
      cpu: requirements(kernel),
      launcher: options.launcher,
    };
    const touched = touchedBy(kernel, options, parts);
    // Written to a new file: the old one may be running. An empty file, which a crash of the host could leave, would
    // succeed as an empty shell script.
    writeWhole(options.output, 0o755, (write) => writeParts({ ...parts, touched }, write));
  } finally {
    kill(kernel, pid, SIGKILL);
    waitChild(kernel, pid);
  }
}

/** Finds the pages that a typical command uses, with a first version of the file, which is then removed. */
function touchedBy(kernel: Kernel, { output, sample }: SnapshotOptions, parts: FileParts): readonly Touched[] {
  const first = `${output}.first`;
  try {
    {
      using file = Deno.openSync(first, { write: true, create: true, truncate: true, mode: 0o755 });
      writeParts(parts, (bytes) => writeFully(file, bytes));
    }
    return touchedPages(kernel, [first, ...sample], parts.pieces);
  } finally {
    Deno.removeSync(first);
  }
}

/** Starts the program with a neutral environment: it stays in the snapshot, which everybody can read. */
function start(kernel: Kernel, { deno, args }: SnapshotOptions, output: Fd): number {
  const script = 'kill -STOP $$; exec "$@"';
  // The child inherits the personality.
  const personality = kernel.must("personality", "personality", ADDR_COMPAT_LAYOUT);
  const pid = spawn(kernel, {
    path: "/bin/sh",
    argv: ["sh", "-c", script, "sh", deno, ...args],
    // A directory that cannot be created: Deno would map the files that it keeps there.
    env: ["DENO_DIR=/proc/none", "DENO_NO_UPDATE_CHECK=1", "NO_COLOR=1"],
    fds: [{ to: 1, from: output.number }],
    closeFrom: 3,
    cwd: "/",
  });
  kernel.must("personality", "personality", personality);
  if (pid < 0) throw new RuncError("syscall-failed", "cannot start /bin/sh", { errno: -pid });
  return pid;
}

function awaitStop(kernel: Kernel, pid: number): void {
  if (stopSignal(waitStop(kernel, pid)) === undefined) {
    throw new RuncError("internal", "the program ended instead of stopping");
  }
}

function readPoint(kernel: Kernel, input: Fd): SnapshotPoint {
  const buffer = alloc(PAGE);
  const length = kernel.must("read of the freeze point", "read", input.number, buffer, buffer.length);
  const point: Record<string, string> = JSON.parse(new TextDecoder().decode(buffer.subarray(0, length)));
  return Object.fromEntries(
    Object.entries(point).map(([name, value]) => [name, BigInt(value)]),
  ) as unknown as SnapshotPoint;
}

/**
 * The address of the thread's id in its control block. libc has no symbol for it, but nothing else in the block has the
 * same value.
 */
function threadIdIn(memory: ProcessMemory, { threadPointer }: SnapshotPoint, pid: number): bigint {
  const words = new Int32Array(memory.read(threadPointer, THREAD_BLOCK).buffer);
  const found = [...words.keys()].filter((index) => words[index] === pid);
  if (found.length !== 1) {
    throw new RuncError("internal", `the thread's id is ${found.length} times in its control block, expected once`);
  }
  return threadPointer + BigInt(4 * found[0]!);
}

function piecesOf(memory: ProcessMemory): readonly Piece[] {
  const read = (start: bigint, length: number) => memory.read(start, length);
  return memory.areas().flatMap((area): readonly Piece[] => {
    // vvar is the kernel's data for the vDSO; vsyscall is a page that is the same in every process.
    if (area.name.startsWith("[vvar") || area.name === "[vsyscall]") return [];
    if (area.isShared) throw new RuncError("internal", `the program has shared memory: ${area.name}`);
    if (area.start < 1n << 32n) {
      throw new RuncError("internal", `the program has memory at 0x${area.start.toString(16)}`);
    }
    const length = Number(area.end - area.start);
    if (area.name === "[vdso]") return [{ ...area, length, content: standIn(memory.read(area.start, length)) }];
    if (area.name === "[stack]") return [...stackRoom(area), ...split(area, isUsed(memory, area), read)];
    // A guard area, or one reserved for later.
    if (area.prot === 0) return [{ ...area, length }];
    return split(area, area.name.startsWith("/") ? () => true : isUsed(memory, area), read);
  });
}

function stackRoom({ start, prot }: Area): readonly Piece[] {
  return [{ start: start - BigInt(STACK_ROOM), length: STACK_ROOM, prot }];
}

/** Whether a page is in use. */
function isUsed(memory: ProcessMemory, area: Area): (page: number) => boolean {
  const pages = memory.pages(area);
  return (page) => {
    if (!pages[page]!.isPresent) return false;
    const words = new BigUint64Array(memory.read(area.start + BigInt(page * PAGE), PAGE).buffer);
    return words.some((word) => word !== 0n);
  };
}

/** The parts of the file. */
interface FileParts {
  readonly pieces: readonly Piece[];
  /** Pages to populate in advance. */
  readonly touched: readonly Touched[];
  readonly point: SnapshotPoint;
  readonly threadId: bigint;
  readonly cpu: readonly CpuRequirement[];
  readonly launcher: string;
}

const OWN_PATH = "/proc/self/exe";
/** `struct sigaction` of the kernel: handler, flags, restorer, mask. */
const SIGACTION_SIZE = 32;
/** Two of them: one with SIG_IGN, one with SIG_DFL, which is all zeroes. */
const SIGACTIONS_SIZE = 2 * SIGACTION_SIZE;

/** Addresses of the head's contents. */
interface Layout extends ResumePlaces {
  readonly sigaction: number;
  readonly said: { readonly address: number; readonly bytes: Uint8Array<ArrayBuffer> };
  /** Length of the head in bytes, whole pages. */
  readonly length: number;
}

/** The messages on stderr: why the snapshot cannot be resumed, and what to do about it. */
function sayingsOf(launcher: string): Readonly<Record<Reason, Saying>> {
  const saying = (why: string, advice: string): Saying => ({
    anew: `runc: warning: ${why}. Starting Deno instead, which is slower. To fix it, ${advice}\n`,
    end: `runc: ${why}, and ${launcher}, which would start Deno instead, cannot be executed. ` +
      `To fix it, ${advice}, or restore that file\n`,
  });
  const cut = "runc: the program's file is incomplete: copy, build or install it again\n";
  const full = "runc: open /proc/self/exe: too many open files. To fix it, raise the hard limit of open files " +
    "(ulimit -Hn), or close descriptors that runc inherits\n";
  return {
    processor: saying(
      "this processor lacks instructions that the program was built for",
      "build the program on this host",
    ),
    file: saying("/proc/self/exe cannot be opened", "mount proc on /proc"),
    memory: saying(
      "the program's memory cannot be restored at its addresses in this process",
      "raise ulimit -v or ulimit -d if they are set, otherwise build the program on this host",
    ),
    damaged: { anew: cut, end: cut },
    descriptors: { anew: full, end: full },
  };
}

/** Encodes the texts, each once, and the pointers to them. */
function encodeSayings(
  sayings: Readonly<Record<Reason, Saying>>,
  address: number,
): { readonly bytes: Uint8Array<ArrayBuffer>; readonly places: Readonly<Record<Reason, number>> } {
  const encoder = new TextEncoder();
  const entries = Object.entries(sayings) as [Reason, Saying][];
  const texts = entries.flatMap(([, { anew, end }]) => [anew, end]).map((text) => encoder.encode(text));
  const textsAt = entries.length * SAYING_SIZE;
  const bytes = new Uint8Array(textsAt + texts.reduce((sum, { length }) => sum + length, 0));
  const view = new DataView(bytes.buffer);
  let end = textsAt;
  texts.forEach((text, index) => {
    view.setBigUint64(16 * index, BigInt(address + end), true);
    view.setBigUint64(16 * index + 8, BigInt(text.length), true);
    bytes.set(text, end);
    end += text.length;
  });
  const places = entries.map(([reason], index) => [reason, address + index * SAYING_SIZE]);
  return { bytes, places: Object.fromEntries(places) };
}

/**
 * The memory that a command may need in addition to the restored memory. `run` of a typical container uses about 20
 * MiB.
 */
const ROOM = 96 << 20;

function leastLimits(pieces: readonly Piece[]): Pick<ResumePlaces, "leastAddresses" | "leastData"> {
  const sum = (some: readonly Piece[]) =>
    some.reduce((sum, { length, content }) => sum + (content === undefined ? Math.min(length, KEPT) : length), ROOM);
  return { leastAddresses: sum(pieces), leastData: sum(pieces.filter(({ prot }) => (prot & Prot.WRITE) !== 0)) };
}

function layOut(
  { pieces, point, threadId, launcher }: FileParts,
  codeLength: number,
  lengths: { readonly table: number; readonly reserve: number },
): Layout {
  let end = BASE + CODE_AT + codeLength;
  const place = (length: number) => {
    const at = Math.ceil(end / 8) * 8;
    end = at + length;
    return at;
  };
  const sigaction = place(SIGACTIONS_SIZE);
  const ownPath = place(OWN_PATH.length + 1);
  const launcherPath = place(new TextEncoder().encode(launcher).length + 1);
  const sayingsAt = place(encodeSayings(sayingsOf(launcher), 0).bytes.length);
  const sayings = encodeSayings(sayingsOf(launcher), sayingsAt);
  const table = place(lengths.table);
  const reserve = place(lengths.reserve);
  const length = Math.ceil((end - BASE) / PAGE) * PAGE;
  const fileSize = pieces.reduce((sum, { content, length }) => content === undefined ? sum : sum + length, length);
  return {
    sigaction,
    ownPath,
    launcherPath,
    sayings: sayings.places,
    said: { address: sayingsAt, bytes: sayings.bytes },
    fileSize,
    table,
    tableEnd: table + lengths.table,
    reserve,
    reserveEnd: reserve + lengths.reserve,
    length,
    point,
    threadId,
    ...leastLimits(pieces),
  };
}

function buildHead(parts: FileParts): Uint8Array<ArrayBuffer> {
  const calls = (layout: Layout) =>
    encodeTable([
      ...mapCalls(parts.pieces, layout.length),
      ...parts.touched.map(populateCall),
      ...threadCalls(parts, layout),
    ]);
  const reserve = encodeTable(reserveCalls(parts.pieces));
  // A first layout with dummy addresses gives the lengths, which do not depend on addresses.
  const first = layOut(parts, PAGE, { table: PAGE, reserve: reserve.length });
  const lengths = { table: calls(first).length, reserve: reserve.length };
  const layout = layOut(parts, resumeCode(first, parts.cpu).code.length, lengths);
  const content = new Uint8Array(layout.reserveEnd - BASE - CODE_AT);
  const put = (address: number, bytes: Uint8Array) => content.set(bytes, address - BASE - CODE_AT);
  put(BASE + CODE_AT, resumeCode(layout, parts.cpu).code);
  put(layout.sigaction, Uint8Array.of(SIG_IGN));
  put(layout.ownPath, new TextEncoder().encode(OWN_PATH));
  put(layout.launcherPath, new TextEncoder().encode(parts.launcher));
  put(layout.said.address, layout.said.bytes);
  put(layout.table, calls(layout));
  put(layout.reserve, reserve);
  return executableHead(content);
}

/**
 * How much of an area without content is always mapped. V8 uses its reservations from the lowest address up, and a
 * command uses some of these MiB. The rest, 17 GiB in total, would exceed the limits of callers that limit the address
 * space.
 */
const KEPT = 16 << 20;

function mapCalls(pieces: readonly Piece[], headLength: number): readonly TableCall[] {
  let offset = headLength;
  return pieces.map((piece) => {
    const { length, content } = piece;
    if (content === undefined) return mapCall({ ...piece, length: Math.min(length, KEPT) }, 0);
    offset += length;
    return mapCall(piece, offset - length);
  });
}

/** The calls for the rest of the areas that {@link mapCalls} cuts. */
function reserveCalls(pieces: readonly Piece[]): readonly TableCall[] {
  return pieces.filter(({ content, length }) => content === undefined && length > KEPT).map((piece) =>
    mapCall({ ...piece, start: piece.start + BigInt(KEPT), length: piece.length - KEPT }, 0)
  );
}

function mapCall({ start, length, prot, content }: Piece, offset: number): TableCall {
  const flags = MAP_PRIVATE | MAP_FIXED_NOREPLACE | (content === undefined ? MAP_ANONYMOUS | MAP_NORESERVE : 0);
  return {
    number: Sys.mmap,
    args: [start, BigInt(length), BigInt(prot), BigInt(flags)],
    last: BigInt(offset),
    expected: start,
  };
}

/** On kernels before 5.14 the call fails, and each page is populated by a fault. @see madvise(2) */
function populateCall({ start, length, isWritten }: Touched): TableCall {
  const advice = isWritten ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;
  return { number: Sys.madvise, args: [start, BigInt(length), BigInt(advice), 0n], last: 0n };
}

/** The calls that register the resumed thread with the kernel, as the stopped one was. */
function threadCalls({ point, threadId }: FileParts, { sigaction }: Layout): readonly TableCall[] {
  const call = (name: keyof typeof Sys, args: readonly bigint[], expected?: bigint): TableCall => {
    const [a = 0n, b = 0n, c = 0n, d = 0n] = args;
    return { number: Sys[name], args: [a, b, c, d], last: 0n, expected };
  };
  return [
    call("arch_prctl", [BigInt(ARCH_SET_FS), point.threadPointer], 0n),
    call("set_tid_address", [threadId]),
    call("set_robust_list", [point.robustList, BigInt(ROBUST_LIST_SIZE)]),
    // libc works without rseq if the kernel has none.
    ...(point.rseq === 0n ? [] : [call("rseq", [point.rseq, BigInt(RSEQ_SIZE), 0n, BigInt(RSEQ_SIGNATURE)])]),
    // As in Deno: a write without a reader is an error and does not kill the process.
    call("rt_sigaction", [BigInt(SIGPIPE), BigInt(sigaction), 0n, 8n], 0n),
    // The same for a write beyond the caller's file size limit.
    call("rt_sigaction", [BigInt(SIGXFSZ), BigInt(sigaction), 0n, 8n], 0n),
    // An ignored SIGCHLD stays ignored across execve, and would hide how children end. signal(7), wait(2)
    call("rt_sigaction", [BigInt(SIGCHLD), BigInt(sigaction + SIGACTION_SIZE), 0n, 8n], 0n),
  ];
}

function writeParts(parts: FileParts, write: (bytes: Uint8Array) => void): void {
  write(buildHead(parts));
  for (const { content } of parts.pieces) if (content !== undefined) write(content);
}
