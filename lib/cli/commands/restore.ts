/**
 * `runc restore`.
 *
 * @module
 */

import { resolve } from "../../std/path.ts";
import { RuncError } from "../../errors.ts";
import type { Fd } from "../../ffi/fd.ts";
import { setSubreaper } from "../../ffi/process/process.ts";
import { runWaits } from "../../ffi/waits.ts";
import { rootOwner } from "../../libcontainer/config/id_mappings.ts";
import type { StartFlags } from "../../libcontainer/config/launch_request.ts";
import { loadSpec, readConfig, type Spec } from "../../libcontainer/container/bundle.ts";
import { ContainerHandle } from "../../libcontainer/container/handle.ts";
import type { RestoreOptions } from "../../libcontainer/container/criu/restoration.ts";
import { runAct } from "../../libcontainer/launch/run_acts.ts";
import { pidFileAct } from "../../libcontainer/plans/parent/create.ts";
import type { Runtime } from "../../libcontainer/runtime.ts";
import { compileSeccomp } from "../../libcontainer/seccomp/seccomp.ts";
import { inSpan } from "../../trace/tracer.ts";
import { enterBundle } from "../bundle_directory.ts";
import { readCriuFlags, warnOfRootless } from "../criu/checkpoint_options.ts";
import type { Command, Context } from "../context.ts";
import { type Foreground, foregroundOf } from "../foreground.ts";
import { Interruptible } from "../interruption.ts";
import { giveUp, type NewContainer } from "../new_container.ts";
import type { Invocation } from "../parse.ts";
import { checkTerminal, processIo, writePidFile } from "../process_io.ts";
import { makeRuntime } from "../runtime.ts";
import { supervisorOf } from "../supervisor.ts";

type Options = Invocation<"restore">["options"];

/** Restores a container, and in the foreground waits for its end and removes it. */
export const run: Command<"restore"> = (context, { args: [id = ""], options }) => {
  const { detach, supervise } = options;
  if (supervise && !detach) {
    throw new RuncError("usage", "--supervise needs --detach: a container in the foreground always has a monitor");
  }
  warnOfRootless(context);
  const started = supervisorOf(context);
  const makeForeground = detach && started === undefined ? undefined : foregroundOf(context);
  const runtime = makeRuntime(context);
  const foreground = { current: undefined as Foreground | undefined };
  using interruptible = new DisposableStack();
  try {
    const restored = newRestored(context, runtime, { id, options }, (terminal) => {
      if (makeForeground === undefined) interruptible.use(new Interruptible(context.kernel, context.interruption));
      else foreground.current = makeForeground(runtime, { terminal: terminal && !detach });
    });
    interruptible.dispose();
    return follow(runtime, restored, { foreground: foreground.current, started });
  } finally {
    foreground.current?.[Symbol.dispose]();
  }
};

/** Reads the bundle of a restore. @throws {RuncError} */
export function readRestored(
  runtime: Runtime,
  { id, options }: { readonly id: string; readonly options: Options },
): Omit<RestoreOptions, "seccomp" | "stdio" | "consoleSocket"> & { readonly spec: Spec } {
  // Relative paths are the caller's, not the bundle's.
  const criu = readCriuFlags(options);
  const bundle = enterBundle(options.bundle);
  const config = inSpan(runtime.trace, "read config.json", () => readConfig(bundle, runtime.log));
  const flags: StartFlags = { noPivot: options["no-pivot"] };
  const spec = inSpan(runtime.trace, "check config.json", () => loadSpec(runtime, config, bundle, flags));
  return {
    ...criu,
    ...flags,
    id,
    spec,
    lsmProfile: options["lsm-profile"],
    lsmMountContext: options["lsm-mount-context"],
  };
}

/** Restores the container of a command line. `prepare` is called before anything is made. @throws {RuncError} */
function newRestored(
  context: Context,
  runtime: Runtime,
  { id, options }: { readonly id: string; readonly options: Options },
  prepare: (terminal: boolean) => void,
): NewContainer {
  const pidFile = options["pid-file"] ? resolve(options["pid-file"]) : undefined;
  const wanted = readRestored(runtime, { id, options });
  const { config } = wanted.spec;
  const terminal = config.process?.terminal ?? false;
  const { detach, "console-socket": consoleSocket } = options;
  checkTerminal({ terminal, detach, consoleSocket });
  const seccomp = compileSeccomp(runtime, config);
  if (!options["no-subreaper"]) setSubreaper(runtime.kernel);
  prepare(terminal);
  const io = processIo(runtime, { terminal, detach, consoleSocket, owner: rootOwner(config) });
  try {
    const restoring = ContainerHandle.restore(runtime, {
      ...wanted,
      seccomp,
      stdio: terminal ? undefined : io.stdio,
      consoleSocket: io.consoleSocket,
      notify: Boolean(context.environment("NOTIFY_SOCKET")),
    });
    const restored = runWaits(runtime, restoring);
    io.closeTheirs();
    try {
      if (pidFile !== undefined) {
        const write = () => writePidFile(pidFile, restored.process.pid);
        runWaits(runtime, runAct(pidFileAct(pidFile), runtime, write));
      }
    } catch (error) {
      giveUp(runtime, restored);
      throw error;
    }
    return { ...restored, io, terminal };
  } catch (error) {
    io[Symbol.dispose]();
    throw error;
  }
}

/**
 * In the foreground, or as the supervisor, which tells its start by `started`: becomes the monitor, and never returns
 * then.
 */
function follow(
  runtime: Runtime,
  restored: NewContainer,
  { foreground, started }: { readonly foreground: Foreground | undefined; readonly started: Fd | undefined },
): number {
  const { container, process, io } = restored;
  using _io = io;
  using _process = process;
  const { pid, id, record } = container;
  const removal = started === undefined ? container.removal : { kind: "none" } as const;
  try {
    foreground?.run({ pid, id, removal, record, started }, io);
    return 0;
  } catch (error) {
    giveUp(runtime, restored);
    throw error;
  }
}
