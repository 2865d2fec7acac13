/**
 * `runc restore`.
 *
 * @module
 */

import { resolve } from "../../std/path.ts";
import { setSubreaper } from "../../ffi/process/process.ts";
import { runWaits } from "../../ffi/waits.ts";
import { rootOwner } from "../../libcontainer/config/id_mappings.ts";
import type { StartFlags } from "../../libcontainer/config/launch_request.ts";
import { loadSpec, readConfig } from "../../libcontainer/container/bundle.ts";
import { restoreContainer, type Restored } from "../../libcontainer/container/criu/restoration.ts";
import type { Runtime } from "../../libcontainer/runtime.ts";
import { compileSeccomp } from "../../libcontainer/seccomp/seccomp.ts";
import { inSpan } from "../../trace/tracer.ts";
import { enterBundle } from "../bundle_directory.ts";
import { readCriuFlags, warnOfRootless } from "../criu/checkpoint_options.ts";
import type { Command, Context } from "../context.ts";
import { type Foreground, foregroundOf } from "../foreground.ts";
import { Interruptible } from "../interruption.ts";
import type { Invocation } from "../parse.ts";
import { checkTerminal, type ProcessIo, processIo, writePidFile } from "../process_io.ts";
import { makeRuntime } from "../runtime.ts";

type Options = Invocation<"restore">["options"];

/** Restores a container, and in the foreground waits for its end and removes it. */
export const run: Command<"restore"> = (context, { args: [id = ""], options }) => {
  warnOfRootless(context);
  const makeForeground = options.detach ? undefined : foregroundOf(context);
  const runtime = makeRuntime(context);
  const foreground = { current: undefined as Foreground | undefined };
  using interruptible = new DisposableStack();
  try {
    const { restored, io } = newRestored(context, runtime, { id, options }, (terminal) => {
      if (options.detach) interruptible.use(new Interruptible(context.kernel, context.interruption));
      else foreground.current = makeForeground?.(runtime, { terminal });
    });
    interruptible.dispose();
    return follow(runtime, restored, io, foreground.current);
  } finally {
    foreground.current?.[Symbol.dispose]();
  }
};

/** Restores the container of a command line. `prepare` is called before anything is made. @throws {RuncError} */
function newRestored(
  context: Context,
  runtime: Runtime,
  { id, options }: { id: string; options: Options },
  prepare: (terminal: boolean) => void,
): { restored: Restored; io: ProcessIo } {
  // Relative paths are the caller's, not the bundle's.
  const criu = readCriuFlags(options);
  const pidFile = options["pid-file"] ? resolve(options["pid-file"]) : undefined;
  const bundle = enterBundle(options.bundle);
  const { kernel, trace } = runtime;
  const config = inSpan(trace, "read config.json", () => readConfig(bundle, runtime.log));
  const flags: StartFlags = { noPivot: options["no-pivot"] };
  const spec = inSpan(trace, "check config.json", () => loadSpec(runtime, config, bundle, flags));
  const terminal = config.process?.terminal ?? false;
  const { detach, "console-socket": consoleSocket } = options;
  checkTerminal({ terminal, detach, consoleSocket });
  const seccomp = compileSeccomp(runtime, config);
  if (!options["no-subreaper"]) setSubreaper(kernel);
  prepare(terminal);
  const io = processIo(runtime, { terminal, detach, consoleSocket, owner: rootOwner(spec.config) });
  try {
    const restored = restoreContainer(runtime, {
      ...criu,
      id,
      spec,
      ...flags,
      seccomp,
      stdio: terminal ? undefined : io.stdio,
      consoleSocket: io.consoleSocket,
      notify: Boolean(context.environment("NOTIFY_SOCKET")),
      lsmProfile: options["lsm-profile"],
      lsmMountContext: options["lsm-mount-context"],
    });
    io.closeTheirs();
    try {
      if (pidFile !== undefined) writePidFile(pidFile, restored.process.pid);
    } catch (error) {
      giveUp(runtime, restored);
      throw error;
    }
    return { restored, io };
  } catch (error) {
    io[Symbol.dispose]();
    throw error;
  }
}

function giveUp(runtime: Runtime, { container, process }: Restored): void {
  process.signal(9);
  process.reap();
  runWaits(runtime, container.destroy());
}

/** Waits for the end in the foreground, as the monitor, and never returns then. */
function follow(
  runtime: Runtime,
  restored: Restored,
  io: ProcessIo,
  foreground: Foreground | undefined,
): number {
  using _io = io;
  using process = restored.process;
  const { id, removal } = restored.container;
  try {
    foreground?.run({ pid: process.pid, id, removal }, io);
    return 0;
  } catch (error) {
    giveUp(runtime, restored);
    throw error;
  }
}
