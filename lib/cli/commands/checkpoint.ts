/**
 * `runc checkpoint`.
 *
 * @module
 */

import { runWaits } from "../../ffi/waits.ts";
import { checkpointContainer, requireProcesses } from "../../libcontainer/container/criu/checkpointing.ts";
import { ContainerHandle } from "../../libcontainer/container/handle.ts";
import { checkParentPath, parsePageServer, readCriuFlags, warnOfRootless } from "../criu/checkpoint_options.ts";
import type { Command } from "../context.ts";
import { Interruptible } from "../interruption.ts";
import { makeRuntime } from "../runtime.ts";

/** Saves the processes of a container to files, and removes it unless it has to go on. */
export const run: Command<"checkpoint"> = (context, { args: [id = ""], options }) => {
  warnOfRootless(context);
  const runtime = makeRuntime(context);
  // Like runc, it makes no directory for a container that cannot be saved.
  runWaits(runtime, requireProcesses(ContainerHandle.load(runtime, id)));
  const shared = readCriuFlags(options);
  const statusFd = options["status-fd"];
  using _interruptible = new Interruptible(context.kernel, context.interruption);
  checkpointContainer(runtime, id, {
    ...shared,
    parentPath: checkParentPath(shared.imagePath, options["parent-path"]),
    leaveRunning: options["leave-running"],
    tcpSkipInFlight: options["tcp-skip-in-flight"],
    linkRemap: options["link-remap"],
    preDump: options["pre-dump"],
    pageServer: parsePageServer(options["page-server"]),
    statusFd: statusFd === -1 ? undefined : statusFd,
  });
  return 0;
};
