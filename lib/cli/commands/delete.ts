/**
 * `runc delete`.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { runWaits } from "../../ffi/waits.ts";
import { ContainerHandle } from "../../libcontainer/container/handle.ts";
import { removeRemains, removeStateless } from "../../libcontainer/container/remains.ts";
import { isMissing } from "../../libcontainer/state/store.ts";
import type { Command } from "../context.ts";
import { makeRuntime } from "../runtime.ts";

/**
 * Deletes a container, and also what a killed `create` left without a state. With --force, also a container with an
 * unreadable state.
 */
export const run: Command<"delete"> = (context, invocation) => {
  const { args: [id = ""], options: { force } } = invocation;
  const runtime = makeRuntime(context);
  let container: ContainerHandle;
  try {
    container = ContainerHandle.load(runtime, id);
  } catch (error) {
    if (!isMissing(error) && !isBroken(error)) throw error;
    if (!force) {
      if (isMissing(error) && !removeStateless(runtime, id)) return run(context, invocation);
      throw error;
    }
    return runWaits(runtime, removeRemains(runtime, id)) ? 0 : run(context, invocation);
  }
  runWaits(runtime, container.delete({ force }));
  return 0;
};

function isBroken(error: unknown): boolean {
  return error instanceof RuncError && error.code === "state-invalid";
}
