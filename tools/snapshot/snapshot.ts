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
import { writeFully, writeWhole } from "../durable.ts";
import { clearStacks, eraseTexts, otherStacks, ownStack, type Stack } from "./clean.ts";
import { gatherUntilStop } from "./gather.ts";
import { type CompileFront, type FileParts, writeParts } from "./file.ts";
import { removeGuards } from "./guards.ts";
import { type Area, PAGE, type Piece, ProcessMemory, split } from "./memory.ts";
import { requirements, withoutFeatures } from "./processor.ts";
import { stopSignal, waitStop } from "./ptrace.ts";
import { rangesToRead, scatter, touchedPages } from "./touched.ts";
import { standIn } from "./vdso.ts";

/** The program to snapshot, and the output file. */
export interface SnapshotOptions {
  readonly deno: string;
  /** Arguments for Deno: flags and script. The script calls `stopForSnapshot` of lib/ffi/snapshot.ts. */
  readonly args: readonly string[];
  /** The output file. If it cannot restore the memory, it executes the program of the same name with `.sh` appended. */
  readonly output: string;
  /** Typical command lines of the program, in the order in which they are tried. */
  readonly samples: readonly Sample[];
  /** Texts that identify the host and the build. None of them will be in the file. */
  readonly secrets?: readonly string[];
  /** Runs first in each process, and may end it. Absent: nothing does. */
  readonly front?: CompileFront;
}

/** A typical command line. The pages that it uses are read at once if the file is not in the page cache. */
export interface Sample {
  readonly words: readonly string[];
  /**
   * The pages that it writes to are populated for command lines that have one of these words, of which the first four
   * characters count. None: for all other command lines; then this is the last sample. Absent: for no command line.
   */
  readonly populateFor?: readonly string[];
}

const noFront: CompileFront = () => ({ rows: [], constants: new Uint8Array(), zeroLength: 0 });

const SIGKILL = 9;

/** V8's maximum stack depth, plus room for the functions that V8 calls. */
const STACK_ROOM = 4 << 20;
/** The snapshot's own program is below. User Mode Linux places libraries from here on. */
const LOWEST = 1n << 30n;
/** Slightly larger than glibc's `struct pthread`. */
const THREAD_BLOCK = 0x900;

/**
 * Places libraries from one third of the address space upwards, as Linux once did. In the resuming process, Linux
 * places everything, including its vdso, near the top or the bottom, so nothing overlaps the snapshot's libraries.
 * Without it, libraries are anywhere in the TiB below the stack, where the resuming process has nothing but its vdso.
 * @see personality(2)
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
    const parts = {
      ...readParts(kernel, { pid, point, secrets: options.secrets ?? [] }),
      front: options.front ?? noFront,
    };
    const found = touchedBy(kernel, options, parts);
    // Written to a new file: the old one may be running. An empty file, which a crash of the host could leave, would
    // succeed as an empty shell script.
    writeWhole(options.output, 0o755, (write) => writeParts({ ...parts, ...found }, write));
  } finally {
    kill(kernel, pid, SIGKILL);
    waitChild(kernel, pid);
  }
}

/** Reads the stopped process. What its memory should not tell is removed. */
function readParts(
  kernel: Kernel,
  { pid, point, secrets }: { pid: number; point: SnapshotPoint; secrets: readonly string[] },
): Omit<FileParts, "front"> {
  using memory = new ProcessMemory(kernel, pid);
  const stack = ownStack(memory, point);
  const pieces = piecesOf(memory, stack);
  clearStacks(pieces, [stack, ...otherStacks(memory, pid)]);
  eraseTexts(pieces, secrets);
  const guarded = removeGuards(pieces, {
    threadPointer: point.threadPointer,
    stackPointer: stack.pointer,
    stackEnd: stack.end,
  });
  return {
    ...{ pieces, readAhead: [], populated: [], point, guarded },
    threadId: threadIdIn(memory, point, pid),
    cpu: requirements(kernel),
  };
}

/** Finds the pages that typical commands use, with a first version of the file, which is then removed. */
function touchedBy(
  kernel: Kernel,
  { output, samples }: SnapshotOptions,
  parts: FileParts,
): Pick<FileParts, "readAhead" | "populated"> {
  const first = `${output}.first`;
  try {
    {
      using file = Deno.openSync(first, { write: true, create: true, truncate: true, mode: 0o755 });
      const scattered = { ...parts, pieces: scatter(parts.pieces), front: noFront, isTraced: true };
      writeParts(scattered, (bytes) => writeFully(file, bytes));
    }
    const touched = samples.map((sample) => ({
      ...sample,
      ...touchedPages(kernel, [first, ...sample.words], parts.pieces),
    }));
    const used = new Set(touched.flatMap(({ used }) => [...used]));
    return {
      readAhead: rangesToRead(parts.pieces, used),
      populated: touched.flatMap(({ populateFor, written }) =>
        populateFor === undefined ? [] : [{ hasWord: populateFor, written }]
      ),
    };
  } finally {
    Deno.removeSync(first);
  }
}

/**
 * The environment of the program to snapshot. It stays in the snapshot, which everybody can read, so nothing of the
 * caller's is in it.
 */
const environment: readonly string[] = [
  // A directory that cannot be created: Deno would map the files that it keeps there.
  "DENO_DIR=/proc/none",
  "DENO_NO_UPDATE_CHECK=1",
  "NO_COLOR=1",
  // Freed memory is overwritten, so that the snapshot contains only what is in use. That does not work for glibc's
  // caches of each thread. The program switches it off before it stops.
  `GLIBC_TUNABLES=glibc.malloc.perturb=165:glibc.malloc.tcache_count=0:glibc.cpu.hwcaps=${withoutFeatures}`,
  // Functions of libraries are looked up when a library is loaded, and not when they are called: the code for the latter
  // depends on the processor.
  "LD_BIND_NOW=1",
  // V8's functions for UTF-8 and Base64, otherwise chosen by the processor's features. This is the variant with SSE4.2.
  "SIMDUTF_FORCE_IMPLEMENTATION=westmere",
];

/** Starts the program to snapshot. */
function start(kernel: Kernel, { deno, args }: SnapshotOptions, output: Fd): number {
  const script = 'kill -STOP $$; exec "$@"';
  // The child inherits the personality. In a container the call may be refused: the default seccomp profiles of engines
  // allow only some of its values.
  const personality = kernel.call("personality", ADDR_COMPAT_LAYOUT);
  const pid = spawn(kernel, {
    path: "/bin/sh",
    argv: ["sh", "-c", script, "sh", deno, ...args],
    env: environment,
    fds: [{ to: 1, from: output.number }],
    closeFrom: 3,
    cwd: "/",
  });
  if (personality >= 0) kernel.must("personality", "personality", personality);
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

function piecesOf(memory: ProcessMemory, stack: Stack): readonly Piece[] {
  const read = (start: bigint, length: number) => memory.read(start, length);
  const areas = memory.areas();
  const isMoved = !areas.some(({ name, start }) => name === "[stack]" && start === stack.start);
  return areas.flatMap((area): readonly Piece[] => {
    // vvar is the kernel's data for the vDSO; vsyscall is a page that is the same in every process.
    if (area.name.startsWith("[vvar") || area.name === "[vsyscall]") return [];
    if (area.isShared) throw new RuncError("internal", `the program has shared memory: ${area.name}`);
    if (area.start < LOWEST) {
      throw new RuncError("internal", `the program has memory at 0x${area.start.toString(16)}`);
    }
    const length = Number(area.end - area.start);
    // The program does not know of it if its stack was moved.
    if (area.name === "[vdso]" && isMoved) return [];
    if (area.name === "[vdso]") return [{ ...area, length, content: standIn(memory.read(area.start, length)) }];
    if (area.name === "[stack]") return isMoved ? [] : [...stackRoom(area), ...split(area, isUsed(memory, area), read)];
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
