/**
 * A program run to its end, timed.
 *
 * @module
 */

import { open } from "../lib/ffi/files.ts";
import { monotonicMs } from "../lib/ffi/clock.ts";
import { Prctl } from "../lib/ffi/constants.ts";
import { alloc, Kernel } from "../lib/ffi/kernel.ts";
import { spawn } from "../lib/ffi/process.ts";

/** What a program took. */
export interface Timed {
  /** From posix_spawn to its end, in milliseconds. */
  readonly ms: number;
  /** As a shell reports it. */
  readonly code: number;
}

/** libc. */
export const kernel = new Kernel();

const nowhere = open(kernel, "/dev/null", 2);
const stdio = [0, 1, 2].map((to) => ({ to, from: nowhere.number }));
/** `struct rusage`: ru_maxrss is behind two `struct timeval`. */
const RUSAGE_SIZE = 144, MAXRSS_AT = 32;

/** Starts a program with /dev/null for its standard streams: a pipe's other end would stay open in a container. Returns its pid. */
export function start(argv: readonly string[]): number {
  const [path = ""] = argv;
  const pid = spawn(kernel, { path, argv, env: ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], fds: stdio, closeFrom: 3 });
  if (pid < 0) throw new Error(`cannot start ${path}: errno ${-pid}`);
  return pid;
}

/** A program that has ended. */
export interface Ended {
  /** As a shell reports it. */
  readonly code: number;
  /** The most memory that it, or a child that it has waited for, had at once: `ru_maxrss` of getrusage(2), in KiB. */
  readonly maxRssKib: number;
}

/** Waits for the end of one that {@link start} has started. */
export function finish(pid: number): Ended {
  const status = alloc(4);
  const usage = alloc(RUSAGE_SIZE);
  kernel.must(`wait4(${pid})`, "wait4", pid, status, 0, usage);
  const [low = 0, high = 0] = status;
  const maxRssKib = Number(new DataView(usage.buffer).getBigInt64(MAXRSS_AT, true));
  return { maxRssKib, code: (low & 0x7f) === 0 ? high : 128 + (low & 0x7f) };
}

/**
 * Runs a program to its end and returns the most memory that it had at once, in KiB. Started by a shell, which is small: the kernel counts
 * what there was before execve(2), too. @throws where it fails.
 */
export function peakRssKib(argv: readonly string[], pidFile: string): number {
  // The shell ends first; its child is ours then.
  kernel.must("prctl(PR_SET_CHILD_SUBREAPER, 1)", "prctl", Prctl.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  try {
    finish(start(["/bin/sh", "-c", `"$@" & echo $! > ${pidFile}`, "sh", ...argv]));
    const { code, maxRssKib } = finish(Number(Deno.readTextFileSync(pidFile)));
    if (code !== 0) throw new Error(`${argv.join(" ")} failed: ${code}`);
    return maxRssKib;
  } finally {
    kernel.must("prctl(PR_SET_CHILD_SUBREAPER, 0)", "prctl", Prctl.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
  }
}

/** Runs a program. */
export function timed(argv: readonly string[]): Timed {
  const before = monotonicMs(kernel);
  const pid = start(argv);
  const { code } = finish(pid);
  return { ms: monotonicMs(kernel) - before, code };
}

/** The time of `action`, in milliseconds. */
export function timeOf(action: () => void): number {
  const before = monotonicMs(kernel);
  action();
  return monotonicMs(kernel) - before;
}
