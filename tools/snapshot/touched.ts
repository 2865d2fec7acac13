/**
 * Finds the pages that a resumed snapshot uses.
 *
 * - Those that a command writes to are populated by a few calls, which is several times cheaper than one page fault
 *   each. Pages that are only read are not worth it: a fault maps sixteen of them.
 * - If the file is not in the page cache, those that any typical command uses are read all at once, and nothing else.
 *
 * @module
 */

import { RuncError } from "../../lib/errors.ts";
import type { Kernel } from "../../lib/ffi/kernel.ts";
import { kill, spawn, waitChild } from "../../lib/ffi/process/process.ts";
import { PAGE, type Piece, ProcessMemory, Prot } from "./memory.ts";
import {
  isEntry,
  isSyscallStop,
  PTRACE_CONT,
  PTRACE_DETACH,
  PTRACE_EVENT_EXIT,
  PTRACE_O_EXITKILL,
  PTRACE_O_TRACEEXIT,
  PTRACE_O_TRACESYSGOOD,
  PTRACE_SEIZE,
  PTRACE_SYSCALL,
  readSyscall,
  stopSignal,
  waitStop,
} from "./ptrace.ts";

/** A range of pages. */
export interface PageRange {
  readonly start: bigint;
  readonly length: number;
}

/** The pages that a command uses. */
export interface Touched {
  /** Addresses of the pages that the file has. */
  readonly used: ReadonlySet<bigint>;
  /** Pages that are written to, so that each becomes private to the process. */
  readonly written: readonly PageRange[];
}

const SIGTRAP = 5, SIGCONT = 18, SIGKILL = 9;
/** fexecve(3) uses this call; the shell uses another one. x86_64. */
const SYS_execveat = 322n;

/** A page fault costs as much as populating a few unneeded pages, and a request to a disk as much as reading them. */
const GAP_PAGES = 2;
/** Beside code that typical commands run is often code that others run. */
const CODE_GAP_PAGES = 4;
/** Linux reads at most this much, if it is told to read more: the usual read-ahead of a disk. @see madvise(2) */
const READ_AT_ONCE = 32;
/** vm.max_map_count is 65,530, unless somebody has changed it. */
const MOST_AREAS = 60_000;

/** An environment like most callers': the program looks at some of it. */
const environment: readonly string[] = [
  "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  "HOME=/root",
  "LANG=C.UTF-8",
  "TERM=linux",
];

const nothing: Touched = { used: new Set(), written: [] };

/**
 * The pieces in an order in which no page is followed by the next one. In a program with such a file, each page is an
 * area of its own. So a page fault maps this page alone, and none around it that nobody uses.
 */
export function scatter(pieces: readonly Piece[]): readonly Piece[] {
  const pages = pieces.flatMap((piece): readonly Piece[] => {
    const { start, length, content } = piece;
    if (content === undefined) return [piece];
    return Array.from({ length: length / PAGE }, (_, page) => ({
      ...piece,
      start: start + BigInt(page * PAGE),
      length: PAGE,
      content: content.subarray(page * PAGE, (page + 1) * PAGE),
    }));
  });
  return pages.length > MOST_AREAS ? pieces : pages.toReversed();
}

/**
 * Runs the program and reads its memory's state when it exits or executes another program. The program raises SIGTRAP
 * when its memory is mapped. Nothing is found if this process may not trace another one: every page is then populated
 * by a fault.
 */
export function touchedPages(kernel: Kernel, argv: readonly string[], pieces: readonly Piece[]): Touched {
  // The child stops before the program starts, so that it cannot end before it is traced.
  const pid = spawn(kernel, {
    path: "/bin/sh",
    argv: ["sh", "-c", 'kill -STOP $$; exec "$@" >/dev/null 2>&1', "sh", ...argv],
    env: environment,
    fds: [],
    closeFrom: 3,
    cwd: "/",
  });
  if (pid < 0) throw new RuncError("syscall-failed", "cannot start /bin/sh", { errno: -pid });
  let isOver = false;
  try {
    waitStop(kernel, pid);
    const options = PTRACE_O_TRACEEXIT | PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL;
    if (kernel.call("ptrace", PTRACE_SEIZE, pid, 0, options) < 0) return nothing;
    kill(kernel, pid, SIGCONT);
    // Thousands of calls map the memory. None of them is of interest.
    let request = PTRACE_CONT;
    for (
      let status = waitStop(kernel, pid);
      stopSignal(status) !== undefined;
      status = waitStop(kernel, pid)
    ) {
      if (status >> 8 === SIGTRAP) request = PTRACE_SYSCALL;
      if (isLast(kernel, pid, status)) {
        const touched = readTouched(kernel, pid, pieces);
        // The program becomes the monitor, which deletes the container.
        isOver = kernel.call("ptrace", PTRACE_DETACH, pid, 0, 0) === 0;
        return touched;
      }
      // The program gets its signals, but not those that only the tracer sees.
      const signal = status >> 16 === 0 && !isSyscallStop(status) ? stopSignal(status)! : 0;
      kernel.call("ptrace", request, pid, 0, signal === SIGTRAP ? 0 : signal);
    }
    isOver = true;
    return nothing;
  } finally {
    if (!isOver) {
      kill(kernel, pid, SIGKILL);
      kernel.call("ptrace", PTRACE_CONT, pid, 0, 0);
    }
    waitChild(kernel, pid);
  }
}

/** Whether this is the last stop at which its memory still exists. */
function isLast(kernel: Kernel, pid: number, status: number): boolean {
  if (status >> 8 === (SIGTRAP | PTRACE_EVENT_EXIT << 8)) return true;
  if (!isSyscallStop(status)) return false;
  const call = readSyscall(kernel, pid);
  return isEntry(call) && call.number === SYS_execveat;
}

function readTouched(kernel: Kernel, pid: number, pieces: readonly Piece[]): Touched {
  using memory = new ProcessMemory(kernel, pid);
  const used = new Set<bigint>();
  const written = pieces.flatMap(({ start, length, prot, content }) => {
    if (prot === 0) return [];
    const pages = memory.pages({ start, end: start + BigInt(length) });
    pages.forEach(({ isPresent }, page) => {
      if (isPresent && content !== undefined) used.add(start + BigInt(page * PAGE));
    });
    return (prot & Prot.WRITE) === 0 ? [] : rangesOf(start, pages.map(({ isOwn }) => isOwn));
  });
  return { used, written };
}

/** Ranges of the pages with these addresses, as Linux reads them at once. Pure. */
export function rangesToRead(pieces: readonly Piece[], used: ReadonlySet<bigint>): readonly PageRange[] {
  return pieces.flatMap(({ start, length, prot }) => {
    const gap = (prot & Prot.EXEC) === 0 ? GAP_PAGES : CODE_GAP_PAGES;
    const isUsed = Array.from({ length: length / PAGE }, (_, page) => used.has(start + BigInt(page * PAGE)));
    return rangesOf(start, isUsed, { gap, most: READ_AT_ONCE });
  });
}

/** Ranges of set pages from `start` on. Gaps of up to `gap` pages are included. `most`: pages of a range. */
function rangesOf(
  start: bigint,
  isSet: readonly boolean[],
  { gap = GAP_PAGES, most = Infinity }: { readonly gap?: number; readonly most?: number } = {},
): readonly PageRange[] {
  const ranges: [from: number, to: number][] = [];
  isSet.forEach((value, page) => {
    if (!value) return;
    const last = ranges.at(-1);
    if (last !== undefined && page - last[1] <= gap && page < last[0] + most) last[1] = page + 1;
    else ranges.push([page, page + 1]);
  });
  return ranges.map(([from, to]) => ({ start: start + BigInt(from * PAGE), length: (to - from) * PAGE }));
}
