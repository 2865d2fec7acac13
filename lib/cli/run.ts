/**
 * `runc run`.
 *
 * @module
 */

import type { Command } from "./context.ts";
import { Foreground } from "./foreground.ts";
import { type NewContainer, newContainer } from "./new_container.ts";
import { loadNotify, type OpenNotify } from "./notify.ts";
import { makeCreatingRuntime } from "./runtime.ts";

/** Creates a container, starts it, and in the foreground waits for its end and removes it. */
export const run: Command<"run"> = async (context, { args: [id = ""], options }) => {
  const runtime = await makeCreatingRuntime(context);
  const openNotify = await loadNotify(context, runtime);
  const { detach, keep } = options;
  const foreground = { current: undefined as Foreground | undefined };
  try {
    const created = await newContainer(context, runtime, id, options, {
      detach,
      startBy: "parent",
      subreaper: !options["no-subreaper"],
      prepare: (terminal) => {
        if (!detach) foreground.current = new Foreground(runtime, { terminal });
      },
    });
    return runCreated(created, {
      foreground: foreground.current,
      openNotify,
      keep,
      subreaper: !options["no-subreaper"],
    });
  } finally {
    foreground.current?.[Symbol.dispose]();
  }
};

function runCreated(
  { container, process, io }: NewContainer,
  options: {
    foreground: Foreground | undefined;
    openNotify: OpenNotify | undefined;
    keep: boolean;
    subreaper: boolean;
  },
): number {
  using _process = process;
  using _io = io;
  let ended = false;
  try {
    using notify = options.openNotify?.(container.id);
    const start = () => {
      process.start();
      container.poststart();
    };
    if (options.foreground === undefined) {
      start();
      notify?.awaitReady({ pidfd: process.pidfd, mainPid: process.pid });
      return 0;
    }
    return options.foreground.run(process, io, {
      start,
      notify,
      reapOrphans: options.subreaper,
      // Its last output may still be on the way; what it was made of is not needed for that.
      onExit: () => {
        ended = true;
        if (!options.keep) container.destroy();
      },
    });
  } catch (error) {
    if (!ended) {
      process.abort();
      if (!options.keep) container.destroy();
    }
    throw error;
  }
}
