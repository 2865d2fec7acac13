/**
 * Makes an executable file of a started program: the memory of a Deno that has loaded it, and a few instructions that put it back.
 *
 * Deno needs some 20 ms to start and our program another 10 to be loaded, the same work each time. Here it is done once; whoever
 * executes the file goes on from lib/ffi/snapshot.ts, where the program has stopped. The file needs neither Deno nor libc nor itself
 * anywhere in particular: all that was in memory is in it.
 *
 *     0         ELF header, code, paths, table of calls        mapped by the kernel at BASE
 *     4096 × n  pages of memory                                mapped by the code, each where it was
 *
 * @module
 */

import { RuncError } from "../../lib/errors.ts";
import type { Fd } from "../../lib/ffi/fd.ts";
import { pipe } from "../../lib/ffi/files.ts";
import type { FreezePoint } from "../../lib/ffi/snapshot.ts";
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
  type Saying,
  SAYING_SIZE,
  Sys,
  type TableCall,
  thawCode,
  type ThawPlaces,
} from "./resume_x86_64.ts";
import { type Touched, touchedPages } from "./touched.ts";
import { standIn } from "./vdso.ts";

/** What is frozen, and to which file. */
export interface FreezeOptions {
  readonly deno: string;
  /** Arguments for Deno: flags and script. The script calls {@link freeze} of lib/ffi/snapshot.ts. */
  readonly args: readonly string[];
  /** The file to make. */
  readonly output: string;
  /** A command line of the program that is typical. */
  readonly sample: readonly string[];
  /** What the file executes where it cannot put the memory back: absolute. */
  readonly launcher: string;
}

/** mmap(2), asm-generic/mman-common.h */
const MAP_PRIVATE = 2, MAP_ANONYMOUS = 0x20, MAP_NORESERVE = 0x4000, MAP_FIXED_NOREPLACE = 0x100000;
const MADV_POPULATE_READ = 22, MADV_POPULATE_WRITE = 23;
/** asm/prctl.h, rseq.h of glibc: the signature that it registers with */
const ARCH_SET_FS = 0x1002, RSEQ_SIGNATURE = 0x53053053, RSEQ_SIZE = 32, ROBUST_LIST_SIZE = 24;
const SIGPIPE = 13, SIGCHLD = 17, SIGXFSZ = 25, SIG_IGN = 1, SIGKILL = 9;

/** As deep as V8 lets its stack become, and room for what it calls. */
const STACK_ROOM = 4 << 20;
/** glibc's `struct pthread` is a little smaller. */
const THREAD_BLOCK = 0x900;

/**
 * Libraries from a third of the addresses upwards, as Linux once had them. Of a process that goes on Linux puts everything near the top or the
 * bottom, its vdso too, so that nothing is where this one has a library. @see personality(2)
 */
const ADDR_COMPAT_LAYOUT = 0x0200000;

/** Starts the program, waits until it stops, and writes the file. @throws {RuncError} where it does not stop, or its memory cannot be read. */
export function freezeProgram(kernel: Kernel, options: FreezeOptions): void {
  const { read, write } = pipe(kernel, "freeze point");
  using input = read;
  let pid: number;
  {
    using output = write;
    pid = start(kernel, options, output);
  }
  try {
    // Before Deno begins, and then where the program says so.
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
    // The old one may be running; and an empty file, which a crash of the host may leave, would be run by shells, and succeed.
    writeWhole(options.output, 0o755, (write) => writeParts({ ...parts, touched }, write));
  } finally {
    kill(kernel, pid, SIGKILL);
    waitChild(kernel, pid);
  }
}

/** Which pages a typical command uses: of a first file, which is gone then. */
function touchedBy(kernel: Kernel, { output, sample }: FreezeOptions, parts: FileParts): readonly Touched[] {
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

/** With an environment that is nobody's: it stays in the memory that is kept, for everybody to read. */
function start(kernel: Kernel, { deno, args }: FreezeOptions, output: Fd): number {
  const script = 'kill -STOP $$; exec "$@"';
  // The child inherits it.
  const personality = kernel.must("personality", "personality", ADDR_COMPAT_LAYOUT);
  const pid = spawn(kernel, {
    path: "/bin/sh",
    argv: ["sh", "-c", script, "sh", deno, ...args],
    // A directory that cannot be made: what Deno keeps there it would have mapped.
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

function readPoint(kernel: Kernel, input: Fd): FreezePoint {
  const buffer = alloc(PAGE);
  const length = kernel.must("read of the freeze point", "read", input.number, buffer, buffer.length);
  const point: Record<string, string> = JSON.parse(new TextDecoder().decode(buffer.subarray(0, length)));
  return Object.fromEntries(
    Object.entries(point).map(([name, value]) => [name, BigInt(value)]),
  ) as unknown as FreezePoint;
}

/** Where the thread's id stands in its control block: libc has no name for the place, but nothing else there looks like it. */
function threadIdIn(memory: ProcessMemory, { threadPointer }: FreezePoint, pid: number): bigint {
  const words = new Int32Array(memory.read(threadPointer, THREAD_BLOCK).buffer);
  const found = [...words.keys()].filter((index) => words[index] === pid);
  if (found.length !== 1) {
    throw new RuncError("internal", `the thread's id stands ${found.length} times in its control block`);
  }
  return threadPointer + BigInt(4 * found[0]!);
}

function piecesOf(memory: ProcessMemory): readonly Piece[] {
  const read = (start: bigint, length: number) => memory.read(start, length);
  return memory.areas().flatMap((area): readonly Piece[] => {
    // The kernel's data for the vDSO, and a page that is the same in every process.
    if (area.name.startsWith("[vvar") || area.name === "[vsyscall]") return [];
    if (area.isShared) throw new RuncError("internal", `the program has shared memory: ${area.name}`);
    if (area.start < 1n << 32n) {
      throw new RuncError("internal", `the program has memory at 0x${area.start.toString(16)}`);
    }
    const length = Number(area.end - area.start);
    if (area.name === "[vdso]") return [{ ...area, length, content: standIn(memory.read(area.start, length)) }];
    if (area.name === "[stack]") return [...stackRoom(area), ...split(area, isUsed(memory, area), read)];
    // A guard, or kept for later.
    if (area.prot === 0) return [{ ...area, length }];
    return split(area, area.name.startsWith("/") ? () => true : isUsed(memory, area), read);
  });
}

function stackRoom({ start, prot }: Area): readonly Piece[] {
  return [{ start: start - BigInt(STACK_ROOM), length: STACK_ROOM, prot }];
}

/** Whether a page has anything in it. */
function isUsed(memory: ProcessMemory, area: Area): (page: number) => boolean {
  const pages = memory.pages(area);
  return (page) => {
    if (!pages[page]!.isPresent) return false;
    const words = new BigUint64Array(memory.read(area.start + BigInt(page * PAGE), PAGE).buffer);
    return words.some((word) => word !== 0n);
  };
}

/** What a file is made of. */
interface FileParts {
  readonly pieces: readonly Piece[];
  /** Pages that are asked for beforehand. */
  readonly touched: readonly Touched[];
  readonly point: FreezePoint;
  readonly threadId: bigint;
  readonly cpu: readonly CpuRequirement[];
  readonly launcher: string;
}

const OWN_PATH = "/proc/self/exe";
/** `struct sigaction` of the kernel: handler, flags, restorer, mask. */
const SIGACTION_SIZE = 32;
/** Two of them: one that ignores, one that does the default, which is all zeroes. */
const SIGACTIONS_SIZE = 2 * SIGACTION_SIZE;

/** Addresses of what the head holds. */
interface Layout extends ThawPlaces {
  readonly sigaction: number;
  readonly said: { readonly address: number; readonly bytes: Uint8Array<ArrayBuffer> };
  /** Length of the head, whole pages. */
  readonly length: number;
}

/** What is said on standard error: why the program does not go on, and what to do about it. */
function sayingsOf(launcher: string): Readonly<Record<Reason, Saying>> {
  const saying = (why: string, advice: string): Saying => ({
    anew: `runc: warning: ${why}, so Deno is started instead, which takes longer: ${advice}\n`,
    end: `runc: ${why}, and what starts Deno instead cannot be executed: ${launcher}: ` +
      `${advice}, or put that file there\n`,
  });
  const cut = "runc: the program's file is not whole: copy, build or install it again\n";
  return {
    processor: saying("this processor lacks instructions that the program was built with", "build it on this host"),
    file: saying("/proc/self/exe cannot be opened", "mount proc on /proc"),
    memory: saying(
      "this process cannot have its memory where the program had it",
      "see whether ulimit -v or ulimit -d limits it, else build the program on this host",
    ),
    damaged: { anew: cut, end: cut },
  };
}

/** The texts, each once, and what points at them. */
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

/** What a command takes beside the memory that is put back: `run` of a usual container some 20 MiB. */
const ROOM = 96 << 20;

function leastLimits(pieces: readonly Piece[]): Pick<ThawPlaces, "leastAddresses" | "leastData"> {
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
  // Lengths first: they are the same wherever things are.
  const first = layOut(parts, PAGE, { table: PAGE, reserve: reserve.length });
  const lengths = { table: calls(first).length, reserve: reserve.length };
  const layout = layOut(parts, thawCode(first, parts.cpu).code.length, lengths);
  const content = new Uint8Array(layout.reserveEnd - BASE - CODE_AT);
  const put = (address: number, bytes: Uint8Array) => content.set(bytes, address - BASE - CODE_AT);
  put(BASE + CODE_AT, thawCode(layout, parts.cpu).code);
  put(layout.sigaction, Uint8Array.of(SIG_IGN));
  put(layout.ownPath, new TextEncoder().encode(OWN_PATH));
  put(layout.launcherPath, new TextEncoder().encode(parts.launcher));
  put(layout.said.address, layout.said.bytes);
  put(layout.table, calls(layout));
  put(layout.reserve, reserve);
  return executableHead(content);
}

/**
 * What of an area without content is mapped in any case: V8 takes from its reservations from the lowest address on, and a command takes some of
 * these MiB. The rest, 17 GiB in all, would be beyond what callers allow who limit addresses.
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

/** The rest of the areas that {@link mapCalls} cuts. */
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

/** Where the kernel is too old for it (5.14), each page waits for its fault. @see madvise(2) */
function populateCall({ start, length, isWritten }: Touched): TableCall {
  const advice = isWritten ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;
  return { number: Sys.madvise, args: [start, BigInt(length), BigInt(advice), 0n], last: 0n };
}

/** What the kernel has to know of the thread that goes on, as it knew it of the one that stopped. */
function threadCalls({ point, threadId }: FileParts, { sigaction }: Layout): readonly TableCall[] {
  const call = (name: keyof typeof Sys, args: readonly bigint[], expected?: bigint): TableCall => {
    const [a = 0n, b = 0n, c = 0n, d = 0n] = args;
    return { number: Sys[name], args: [a, b, c, d], last: 0n, expected };
  };
  return [
    call("arch_prctl", [BigInt(ARCH_SET_FS), point.threadPointer], 0n),
    call("set_tid_address", [threadId]),
    call("set_robust_list", [point.robustList, BigInt(ROBUST_LIST_SIZE)]),
    // libc does without where the kernel has none.
    ...(point.rseq === 0n ? [] : [call("rseq", [point.rseq, BigInt(RSEQ_SIZE), 0n, BigInt(RSEQ_SIGNATURE)])]),
    // Deno's, and so the program's: writing where nobody reads is an error, not the end.
    call("rt_sigaction", [BigInt(SIGPIPE), BigInt(sigaction), 0n, 8n], 0n),
    // So is writing beyond the caller's limit of a file's size.
    call("rt_sigaction", [BigInt(SIGXFSZ), BigInt(sigaction), 0n, 8n], 0n),
    // What our caller ignores stays ignored across execve, and of a child that ends then nobody learns how. signal(7), wait(2)
    call("rt_sigaction", [BigInt(SIGCHLD), BigInt(sigaction + SIGACTION_SIZE), 0n, 8n], 0n),
  ];
}

function writeParts(parts: FileParts, write: (bytes: Uint8Array) => void): void {
  write(buildHead(parts));
  for (const { content } of parts.pieces) if (content !== undefined) write(content);
}
