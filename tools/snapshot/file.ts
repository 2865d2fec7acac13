/**
 * The snapshot file: its head with the code, the texts and the tables, then the pages.
 *
 * @module
 */

import type { SnapshotPoint } from "../../lib/ffi/snapshot.ts";
import { Sys } from "./calls.ts";
import { BASE, CODE_AT, executableHead } from "./elf.ts";
import { type Reason, type Saying, SAYING_SIZE } from "./fallback_x86_64.ts";
import { PAGE, type Piece, Prot } from "./memory.ts";
import { type CpuRequirement, encodeTable, resumeCode, type ResumePlaces, type TableCall } from "./resume_x86_64.ts";
import type { Touched } from "./touched.ts";

/** mmap(2), asm-generic/mman-common.h */
const MAP_PRIVATE = 2, MAP_ANONYMOUS = 0x20, MAP_NORESERVE = 0x4000, MAP_FIXED_NOREPLACE = 0x100000;
const MADV_POPULATE_READ = 22, MADV_POPULATE_WRITE = 23;
/** asm/prctl.h, rseq.h of glibc: the signature that it registers with */
const ARCH_SET_FS = 0x1002, RSEQ_SIGNATURE = 0x53053053, RSEQ_SIZE = 32, ROBUST_LIST_SIZE = 24;
const SIGPIPE = 13, SIGCHLD = 17, SIGXFSZ = 25, SIG_IGN = 1;

/** The parts of the file. */
export interface FileParts {
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

/** Writes the whole file by `write`. */
export function writeParts(parts: FileParts, write: (bytes: Uint8Array) => void): void {
  write(buildHead(parts));
  for (const { content } of parts.pieces) if (content !== undefined) write(content);
}
