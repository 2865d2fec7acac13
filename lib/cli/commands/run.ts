/**
 * `runc run`.
 *
 * @module
 */

import { runWaits } from "../../ffi/waits.ts";
import type { ContainerHandle } from "../../libcontainer/container/handle.ts";
import type { Runtime } from "../../libcontainer/runtime.ts";
import type { Command } from "../context.ts";
import { type Foreground, foregroundOf, type MonitoredProcess } from "../foreground.ts";
import { Interruptible } from "../interruption.ts";
import { type NewContainer, newContainer } from "../new_container.ts";
import { type OpenNotify, openNotifyFor } from "../notify.ts";
import { makeRuntime } from "../runtime.ts";

/** Creates a container, starts it, and in the foreground waits for its end and removes it. */
export const run: Command<"run"> = (context, { args: [id = ""], options }) => {
  const { detach, keep } = options;
  const makeForeground = detach ? undefined : foregroundOf(context);
  const runtime = makeRuntime(context);
  const openNotify = openNotifyFor(context, runtime);
  const foreground = { current: undefined as Foreground | undefined };
  using interruptible = new DisposableStack();
  try {
    const created = newContainer(context, runtime, id, options, {
      detach,
      startBy: "parent",
      subreaper: !options["no-subreaper"],
      prepare: (terminal) => {
        if (detach) interruptible.use(new Interruptible(context.kernel, context.interruption));
        else foreground.current = makeForeground?.(runtime, { terminal });
      },
      // With NOTIFY_SOCKET the proxy's socket is bound later, so the monitor cannot be prepared yet.
      onProcess: (container, io) => {
        if (openNotify === undefined) foreground.current?.prepare(monitored(container, { keep }), io);
      },
    });
    return runCreated(runtime, created, {
      foreground: foreground.current,
      openNotify,
      keep,
      started: () => interruptible.dispose(),
    });
  } finally {
    foreground.current?.[Symbol.dispose]();
  }
};

function monitored({ pid, id, removal }: ContainerHandle, { keep }: { keep: boolean }): MonitoredProcess {
  return { pid, id, removal: keep ? { kind: "none" } : removal };
}

function runCreated(
  runtime: Runtime,
  { container, process, io }: NewContainer,
  options: {
    foreground: Foreground | undefined;
    openNotify: OpenNotify | undefined;
    keep: boolean;
    /** Called once the container is running: from then on, interrupting the command does not stop the container. */
    started: () => void;
  },
): number {
  using _process = process;
  using _io = io;
  const { foreground, keep } = options;
  try {
    using notify = options.openNotify?.(container.id);
    const start = () => {
      runWaits(runtime, process.start());
      runWaits(runtime, container.poststart());
    };
    if (foreground !== undefined) return foreground.run({ ...monitored(container, { keep }), notify }, io, { start });
    start();
    options.started();
    notify?.awaitReady({ process, mainPid: process.pid });
    return 0;
  } catch (error) {
    runWaits(runtime, process.abort());
    if (!keep) runWaits(runtime, container.destroy());
    throw error;
  }
}
