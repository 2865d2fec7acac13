/**
 * Runs programs to their end and times them.
 *
 * @module
 */

import { open } from "../lib/ffi/files.ts";
import { monotonicMs } from "../lib/ffi/clock.ts";
import { AT_FDCWD, CloneFlag, openFlag, Prctl } from "../lib/ffi/constants.ts";
import { alloc, Kernel } from "../lib/ffi/kernel.ts";
import { spawn } from "../lib/ffi/process/process.ts";
import { buffer, call, slot, step, store, stringPointers } from "../lib/plan/build.ts";
import { encode } from "../lib/plan/native/encode.ts";
import type { Op } from "../lib/plan/op.ts";

/** The result of a run. */
export interface Timed extends Ended {
  /** From posix_spawn to the end, in milliseconds. */
  readonly ms: number;
}

const environment: readonly string[] = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"];

/** libc. */
export const kernel = new Kernel();

const nowhere = open(kernel, "/dev/null", 2);
const stdio = [0, 1, 2].map((to) => ({ to, from: nowhere.number }));
/** `struct rusage`: two `struct timeval`, then numbers. @see getrusage(2) */
const rusage = { size: 144, userTime: 0, systemTime: 16, maxRss: 32, minorFaults: 64 } as const;

/**
 * Starts a program with /dev/null as its standard streams, because a container would keep a pipe open. Returns its pid.
 */
export function start(argv: readonly string[]): number {
  const [path = ""] = argv;
  const pid = spawn(kernel, { path, argv, env: environment, fds: stdio, closeFrom: 3 });
  if (pid < 0) throw new Error(`cannot start ${path}: errno ${-pid}`);
  return pid;
}

/** A program that has ended. */
export interface Ended {
  /** The status as a shell reports it. */
  readonly code: number;
  /** Peak memory of the program or a child that it has waited for: `ru_maxrss` of getrusage(2), in KiB. */
  readonly maxRssKib: number;
  /** Processor time of the program and the children that it has waited for, in milliseconds. */
  readonly cpuMs: number;
  /** Page faults of the same, without those that read from a disk. */
  readonly minorFaults: number;
}

/** Waits for the end of a program that {@link start} has started. */
export function finish(pid: number): Ended {
  const status = alloc(4);
  const usage = alloc(rusage.size);
  kernel.must(`wait4(${pid})`, "wait4", pid, status, 0, usage);
  const [low = 0, high = 0] = status;
  const view = new DataView(usage.buffer);
  const word = (at: number) => Number(view.getBigInt64(at, true));
  const milliseconds = (at: number) => word(at) * 1e3 + word(at + 8) / 1e3;
  return {
    code: (low & 0x7f) === 0 ? high : 128 + (low & 0x7f),
    maxRssKib: word(rusage.maxRss),
    cpuMs: milliseconds(rusage.userTime) + milliseconds(rusage.systemTime),
    minorFaults: word(rusage.minorFaults),
  };
}

/**
 * Runs a program and returns its peak memory, in KiB. The kernel also counts the memory from before execve(2). So a program
 * of two pages starts it. `file`: a path that is free. @throws if it fails.
 */
export function peakRssKib(argv: readonly string[], file: string): number {
  kernel.must("prctl(PR_SET_CHILD_SUBREAPER, 1)", "prctl", Prctl.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  try {
    const starter = `${file}-starter`;
    Deno.writeFileSync(starter, starterOf(argv, file), { mode: 0o755 });
    // It ends at once, so that its child is ours.
    finish(start([starter]));
    const pid = new DataView(Deno.readFileSync(file).buffer).getInt32(0, true);
    Deno.removeSync(starter);
    const { code, maxRssKib } = finish(pid);
    if (code !== 0) throw new Error(`${argv.join(" ")} failed with status ${code}`);
    return maxRssKib;
  } finally {
    kernel.must("prctl(PR_SET_CHILD_SUBREAPER, 0)", "prctl", Prctl.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
  }
}

/** A program that executes another one in a child, and writes the child's pid to a file. */
function starterOf(argv: readonly string[], file: string): Uint8Array {
  const [path = ""] = argv;
  const { O_WRONLY, O_CREAT, O_TRUNC, O_CLOEXEC } = openFlag(kernel.arch);
  const [child, opened, word] = [slot("child"), slot("file"), buffer("pid", 8)];
  const strings = (words: readonly string[]) => stringPointers(words, words.join(" "));
  const ops: readonly Op[] = [{
    op: "fork",
    flags: CloneFlag.SIGCHLD,
    out: child,
    child: [call("execve", [path, strings(argv), strings(environment)]), call("exit_group", [127])],
    parent: [
      store(word, 8, child),
      call("openat", [AT_FDCWD, file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600], { out: opened }),
      call("write", [opened, word, 8]),
      call("exit_group", [0]),
    ],
  }];
  const plan = { stage: [step("start the program", "", ops)], init: [] };
  return encode(plan, { arch: kernel.arch, fds: { sync: -1 } }).image;
}

/** Runs a program and times it. */
export function timed(argv: readonly string[]): Timed {
  const before = monotonicMs(kernel);
  const pid = start(argv);
  const ended = finish(pid);
  return { ms: monotonicMs(kernel) - before, ...ended };
}

/** The time of `action`, in milliseconds. */
export function timeOf(action: () => void): number {
  const before = monotonicMs(kernel);
  action();
  return monotonicMs(kernel) - before;
}
