/**
 * What a command is given besides its own options: the only way in which commands reach the process around them.
 *
 * @module
 */

import { RuncError } from "../errors.ts";
import { utcOffsetMinutes } from "../ffi/clock.ts";
import type { RuntimeTrace } from "../libcontainer/runtime_trace.ts";
import { chooseFilterCache, chooseRoot, forgivesCgroups, readCaller } from "./identity.ts";
import { Interruption } from "./interruption.ts";
import { fileTarget, Logger, stderrTarget } from "./log.ts";
import type { Invocation } from "./parse.ts";
import type { Surroundings } from "./host.ts";
import { systemError, withSystemErrors } from "./system_error.ts";
import { type CommandName, type GlobalOptions, specOf } from "./table.ts";

/** A command's surroundings. */
export interface Context extends Surroundings {
  readonly global: GlobalOptions;
  /** The command line: the words after the program's name. */
  readonly words: readonly string[];
  /** The state directory, absolute; its default is made ready before a command that uses it, another one may be missing. */
  readonly root: string;
  /** Whether --root was given. */
  readonly rootGiven: boolean;
  readonly log: Logger;
  /** What ends the command's waits. */
  readonly interruption: Interruption;
  /** With --trace: what is to be told of all that is done. */
  readonly trace?: RuntimeTrace;
  /** Where the trace is written to, if it can be continued there by another process. */
  readonly traceFile?: string;
  /** Where compiled seccomp filters are kept, if anywhere. */
  readonly filterCache: () => string | undefined;
  /** Whether a cgroup that we may not write to is no error. */
  readonly forgivesCgroups: () => boolean;
}

/** A command's body: does its work, returns the exit status. */
export type Command<Name extends CommandName> = (
  context: Context,
  invocation: Invocation<Name>,
) => number;

/**
 * Makes the context of an invocation.
 *
 * @throws {RuncError} `usage` for a --root that cannot be, `syscall-failed` where the default one cannot be made.
 */
export function createContext(
  { command, global, globalGiven }: Invocation,
  surroundings: Surroundings & Pick<Context, "words">,
  log: Logger,
): Context {
  const caller = readCaller(surroundings.environment);
  const root = chooseRoot(global.root, caller);
  if (root.inRuntimeDir && specOf(command).usesState) makeRuntimeRoot(root.path);
  return {
    ...surroundings,
    global,
    root: root.path,
    rootGiven: globalGiven.has("root"),
    log,
    filterCache: () => chooseFilterCache(caller, surroundings.runDirectory),
    interruption: new Interruption(),
    forgivesCgroups: () => forgivesCgroups(global.rootless, global["systemd-cgroup"], caller),
  };
}

/**
 * Whatever in $XDG_RUNTIME_DIR lacks the sticky bit may be cleaned away.
 *
 * @see https://specifications.freedesktop.org/basedir-spec/latest/
 */
function makeRuntimeRoot(path: string): void {
  try {
    Deno.mkdirSync(path, { recursive: true, mode: 0o700 });
    Deno.chmodSync(path, 0o1700);
  } catch (cause) {
    const { code, message, ...details } = systemError(`mkdir ${path}`, cause);
    const hint = "the directory in $XDG_RUNTIME_DIR must be writable; or choose another one with --root";
    throw new RuncError(code, message, { ...details, hint });
  }
}

/**
 * The log that the global options ask for.
 *
 * @throws {RuncError} `usage` for a format that there is not, `syscall-failed` where the file cannot be opened.
 */
export function createLogger(
  options: Pick<GlobalOptions, "debug" | "log" | "log-format">,
  { kernel, stderr }: Pick<Surroundings, "kernel" | "stderr">,
): Logger {
  const { debug, log = "", "log-format": format } = options;
  if (format !== "json" && format !== "text" && format !== "") {
    throw new RuncError("usage", `invalid log-format: ${format}`);
  }
  const target = log === "" ? stderrTarget(stderr) : withSystemErrors(`open ${log}`, () => fileTarget(log, stderr));
  const utcOffset = (date: Date) => utcOffsetMinutes(kernel, date);
  return new Logger(target, { format: format === "json" ? "json" : "text", debug, utcOffset });
}
