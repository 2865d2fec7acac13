/**
 * `runc wait`.
 *
 * @module
 */

import { runWaits } from "../../ffi/waits.ts";
import { ContainerHandle } from "../../libcontainer/container/handle.ts";
import type { Command } from "../context.ts";
import { exitJson, exitStatus, exitText } from "../output/exit.ts";
import { makeRuntime } from "../runtime.ts";

/** Waits until a container's first process has ended, prints how, and exits with its status. */
export const run: Command<"wait"> = (context, { args: [id = ""], options: { timeout, format } }) => {
  const runtime = makeRuntime(context);
  const exit = runWaits(runtime, ContainerHandle.load(runtime, id).awaitExit(timeout));
  context.stdout.write(format === "json" ? exitJson(id, exit) : exitText(exit));
  return exitStatus(exit);
};
