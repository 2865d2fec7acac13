/**
 * prestart, createRuntime, poststart and poststop hooks, which run in the runtime's namespaces. Runs in: parent.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { monotonicMs } from "../../ffi/clock.ts";
import { Child } from "../../ffi/process/child.ts";
import { errnoText } from "../../ffi/errno.ts";
import type { Fd } from "../../ffi/fd.ts";
import { memfd, readMemfd, sealedMemfd } from "../../ffi/files.ts";
import type { Waits } from "../../ffi/waits.ts";
import type { VerbOf } from "../plans/parent/act.ts";
import { type EnvironmentEntry, type ExitStatus, spawning } from "../../ffi/process/process.ts";
import type { Hook } from "../../specs/config.ts";
import type { State } from "../../specs/state.ts";
import { withTraceparent } from "../../trace/context.ts";
import type { OpenSpan } from "../../trace/tracer.ts";
import { awaitEnd } from "./await_end.ts";
import type { Runtime } from "../runtime.ts";

/** How much of a hook's output an error quotes, in bytes: enough for a stack trace, not for a flood. */
export const OUTPUT_LIMIT = 64 * 1024;

/** `exit status 3`, `signal: killed`: the texts of Go's os/exec, which callers match. */
export function statusText(status: ExitStatus): string {
  if ("code" in status) return `exit status ${status.code}`;
  return `signal: ${signalTexts[status.signal] ?? status.signal}`;
}

const signalTexts: Readonly<Record<number, string>> = {
  1: "hangup",
  2: "interrupt",
  3: "quit",
  4: "illegal instruction",
  5: "trace/breakpoint trap",
  6: "aborted",
  9: "killed",
  11: "segmentation fault",
  13: "broken pipe",
  15: "terminated",
  31: "bad system call",
};

/** `2.0s` for 2, as runc prints a hook's timeout. */
export function secondsText(seconds: number): string {
  return Number.isInteger(seconds) ? `${seconds}.0s` : `${seconds}s`;
}

/** The descriptors of a hook's stdio: state on stdin, output caught in memory. */
interface Stdio {
  readonly input: Fd;
  readonly output: Fd;
  readonly errors: Fd;
}

function environmentOf(hook: Hook, { environment, rawEnvironment = [], trace }: Runtime): readonly EnvironmentEntry[] {
  const given = hook.env ??
    [...Object.entries(environment).map(([name, value]) => `${name}=${value}`), ...rawEnvironment];
  return trace === undefined ? given : withTraceparent(given, trace.traceparent);
}

/**
 * Waits for the hook. Kills it at the timeout (result: undefined) or on a signal.
 *
 * @throws {RuncError} if its exit status is unknown; what the runtime's interrupts throw.
 */
function* waitBounded(runtime: Runtime, pid: number, timeout: number | undefined): Waits<ExitStatus | undefined> {
  using child = Child.find(runtime.kernel, pid);
  let isOver = false;
  try {
    isOver = child === undefined ||
      (yield* awaitEnd(runtime, child, timeout === undefined ? undefined : timeout * 1000));
  } finally {
    if (!isOver) {
      child?.signal(9);
      child?.reap();
    }
  }
  if (!isOver) return undefined;
  const status = child?.reap();
  // The exit status is lost if our caller ignores SIGCHLD.
  if (status === undefined) throw new RuncError("hook-failed", `the exit status of hook ${pid} is unknown`);
  return status;
}

function* execute(
  runtime: Runtime,
  hook: Hook,
  { name, cwd, stdio, span }: { name: string; cwd?: string; stdio: Stdio; span?: OpenSpan },
): Waits<void> {
  const { kernel } = runtime;
  const startMs = monotonicMs(kernel);
  const pid = yield* spawning(kernel, {
    path: hook.path,
    argv: hook.args?.length ? hook.args : [hook.path],
    env: environmentOf(hook, runtime),
    cwd,
    // Neither our descriptors nor those that our caller left open.
    closeFrom: 3,
    softFileLimit: runtime.softFileLimit,
    fds: [
      { to: 0, from: stdio.input.number },
      { to: 1, from: stdio.output.number },
      { to: 2, from: stdio.errors.number },
    ],
  });
  if (pid < 0) throw new RuncError("hook-failed", `error running ${name}: fork/exec ${hook.path}: ${errnoText(-pid)}`);
  const status = yield* waitBounded(runtime, pid, hook.timeout);
  if (status === undefined) {
    throw new RuncError(
      "hook-failed",
      `error running ${name}: hook ran past specified timeout of ${secondsText(hook.timeout!)}`,
    );
  }
  span?.set("code" in status ? { "process.exit.code": status.code } : { "process.exit.signal": status.signal });
  const [stdout, stderr] = [stdio.output, stdio.errors].map((fd) => readMemfd(kernel, fd, OUTPUT_LIMIT)) as [
    string,
    string,
  ];
  span?.set({ ...(stdout && { "hook.stdout": stdout }), ...(stderr && { "hook.stderr": stderr }) });
  const said = outputText(stdout, stderr);
  if (!("code" in status) || status.code !== 0) {
    throw new RuncError("hook-failed", `error running ${name}: ${statusText(status)}, ${said}`);
  }
  runtime.log("debug", `${name}: ${said}, after ${Math.round(monotonicMs(kernel) - startMs)} ms`);
}

/** A hook's output, for errors and the log. */
export function outputText(stdout: string, stderr: string): string {
  return `stdout: ${stdout}, stderr: ${stderr}`;
}

/** A hook of config.json. */
export type HookRun = Pick<VerbOf<"runHook">, "name" | "index" | "hook" | "cwd">;

/**
 * Runs one hook. `state`: its stdin. `cwd`: the bundle; absent: the current directory.
 *
 * @throws {RuncError} `hook-failed` with the hook's output; what the runtime's interrupts throw.
 */
export function* runHook(
  runtime: Runtime,
  { name, index, hook, cwd }: HookRun,
  state: State,
  span?: OpenSpan,
): Waits<void> {
  const { kernel } = runtime;
  const text = new TextEncoder().encode(JSON.stringify(state));
  using input = sealedMemfd(kernel, { name: "state", content: text, executable: false, rewind: true });
  using output = memfd(kernel, "hook stdout");
  using errors = memfd(kernel, "hook stderr");
  try {
    yield* execute(runtime, hook, { name: `${name} hook #${index}`, cwd, stdio: { input, output, errors }, span });
  } catch (error) {
    if (error instanceof RuncError && error.code === "interrupted") throw error;
    throw new RuncError("hook-failed", (error as Error).message, { field: `/hooks/${name}/${index}`, cause: error });
  }
}
