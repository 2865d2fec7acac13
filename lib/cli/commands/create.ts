/**
 * `runc create`.
 *
 * @module
 */

import type { Command } from "../context.ts";
import type { Fd } from "../../ffi/fd.ts";
import type { Runtime } from "../../libcontainer/runtime.ts";
import { type Foreground, foregroundOf } from "../foreground.ts";
import { Interruptible } from "../interruption.ts";
import { giveUp, type NewContainer, newContainer } from "../new_container.ts";
import { makeRuntime } from "../runtime.ts";
import { supervisorOf } from "../supervisor.ts";

/** Creates a container. Its process waits for `start`. */
export const run: Command<"create"> = (context, { args: [id = ""], options }) => {
  const supervisor = supervisorOf(context);
  const makeForeground = supervisor === undefined ? undefined : foregroundOf(context);
  const runtime = makeRuntime(context);
  using interruptible = new DisposableStack();
  let foreground: Foreground | undefined;
  const created = newContainer(context, runtime, id, options, {
    detach: true,
    startBy: "fifo",
    subreaper: true,
    prepare: () => {
      foreground = makeForeground?.(runtime, { terminal: false });
      interruptible.use(foreground ?? new Interruptible(context.kernel, context.interruption));
    },
  });
  if (foreground !== undefined) supervise(runtime, created, { foreground, started: supervisor });
  return 0;
};

/** Becomes the monitor of a container that waits for `start`. @throws {RuncError} after removing it. */
function supervise(
  runtime: Runtime,
  created: NewContainer,
  { foreground, started }: { readonly foreground: Foreground; readonly started: Fd | undefined },
): never {
  const { pid, id, record } = created.container;
  try {
    return foreground.run({ pid, id, record, started, removal: { kind: "none" } }, created.io);
  } catch (error) {
    giveUp(runtime, created);
    throw error;
  }
}
