/**
 * `runc checkpoint`.
 *
 * @module
 */

import { runWaits } from "../../ffi/waits.ts";
import { ContainerHandle } from "../../libcontainer/container/handle.ts";
import { readCheckpointFlags, warnOfRootless } from "../criu/checkpoint_options.ts";
import type { Command } from "../context.ts";
import { Interruptible } from "../interruption.ts";
import { makeRuntime } from "../runtime.ts";

/** Saves the processes of a container to files, and removes it unless it has to go on. */
export const run: Command<"checkpoint"> = (context, { args: [id = ""], options }) => {
  warnOfRootless(context);
  const runtime = makeRuntime(context);
  const container = ContainerHandle.load(runtime, id);
  const flags = readCheckpointFlags(options);
  using _interruptible = new Interruptible(context.kernel, context.interruption);
  runWaits(runtime, container.checkpoint(flags));
  return 0;
};
