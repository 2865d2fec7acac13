/**
 * `--trace FILE`: a timeline of the command.
 *
 * @module
 */

import { basename, dirname, join, resolve } from "../std/path.ts";
import { inContext, type RuncError } from "../errors.ts";
import { Timeline } from "../libcontainer/trace/timeline.ts";
import { chromeTrace, continueChrome } from "../trace/chrome.ts";
import { continueOtlp, otlpTrace } from "../trace/otlp.ts";
import type { Trace } from "../trace/recorder.ts";
import type { Context } from "./context.ts";
import { writeAll } from "./log.ts";
import type { Invocation } from "./parse.ts";
import { systemError, toRuncError, withSystemErrors } from "./system_error.ts";
import { specOf } from "./table.ts";
import { VERSION } from "./commands/version.ts";

/** Files with this suffix are OTLP/JSON. */
const OTLP_SUFFIX = ".otlp.json";

/** The prefix of errors with the trace file. */
const FAILED = "cannot write the trace";

/**
 * Runs a command and writes a timeline of it, also if it fails.
 *
 * @throws {RuncError} `syscall-failed`, before anything is done, if the file cannot be written; and the errors of
 * `body`.
 */
export function traced(
  context: Context,
  { command, args }: Invocation,
  body: (context: Context) => number,
): number {
  let file: TraceFile;
  try {
    file = inContext(FAILED, () => traceFile(pathOf(context.global.trace!), context.kernel.pid));
  } catch (error) {
    if (command !== "monitor") throw error;
    // `monitor` must remove the container even without a trace.
    context.log.warning(toRuncError(error).message);
    return body(context);
  }
  const timeline = new Timeline(context.kernel, {
    name: `runc ${command}`,
    traceparent: context.environment("TRACEPARENT"),
    attributes: { "runc.command": command, ...containerOf(command, args[0]) },
  });
  const write = (error?: RuncError) => {
    const trace = timeline.finish(error);
    try {
      const text = textOf(trace, file.path);
      file.write(command === "monitor" ? continued(file.path, text) : text);
    } catch (problem) {
      // The command has already succeeded or failed, and the caller must learn that result.
      context.log.warning(`${FAILED}: ${toRuncError(problem).message}`);
    }
  };
  const replace: Context["replace"] = (...program) => {
    write();
    return context.replace(...program);
  };
  try {
    const status = body({
      ...context,
      trace: timeline,
      traceFile: file.isReplaced ? file.path : undefined,
      replace,
    });
    timeline.set({ "process.exit.code": status });
    write();
    return status;
  } catch (error) {
    write(toRuncError(error));
    throw error;
  }
}

const pathOf = (path: string) => withSystemErrors("getcwd", () => resolve(path));

function containerOf(command: Invocation["command"], id: string | undefined): Record<string, string> {
  return id !== undefined && specOf(command).usage.startsWith("<container-id>") ? { "container.id": id } : {};
}

function textOf(trace: Trace, path: string): string {
  return path.endsWith(OTLP_SUFFIX) ? otlpTrace(trace, { name: "runc", version: VERSION }) : chromeTrace(trace);
}

/** A command that a monitor starts continues the trace of the command that became this monitor. */
function continued(path: string, text: string): string {
  const earlier = withSystemErrors(`read ${path}`, () => Deno.readTextFileSync(path));
  return (path.endsWith(OTLP_SUFFIX) ? continueOtlp : continueChrome)(earlier, text);
}

/** The file of a trace, which is written once the trace is complete. */
interface TraceFile {
  readonly path: string;
  /** Whether each write creates a new file with the whole trace. */
  readonly isReplaced: boolean;
  readonly write: (text: string) => void;
}

/** Checks that `path` can be written. @throws {RuncError} `syscall-failed` if it cannot. */
function traceFile(path: string, pid: number): TraceFile {
  const target = replaceable(path);
  // Append instead of truncate: the file may be somebody's log.
  if (target === undefined) return { path, isReplaced: false, write: writerTo(path, { append: true }) };
  const temporary = join(dirname(target), `.${basename(target)}.${pid}`);
  // The temporary file is always new: an existing link is removed and not followed.
  const remove = () => ifThere(`unlink ${temporary}`, () => Deno.removeSync(temporary));
  const create = () => {
    remove();
    return writerTo(temporary, { write: true, createNew: true, mode: 0o644 });
  };
  create()("");
  // A process that is killed early must leave no file behind.
  remove();
  return {
    path,
    isReplaced: true,
    write: (text) => {
      try {
        create()(text);
        withSystemErrors(`rename ${temporary} ${target}`, () => Deno.renameSync(temporary, target));
      } catch (error) {
        remove();
        throw error;
      }
    },
  };
}

/**
 * The path that a new file can replace: a link's target, not the link. Undefined for files that must not be replaced: a
 * device, a pipe, a file without a name, and one of our standard streams, such as /dev/stdout.
 */
function replaceable(path: string): string | undefined {
  const there = statIfThere(path);
  if (there === undefined) return path;
  const isStream = [0, 1, 2].map((fd) => statIfThere(`/proc/self/fd/${fd}`)).some((stream) =>
    stream?.ino === there.ino && stream.dev === there.dev
  );
  if (isStream) return undefined;
  const target = there.isFile ? realPathIfThere(path) : undefined;
  const named = target === undefined ? undefined : statIfThere(target);
  return named?.ino === there.ino && named.dev === there.dev ? target : undefined;
}

/** Opens a file for one write, after which it is closed. @throws {RuncError} `syscall-failed`, also for a directory. */
function writerTo(path: string, options: Deno.OpenOptions): TraceFile["write"] {
  const file = withSystemErrors(`open ${path}`, () => Deno.openSync(path, options));
  return (text) => {
    using _file = file;
    withSystemErrors(`write ${path}`, () => writeAll(file, text));
  };
}

const statIfThere = (path: string) => ifThere(`stat ${path}`, () => Deno.statSync(path));
const realPathIfThere = (path: string) => ifThere(`realpath ${path}`, () => Deno.realPathSync(path));

function ifThere<Result>(call: string, action: () => Result): Result | undefined {
  try {
    return action();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw systemError(call, error);
  }
}
