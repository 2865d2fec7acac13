/**
 * The snapshot file: its head with the code, the texts and the tables, then the pages.
 *
 * @module
 */

import type { SnapshotPoint } from "../../lib/ffi/snapshot.ts";
import { Sys } from "./calls.ts";
import { BASE, CODE_AT, executableHead, ZEROED } from "./elf.ts";
import { CRASHED, RESTORER } from "./fallback_x86_64.ts";
import type { CompiledPlan, DataPlaces } from "./front/compile_x86_64.ts";
import type { GuardedWords } from "./guards.ts";
import { PAGE, type Piece, Prot } from "./memory.ts";
import {
  type CpuRequirement,
  encodeTable,
  resumeCode,
  type ResumePlaces,
  type Table,
  type TableCall,
} from "./resume_x86_64.ts";
import { encodeSayings } from "./sayings.ts";
import type { PageRange } from "./touched.ts";

/** mmap(2), asm-generic/mman-common.h */
const MAP_PRIVATE = 2, MAP_ANONYMOUS = 0x20, MAP_NORESERVE = 0x4000, MAP_FIXED_NOREPLACE = 0x100000;
const MADV_WILLNEED = 3, MADV_POPULATE_WRITE = 23;
/** asm/prctl.h, rseq.h of glibc: the signature that it registers with */
const ARCH_SET_FS = 0x1002, RSEQ_SIGNATURE = 0x53053053, RSEQ_SIZE = 32, ROBUST_LIST_SIZE = 24;
const SIGPIPE = 13, SIGCHLD = 17, SIGXFSZ = 25, SIG_IGN = 1;
/** SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV: an error of the program ends it. signal(7) */
const CRASHES = [4, 5, 6, 7, 8, 11];

/** The parts of the file. */
export interface FileParts {
  readonly pieces: readonly Piece[];
  /** Pages to read at once if the last one of them is not in the page cache. */
  readonly readAhead: readonly PageRange[];
  /** Pages to populate in advance, for command lines with one of the words. The last entry is for all others. */
  readonly populated: readonly { readonly hasWord: readonly string[]; readonly written: readonly PageRange[] }[];
  /** The process is traced, and raises SIGTRAP when its memory is mapped. */
  readonly isTraced?: boolean;
  readonly point: SnapshotPoint;
  readonly threadId: bigint;
  readonly cpu: readonly CpuRequirement[];
  readonly guarded: GuardedWords;
  readonly front: CompileFront;
}

/** Compiles what runs before the snapshot is resumed. */
export type CompileFront = (places: DataPlaces) => CompiledPlan;

const OWN_PATH = "/proc/self/exe";
/** `struct sigaction` of the kernel: handler, flags, restorer, mask. */
const SIGACTION_SIZE = 32;
/** asm-generic/signal.h */
const SA_SIGINFO = 4n, SA_RESTORER = 0x04000000n, SA_NODEFER = 0x40000000n, SA_RESETHAND = 0x80000000n;

/** Addresses of the head's contents. */
interface Layout extends ResumePlaces {
  /** Of the three `struct sigaction`, in this order. */
  readonly ignore: number;
  readonly byDefault: number;
  readonly sayCrash: number;
  readonly saidAt: number;
  /** Of the front's constants. */
  readonly constants: number;
  /** Length of the head in bytes, whole pages. */
  readonly length: number;
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

/** Sizes in bytes of the parts of the head that do not have a fixed one. */
interface Sizes {
  readonly code: number;
  readonly thread: number;
  readonly constants: number;
}

function layOut(parts: FileParts, sizes: Sizes): Layout {
  const { pieces, readAhead, populated, point, threadId, guarded } = parts;
  let end = BASE + CODE_AT + sizes.code;
  const place = (length: number) => {
    const at = Math.ceil(end / 8) * 8;
    end = at + length;
    return at;
  };
  const placeTable = (length: number): Table => {
    const from = place(length);
    return { from, to: from + length };
  };
  const placeWords = (words: readonly bigint[]) => placeTable(8 * words.length);
  const [ignore, byDefault, sayCrash] = [place(SIGACTION_SIZE), place(SIGACTION_SIZE), place(SIGACTION_SIZE)];
  const ownPath = place(OWN_PATH.length + 1);
  const saidAt = place(encodeSayings(0).bytes.length);
  const constants = place(sizes.constants);
  const places = {
    map: placeTable(encodeTable(mapCalls(pieces, 0)).length),
    thread: placeTable(sizes.thread),
    readAhead: placeTable(encodeTable(readAhead.map(readCall)).length),
    populate: populated.map(({ hasWord, written }) => ({
      hasWord,
      table: placeTable(encodeTable(written.map(populateCall)).length),
    })),
    reserve: placeTable(encodeTable(reserveCalls(pieces)).length),
    canaries: placeWords(guarded.canaries),
    guards: placeWords(guarded.guards),
    pointers: placeWords(guarded.pointers),
  };
  const length = Math.ceil((end - BASE) / PAGE) * PAGE;
  const fileSize = pieces.reduce((sum, { content, length }) => content === undefined ? sum : sum + length, length);
  const sayings = encodeSayings(saidAt).places;
  return {
    ...{ ignore, byDefault, sayCrash, ownPath, saidAt, constants, sayings, fileSize, length, point, threadId },
    lastRead: lastPage(parts, length),
    isTraced: parts.isTraced ?? false,
    ...places,
    ...leastLimits(pieces),
  };
}

function buildHead(parts: FileParts): Uint8Array<ArrayBuffer> {
  const { pieces, guarded, cpu } = parts;
  const thread = (layout: Layout) => encodeTable(threadCalls(parts, layout));
  // A first layout with dummy addresses gives the sizes, which do not depend on addresses.
  const first = layOut(parts, { code: PAGE, thread: PAGE, constants: 0 });
  const unplaced = parts.front({ constants: BASE, zeroed: ZEROED });
  const layout = layOut(parts, {
    code: resumeCode(first, cpu, unplaced.rows).code.length,
    thread: thread(first).length,
    constants: unplaced.constants.length,
  });
  const front = parts.front({ constants: layout.constants, zeroed: ZEROED });
  const { code, labels } = resumeCode(layout, cpu, front.rows);
  const content = new Uint8Array(layout.pointers.to - BASE - CODE_AT);
  const put = (address: number, bytes: Uint8Array) => content.set(bytes, address - BASE - CODE_AT);
  put(BASE + CODE_AT, code);
  put(layout.ignore, Uint8Array.of(SIG_IGN));
  put(layout.sayCrash, crashAction(labels));
  put(layout.ownPath, new TextEncoder().encode(OWN_PATH));
  put(layout.saidAt, encodeSayings(layout.saidAt).bytes);
  put(layout.constants, front.constants);
  put(layout.map.from, encodeTable(mapCalls(pieces, layout.length)));
  put(layout.thread.from, thread(layout));
  put(layout.readAhead.from, encodeTable(parts.readAhead.map(readCall)));
  parts.populated.forEach(({ written }, index) => {
    put(layout.populate[index]!.table.from, encodeTable(written.map(populateCall)));
  });
  put(layout.reserve.from, encodeTable(reserveCalls(pieces)));
  for (const name of ["canaries", "guards", "pointers"] as const) {
    put(layout[name].from, new Uint8Array(BigUint64Array.from(guarded[name]).buffer));
  }
  return executableHead(content, front.zeroLength);
}

function crashAction(labels: ReadonlyMap<string, number>): Uint8Array {
  const addressOf = (label: string) => BigInt(BASE + CODE_AT + labels.get(label)!);
  const flags = SA_SIGINFO | SA_RESTORER | SA_NODEFER | SA_RESETHAND;
  return new Uint8Array(BigUint64Array.of(addressOf(CRASHED), flags, addressOf(RESTORER), 0n).buffer);
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
const populateCall = (range: PageRange): TableCall => adviseCall(range, MADV_POPULATE_WRITE);

const readCall = (range: PageRange): TableCall => adviseCall(range, MADV_WILLNEED);

function adviseCall({ start, length }: PageRange, advice: number): TableCall {
  return { number: Sys.madvise, args: [start, BigInt(length), BigInt(advice), 0n], last: 0n };
}

/** The last page to read ahead: its address and file offset. */
function lastPage({ pieces, readAhead }: FileParts, headLength: number): ResumePlaces["lastRead"] {
  const last = readAhead.at(-1);
  if (last === undefined) return { address: 0n, offset: 0 };
  const address = last.start + BigInt(last.length - PAGE);
  let offset = headLength;
  for (const { start, length, content } of pieces) {
    if (content === undefined) continue;
    if (address >= start && address < start + BigInt(length)) {
      return { address, offset: offset + Number(address - start) };
    }
    offset += length;
  }
  throw new RangeError(`0x${address.toString(16)} is in no piece`);
}

/** The calls that register the resumed thread with the kernel, as the stopped one was. */
function threadCalls({ point, threadId }: FileParts, { ignore, byDefault, sayCrash }: Layout): readonly TableCall[] {
  const call = (name: keyof typeof Sys, args: readonly bigint[], expected?: bigint): TableCall => {
    const [a = 0n, b = 0n, c = 0n, d = 0n] = args;
    return { number: Sys[name], args: [a, b, c, d], last: 0n, expected };
  };
  const action = (signal: number, address: number) =>
    call("rt_sigaction", [BigInt(signal), BigInt(address), 0n, 8n], 0n);
  return [
    call("arch_prctl", [BigInt(ARCH_SET_FS), point.threadPointer], 0n),
    call("set_tid_address", [threadId]),
    call("set_robust_list", [point.robustList, BigInt(ROBUST_LIST_SIZE)]),
    // libc works without rseq if the kernel has none.
    ...(point.rseq === 0n ? [] : [call("rseq", [point.rseq, BigInt(RSEQ_SIZE), 0n, BigInt(RSEQ_SIGNATURE)])]),
    // As in Deno: a write without a reader is an error and does not kill the process.
    action(SIGPIPE, ignore),
    // The same for a write beyond the caller's file size limit.
    action(SIGXFSZ, ignore),
    // An ignored SIGCHLD stays ignored across execve, and would hide how children end. signal(7), wait(2)
    action(SIGCHLD, byDefault),
    ...CRASHES.map((signal) => action(signal, sayCrash)),
  ];
}

/** Writes the whole file by `write`. */
export function writeParts(parts: FileParts, write: (bytes: Uint8Array) => void): void {
  write(buildHead(parts));
  for (const { content } of parts.pieces) if (content !== undefined) write(content);
}
