/**
 * What a command gets besides its own options. Commands access the process around them only through this.
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
import type { Host } from "./host.ts";
import { systemError, withSystemErrors } from "./system_error.ts";
import { type CommandName, type GlobalOptions, specOf } from "./table.ts";

/** A command's context. */
export interface Context extends Host {
  readonly global: GlobalOptions;
  /** The command line: the words after the program's name. */
  readonly words: readonly string[];
  /**
   * The state directory, absolute. The default one is created before a command that uses it. Another one may be
   * missing.
   */
  readonly root: string;
  /** Whether --root was given. */
  readonly rootGiven: boolean;
  readonly log: Logger;
  /** Interrupts the command's waits. */
  readonly interruption: Interruption;
  /** With --trace: records everything that is done. */
  readonly trace?: RuntimeTrace;
  /** The trace's file, if another process can continue it. */
  readonly traceFile?: string;
  /** The directory for compiled seccomp filters, if there is one. */
  readonly filterCache: () => string | undefined;
  /** Whether a denied permission for a cgroup is ignored. */
  readonly forgivesCgroups: () => boolean;
}

/** A command's function: does the work and returns the exit status. */
export type Command<Name extends CommandName> = (
  context: Context,
  invocation: Invocation<Name>,
) => number;

/**
 * Creates the context of an invocation.
 *
 * @throws {RuncError} `usage` for an invalid --root, `syscall-failed` if the default directory cannot be created.
 */
export function createContext(
  { command, global, globalGiven }: Invocation,
  host: Host & Pick<Context, "words">,
  log: Logger,
): Context {
  const caller = readCaller(host.environment);
  const root = chooseRoot(global.root, caller);
  if (root.inRuntimeDir && specOf(command).usesState) makeRuntimeRoot(root.path);
  return {
    ...host,
    global,
    root: root.path,
    rootGiven: globalGiven.has("root"),
    log,
    filterCache: () => chooseFilterCache(caller, host.runDirectory),
    interruption: new Interruption(),
    forgivesCgroups: () => forgivesCgroups(global.rootless, global["systemd-cgroup"], caller),
  };
}

/**
 * Creates the directory with the sticky bit: the system may delete files without it in $XDG_RUNTIME_DIR.
 *
 * @see https://specifications.freedesktop.org/basedir-spec/latest/
 */
function makeRuntimeRoot(path: string): void {
  try {
    Deno.mkdirSync(path, { recursive: true, mode: 0o700 });
    Deno.chmodSync(path, 0o1700);
  } catch (cause) {
    const { code, message, ...details } = systemError(`mkdir ${path}`, cause);
    const hint = "make $XDG_RUNTIME_DIR writable, or set another directory with --root";
    throw new RuncError(code, message, { ...details, hint });
  }
}

/**
 * Creates the logger from the global options.
 *
 * @throws {RuncError} `usage` for an unknown format, `syscall-failed` if the file cannot be opened.
 */
export function createLogger(
  options: Pick<GlobalOptions, "debug" | "log" | "log-format">,
  { kernel, stderr }: Pick<Host, "kernel" | "stderr">,
): Logger {
  const { debug, log = "", "log-format": format } = options;
  if (format !== "json" && format !== "text" && format !== "") {
    throw new RuncError("usage", `invalid log-format: ${format}`);
  }
  const target = log === "" ? stderrTarget(stderr) : withSystemErrors(`open ${log}`, () => fileTarget(log, stderr));
  const utcOffset = (date: Date) => utcOffsetMinutes(kernel, date);
  return new Logger(target, { format: format === "json" ? "json" : "text", debug, utcOffset });
}
