/**
 * Starts the stage: encodes the plan, and executes the image with the descriptors that the plan names. Runs in: parent.
 *
 * @module
 */

import { AtFlag, rlimitNames } from "../../ffi/constants.ts";
import { Errno } from "../../ffi/errno.ts";
import { Fd } from "../../ffi/fd.ts";
import { executable, isInherited, openPath, setCloseOnExec } from "../../ffi/files.ts";
import { type Kernel, syscallError } from "../../ffi/kernel.ts";
import { getRlimit, spawning } from "../../ffi/process/process.ts";
import { packetPair, tellSenders } from "../../ffi/sockets.ts";
import { runWaits, TURN, type Waits } from "../../ffi/waits.ts";
import { call, fixedFd, step, stringPointers } from "../../plan/build.ts";
import { encode, type Encoded, type EncodeOptions, encoding } from "../../plan/native/encode.ts";
import type { Plan } from "../../plan/op.ts";
import { inSpan, inSpanWaits } from "../../trace/tracer.ts";
import type { HostFacts } from "../config/launch_request.ts";
import { withoutRefused } from "../plans/outer_sandbox.ts";
import type { Runtime } from "../runtime.ts";
import type { LaunchTrace } from "../runtime_trace.ts";
import { lacksMountCalls, mountDescriptors } from "../steps/mounts/old_mounts.ts";
import { type KeptFor, KeptImages } from "./kept_images.ts";
import { sealedSelf } from "./self.ts";

/** The options of a stage. */
export interface StageOptions {
  /** The plan. It is made only if it is needed. */
  readonly plan: () => Plan;
  /** Images of earlier launches. */
  readonly kept?: KeptFor;
  /** stdin, stdout, stderr of the process. */
  readonly stdio: readonly [number, number, number];
  /** The plan's fixed descriptors by name; `sync` and `proc` are added. */
  readonly fds: Readonly<Record<string, Fd>>;
  /** The process inherits this many descriptors from 3 up. */
  readonly inheritedFds: number;
  /** The process waits for `start`, and should use little memory until then. */
  readonly waits: boolean;
  /** System calls that a sandbox around this runtime refuses. */
  readonly refused?: HostFacts["refused"];
  /** Called with the image, and the numbers of its descriptors. They are then such as another launch can use, too. */
  readonly onImage?: (image: Uint8Array, numbers: Readonly<Record<string, number>>) => void;
}

/** A stage that has just been started. It waits for a message, or soon will. */
export interface Stage {
  readonly pid: number;
  /** Our end of the socket to it. */
  readonly sync: Fd;
  /** Tells which step an instruction belongs to. */
  readonly encoded: Encoded;
  readonly trace?: LaunchTrace;
}

/** Starts the stage. @throws {RuncError} if it cannot be started; no descriptor is left open. */
export function* startStage(runtime: Runtime, options: StageOptions): Waits<Stage> {
  const { kernel } = runtime;
  const [ours, theirs] = packetPair(kernel, "sync");
  using child = theirs;
  try {
    tellSenders(kernel, ours);
    using proc = openPath(kernel, "/proc");
    using self = runtime.executor === "deno" ? sealedSelf(runtime) : undefined;
    const sources: Record<string, Fd> = { ...options.fds, sync: child, proc };
    if (self !== undefined) sources.self = self;
    const { numbers, spare } = fixNumbers(kernel, sources, options);
    // The JavaScript executor reads the image that the stage is started from.
    if (self !== undefined) numbers.image = spare;
    const { encoded, times } = yield* encodedFor(runtime, options, numbers, self !== undefined);
    options.onImage?.(encoded.image, numbers);
    yield TURN;
    using opened = executable(kernel, { name: "runc-init", content: encoded.image, directory: runtime.root });
    using moved = opened.number > numbers["last foreign"]! ? duplicateFrom(kernel, opened, spare + 1) : undefined;
    const image = moved ?? opened;
    const fds = Object.entries(sources).map(([name, fd]) => ({ to: numbers[name]!, from: fd.number }));
    if (self !== undefined) fds.push({ to: spare, from: image.number });
    logSealing(runtime, encoded, self !== undefined);
    const executed = execute(runtime, image, fds, options.stdio);
    // The stage closes descriptors left open by mistake, but needs close_range(2) for that. Otherwise they are marked
    // meanwhile, and no other child may be started.
    const pid = options.refused?.has("close_range")
      ? withForeignMarked(kernel, 3 + options.inheritedFds, () => runWaits(runtime, executed))
      : yield* executed;
    times?.started("stage", pid);
    return { pid, sync: ours, encoded, trace: times };
  } catch (error) {
    ours.close();
    throw error;
  }
}

/** The image, and what tells the times of its steps. `isReexecuted`: the JavaScript executor runs it. */
function* encodedFor(
  runtime: Runtime,
  options: StageOptions,
  numbers: Readonly<Record<string, number>>,
  isReexecuted: boolean,
): Waits<{ encoded: Encoded; times?: LaunchTrace }> {
  const { trace, kernel: { arch } } = runtime;
  if (options.kept !== undefined && trace === undefined && !isReexecuted) {
    const how = { arch, fds: numbers, fold: false };
    return { encoded: yield* encodedOnce(options.plan, options.kept, how) };
  }
  const numbered = options.plan();
  const plan = isReexecuted ? withoutRefused(withReexec(numbered, runtime, numbers), options.refused, arch) : numbered;
  const launched = { plan, numbered, executor: runtime.executor };
  const times = inSpan(trace, "put marks into the plan", () => trace?.steps(launched));
  const how = { arch, fds: numbers, fold: foldingOf(options, trace) };
  return { encoded: yield* inSpanWaits(trace, "encode the plan", () => encoding(times?.plan ?? plan, how)), times };
}

/** The image of an earlier launch, if there is one. */
function* encodedOnce(plan: () => Plan, { images, id, parts, same }: KeptFor, how: EncodeOptions): Waits<Encoded> {
  const key = KeptImages.keyOf(id, [...parts, how]);
  const image = key === undefined ? undefined : images.get(key, id);
  // A report is rare, and needs the plan.
  if (image !== undefined) return { image, instructionAt: (...place) => encode(plan(), how).instructionAt(...place) };
  const encoded = yield* encoding(plan(), how);
  if (key !== undefined) images.keep(key, id, encoded.image, same);
  return encoded;
}

/** Logs runc's messages about the protection of its binary from the container; runc's tests match them. */
function logSealing({ log }: Runtime, { image }: Encoded, ourBinaryRuns: boolean): void {
  log("debug", `runc exeseal: using /proc/self/exe clone: a sealed image of ${image.length} bytes`);
  const instead = ourBinaryRuns ? "our binary is behind a read-only mount of its own" : "our binary is not there";
  log("debug", `runc exeseal: using overlayfs for sealed /proc/self/exe: not needed, ${instead}`);
}

function* execute(
  { kernel, log }: Runtime,
  image: Fd,
  fds: { to: number; from: number }[],
  stdio: StageOptions["stdio"],
): Waits<number> {
  const standard = stdio.flatMap((from, to) => from === to ? [] : [{ to, from }]);
  const pid = yield* spawning(kernel, {
    path: `/proc/self/fd/${image.number}`,
    argv: ["runc", "init"],
    env: [],
    fds: [...fds, ...standard],
  });
  // A message of runc's debug log, which runc's tests match. The stage does the work of nsexec.
  log("debug", `nsexec container setup: stage is process ${pid}`);
  if (pid < 0) {
    throw syscallError(
      "posix_spawn of the container's init",
      -pid,
      pid === -Errno.ENOENT ? "/proc must be mounted" : undefined,
    );
  }
  return pid;
}

/** fcntl(2), include/uapi/linux/fcntl.h */
const F_DUPFD_CLOEXEC = 1030;

/** A copy of a descriptor with a number from `least` up. */
function duplicateFrom(kernel: Kernel, fd: Fd, least: number): Fd {
  const number = kernel.must(`fcntl(${fd.label}, F_DUPFD_CLOEXEC)`, "fcntl", fd.number, F_DUPFD_CLOEXEC, least);
  return new Fd(kernel, number, fd.label);
}

/**
 * Numbers for the fixed descriptors. They are above all used and inherited ones, so that no dup2 overwrites a source.
 */
function fixNumbers(
  kernel: Kernel,
  sources: Readonly<Record<string, Fd>>,
  options: StageOptions,
): { numbers: Record<string, number>; spare: number } {
  const used = Object.values(sources).map((fd) => fd.number);
  // Plus two: the image gets the lowest free number, which is one above those in use unless another thread of Deno took
  // it.
  const least = Math.max(2 + options.inheritedFds, ...used, ...options.stdio) + 2;
  const isShared = options.kept !== undefined || options.onImage !== undefined;
  let next = isShared ? roundNumber(kernel, least) : least;
  const numbers: Record<string, number> = {};
  numbers["last foreign"] = next - 1;
  for (const name of Object.keys(sources)) numbers[name] = next++;
  if (lacksMountCalls(options.refused)) { for (const name of mountDescriptors) numbers[name] = next++; }
  numbers["next foreign"] = next + 1;
  return { numbers, spare: next };
}

/** The numbers are part of the image: a few different ones, and it can be used again. */
const NUMBERS_STEP = 32;

/** The next multiple, if the limit of open files leaves room for it and for those after it. @see getrlimit(2) */
function roundNumber(kernel: Kernel, least: number): number {
  const rounded = Math.ceil(least / NUMBERS_STEP) * NUMBERS_STEP;
  const { soft } = getRlimit(kernel, 0, rlimitNames.indexOf("RLIMIT_NOFILE"));
  return rounded + NUMBERS_STEP <= soft ? rounded : least;
}

/** A process that waits should be small; a traced plan keeps its steps apart. */
function foldingOf({ waits }: StageOptions, trace: Runtime["trace"]): EncodeOptions["fold"] {
  if (trace !== undefined) return false;
  return waits || "large";
}

/** Marks all open descriptors from `first` up close-on-exec while `action` starts a child. */
function withForeignMarked<Result>(kernel: Kernel, first: number, action: () => Result): Result {
  const foreign = [...Deno.readDirSync("/proc/self/fd")].map(({ name }) => Number(name))
    .filter((number) => number >= first && isInherited(kernel, number));
  for (const number of foreign) setCloseOnExec(kernel, number, true);
  try {
    return action();
  } finally {
    for (const number of foreign) setCloseOnExec(kernel, number, false);
  }
}

/** Makes the stage's child execute this program again as `init`, with the image's descriptor. */
function withReexec(plan: Plan, runtime: Runtime, numbers: Readonly<Record<string, number>>): Plan {
  const { path, args } = runtime.reexec;
  const argv = [path, ...args, "init", String(numbers.image), String(numbers.proc)];
  // No file can be created below /proc. Deno then keeps its caches in memory, and the waiting process has no file of
  // the host open. DENO_LOG=off suppresses Deno's warning about it on a terminal.
  const env = ["DENO_DIR=/proc/none", "DENO_LOG=off", "DENO_NO_UPDATE_CHECK=1", "NO_COLOR=1", "PATH=/usr/bin:/bin"];
  const reexec = step("execute this program again as init", "", [
    call("execveat", [
      fixedFd("self"),
      "",
      stringPointers(argv, JSON.stringify(argv)),
      stringPointers(env, JSON.stringify(env)),
      AtFlag.AT_EMPTY_PATH,
    ]),
  ]);
  return { stage: [...plan.stage, reexec], init: plan.init };
}
