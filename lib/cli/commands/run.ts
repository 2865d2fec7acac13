/**
 * `runc run`.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import type { Fd } from "../../ffi/fd.ts";
import { runWaits } from "../../ffi/waits.ts";
import type { ContainerHandle } from "../../libcontainer/container/handle.ts";
import type { Runtime } from "../../libcontainer/runtime.ts";
import type { Command } from "../context.ts";
import { type Foreground, foregroundOf, type MonitoredProcess } from "../foreground.ts";
import { Interruptible } from "../interruption.ts";
import { type NewContainer, newContainer } from "../new_container.ts";
import { type OpenNotify, openNotifyFor } from "../notify.ts";
import { makeRuntime } from "../runtime.ts";
import { supervisorOf } from "../supervisor.ts";

/** Creates a container, starts it, and in the foreground waits for its end and removes it. */
export const run: Command<"run"> = (context, { args: [id = ""], options }) => {
  const { detach, supervise } = options;
  if (supervise && !detach) {
    throw new RuncError("usage", "--supervise needs --detach: a container in the foreground always has a monitor");
  }
  const started = supervisorOf(context);
  const how = { keep: options.keep || detach, started };
  const makeForeground = detach && started === undefined ? undefined : foregroundOf(context);
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
        if (makeForeground === undefined) interruptible.use(new Interruptible(context.kernel, context.interruption));
        else foreground.current = makeForeground(runtime, { terminal: terminal && !detach });
      },
      // With NOTIFY_SOCKET the proxy's socket is bound later, so the monitor cannot be prepared yet.
      onProcess: (container, io) => {
        if (openNotify === undefined) foreground.current?.prepare(monitored(container, how), io);
      },
    });
    return runCreated(runtime, created, {
      foreground: foreground.current,
      openNotify,
      keep: options.keep,
      how,
      hasStarted: () => interruptible.dispose(),
    });
  } finally {
    foreground.current?.[Symbol.dispose]();
  }
};

/** `keep`: the monitor does not remove the container. `started`: it is detached, and tells its start by this eventfd. */
interface Monitoring {
  readonly keep: boolean;
  readonly started: Fd | undefined;
}

function monitored({ pid, id, removal, record }: ContainerHandle, { keep, started }: Monitoring): MonitoredProcess {
  return { pid, id, removal: keep ? { kind: "none" } : removal, record, started };
}

function runCreated(
  runtime: Runtime,
  { container, process, io }: NewContainer,
  options: {
    foreground: Foreground | undefined;
    openNotify: OpenNotify | undefined;
    keep: boolean;
    how: Monitoring;
    /** Called once the container is running: from then on, interrupting the command does not stop the container. */
    hasStarted: () => void;
  },
): number {
  using _process = process;
  using _io = io;
  const { foreground, keep, how, hasStarted } = options;
  try {
    using notify = options.openNotify?.(container.id);
    const start = () => {
      runWaits(runtime, process.start());
      runWaits(runtime, container.poststart());
    };
    if (foreground !== undefined && how.started === undefined) {
      return foreground.run({ ...monitored(container, how), notify }, io, { start });
    }
    const startDetached = () => {
      start();
      hasStarted();
      notify?.awaitReady({ process, mainPid: process.pid });
    };
    if (foreground !== undefined) return foreground.run(monitored(container, how), io, { start: startDetached });
    startDetached();
    return 0;
  } catch (error) {
    runWaits(runtime, process.abort());
    if (!keep) runWaits(runtime, container.destroy());
    throw error;
  }
}
