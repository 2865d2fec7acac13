/**
 * Finds the pages that a resumed snapshot writes to. They are then populated by a few calls, which is several times
 * cheaper than one page fault each. Pages that are only read are not worth it: a fault maps sixteen of them.
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

/** A range of pages that are written to, so that each becomes private to the process. */
export interface Touched {
  readonly start: bigint;
  readonly length: number;
}

const SIGTRAP = 5, SIGCONT = 18, SIGKILL = 9;
/** fexecve(3) uses this call; the shell uses another one. x86_64. */
const SYS_execveat = 322n;

/** A page fault costs as much as populating a few unneeded pages. */
const GAP_PAGES = 2;

/**
 * Runs the program and reads its memory's state when it exits or executes another program. Empty if this process may
 * not trace another one: every page is then populated by a fault.
 */
export function touchedPages(kernel: Kernel, argv: readonly string[], pieces: readonly Piece[]): readonly Touched[] {
  // The child stops before the program starts, so that it cannot end before it is traced.
  const pid = spawn(kernel, {
    path: "/bin/sh",
    argv: ["sh", "-c", 'kill -STOP $$; exec "$@" >/dev/null 2>&1', "sh", ...argv],
    env: [],
    fds: [],
    closeFrom: 3,
    cwd: "/",
  });
  if (pid < 0) throw new RuncError("syscall-failed", "cannot start /bin/sh", { errno: -pid });
  let isOver = false;
  try {
    waitStop(kernel, pid);
    const options = PTRACE_O_TRACEEXIT | PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL;
    if (kernel.call("ptrace", PTRACE_SEIZE, pid, 0, options) < 0) return [];
    kill(kernel, pid, SIGCONT);
    for (
      let status = waitStop(kernel, pid);
      stopSignal(status) !== undefined;
      status = waitStop(kernel, pid)
    ) {
      if (isLast(kernel, pid, status)) {
        const touched = readTouched(kernel, pid, pieces);
        // The program becomes the monitor, which deletes the container.
        isOver = kernel.call("ptrace", PTRACE_DETACH, pid, 0, 0) === 0;
        return touched;
      }
      kernel.call("ptrace", PTRACE_SYSCALL, pid, 0, 0);
    }
    isOver = true;
    return [];
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

function readTouched(kernel: Kernel, pid: number, pieces: readonly Piece[]): readonly Touched[] {
  using memory = new ProcessMemory(kernel, pid);
  return pieces.flatMap(({ start, length, prot }) => {
    if ((prot & Prot.WRITE) === 0) return [];
    const pages = memory.pages({ start, end: start + BigInt(length) });
    return rangesOf(pages.map(({ isOwn }) => isOwn)).map(([from, to]) => ({
      start: start + BigInt(from * PAGE),
      length: (to - from) * PAGE,
    }));
  });
}

/** Ranges of set indices. Small gaps between two ranges are included. */
function rangesOf(isSet: readonly boolean[]): readonly (readonly [from: number, to: number])[] {
  const ranges: [number, number][] = [];
  isSet.forEach((value, index) => {
    if (!value) return;
    const last = ranges.at(-1);
    if (last !== undefined && index - last[1] <= GAP_PAGES) last[1] = index + 1;
    else ranges.push([index, index + 1]);
  });
  return ranges;
}
