/**
 * `runc kill`.
 *
 * @module
 */

import { runWaits } from "../../ffi/waits.ts";
import { ContainerHandle } from "../../libcontainer/container/handle.ts";
import type { Command } from "../context.ts";
import { makeRuntime } from "../runtime.ts";
import { parseSignal } from "../words/signal_name.ts";

/** Sends a signal to a container's init. */
export const run: Command<"kill"> = (context, { args, options }) => {
  const [id = "", signal = "SIGTERM"] = args;
  const runtime = makeRuntime(context);
  const container = ContainerHandle.load(runtime, id);
  runWaits(runtime, container.kill(parseSignal(signal), { all: options.all }));
  return 0;
};
