/**
 * `runc create`.
 *
 * @module
 */

import type { Command } from "../context.ts";
import { Interruptible } from "../interruption.ts";
import { newContainer } from "../new_container.ts";
import { makeRuntime } from "../runtime.ts";

/** Creates a container. Its process waits for `start`. */
export const run: Command<"create"> = (context, { args: [id = ""], options }) => {
  const runtime = makeRuntime(context);
  using interruptible = new DisposableStack();
  newContainer(context, runtime, id, options, {
    detach: true,
    startBy: "fifo",
    subreaper: true,
    prepare: () => void interruptible.use(new Interruptible(context.kernel, context.interruption)),
  });
  return 0;
};
