/**
 * Shared by `create` and `run`: from the command line to a created container.
 *
 * @module
 */

import { resolve } from "../std/path.ts";
import { loadSpec, readConfig } from "../libcontainer/container/bundle.ts";
import { runWaits } from "../ffi/waits.ts";
import type { ProcessHandle } from "../libcontainer/container/container_process.ts";
import { ContainerHandle } from "../libcontainer/container/handle.ts";
import { runAct } from "../libcontainer/launch/run_acts.ts";
import { pidFileAct } from "../libcontainer/plans/parent/create.ts";
import type { StartFlags } from "../libcontainer/config/launch_request.ts";
import { rootOwner } from "../libcontainer/config/id_mappings.ts";
import { setCloseOnExec } from "../ffi/files.ts";
import type { Kernel } from "../ffi/kernel.ts";
import { setSubreaper } from "../ffi/process/process.ts";
import type { Runtime } from "../libcontainer/runtime.ts";
import { filterFor } from "./audit/auditor.ts";
import { enterBundle } from "./bundle_directory.ts";
import { inSpan } from "../trace/tracer.ts";
import type { Context } from "./context.ts";
import type { createOptions, OptionValues } from "./table.ts";
import { calledProcess } from "./supervisor.ts";
import {
  checkTerminal,
  type Inherited,
  inheritedDescriptors,
  pidfdSocket,
  type ProcessIo,
  processIo,
  writePidFile,
} from "./process_io.ts";

/** The options of both commands. */
export type NewContainerOptions = OptionValues<typeof createOptions>;

/** A container that has just been created, with our ends of its descriptors. */
export interface NewContainer {
  readonly container: ContainerHandle;
  readonly process: ProcessHandle;
  readonly io: ProcessIo;
  readonly terminal: boolean;
}

function keepFromSupervisor(kernel: Kernel, { inheritedFds }: Inherited): void {
  for (let fd = 3; fd < 3 + inheritedFds; fd++) setCloseOnExec(kernel, fd, true);
}

/** Removes what exists of a container after a failure. */
export function giveUp(runtime: Runtime, { container, process }: Pick<NewContainer, "container" | "process">): void {
  runWaits(runtime, process.abort());
  process[Symbol.dispose]();
  runWaits(runtime, container.destroy());
}

/**
 * Creates the container of a command line; its process waits to be started. `prepare` runs before that. @throws
 * {RuncError} after removing everything.
 */
export function newContainer(
  context: Context,
  runtime: Runtime,
  id: string,
  options: NewContainerOptions,
  how: {
    detach: boolean;
    startBy: "fifo" | "parent";
    subreaper: boolean;
    prepare?: (terminal: boolean) => void;
    onProcess?: (container: ContainerHandle, io: ProcessIo) => void;
  },
): NewContainer {
  const pidFile = options["pid-file"] ? resolve(options["pid-file"]) : undefined;
  const bundle = enterBundle(options.bundle);
  const { kernel, trace } = runtime;
  const config = inSpan(trace, "read config.json", () => readConfig(bundle, runtime.log));
  const flags: StartFlags = { noPivot: options["no-pivot"], noNewKeyring: options["no-new-keyring"] };
  const spec = inSpan(trace, "check config.json", () => loadSpec(runtime, config, bundle, flags));
  const terminal = config.process?.terminal ?? false;
  checkTerminal({ terminal, detach: how.detach, consoleSocket: options["console-socket"] });
  const seccomp = filterFor(context, runtime, config);
  const inherited = inheritedDescriptors(kernel, options["preserve-fds"], context.environment, calledProcess(context));
  if (how.subreaper) setSubreaper(kernel);
  how.prepare?.(terminal);
  const streams = {
    terminal,
    detach: how.detach,
    consoleSocket: options["console-socket"],
    owner: rootOwner(spec.config),
  };
  const io = inSpan(trace, "open the standard streams", () => processIo(runtime, streams));
  try {
    using pidfd = pidfdSocket(runtime, options["pidfd-socket"]);
    const creating = ContainerHandle.create(runtime, {
      id,
      spec,
      ...flags,
      startBy: how.startBy,
      seccomp,
      notify: Boolean(context.environment("NOTIFY_SOCKET")),
      stdio: io.stdio,
      consoleSocket: io.consoleSocket,
      pidfdSocket: pidfd,
      onProcess: (container) => how.onProcess?.(container, io),
      ...inherited,
    });
    const created = runWaits(runtime, creating);
    io.closeTheirs();
    // A supervisor must not keep the sockets of its container open.
    if (context.global.supervisor !== undefined) keepFromSupervisor(kernel, inherited);
    try {
      if (pidFile !== undefined) {
        const write = () => writePidFile(pidFile, created.process.pid);
        runWaits(runtime, runAct(pidFileAct(pidFile), runtime, write));
      }
    } catch (error) {
      giveUp(runtime, created);
      throw error;
    }
    return { ...created, io, terminal };
  } catch (error) {
    io[Symbol.dispose]();
    throw error;
  }
}
