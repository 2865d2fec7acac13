/**
 * `runc state`.
 *
 * @module
 */

import { runWaits } from "../../ffi/waits.ts";
import { ContainerHandle } from "../../libcontainer/container/handle.ts";
import { formatState } from "../../libcontainer/state/state_text.ts";
import type { Command } from "../context.ts";
import { makeRuntime } from "../runtime.ts";

/** Prints a container's state as JSON. */
export const run: Command<"state"> = (context, { args: [id = ""] }) => {
  const runtime = makeRuntime(context);
  context.stdout.write(formatState(runWaits(runtime, ContainerHandle.load(runtime, id).state())));
  return 0;
};
