/**
 * `runc run`.
 *
 * @module
 */

import type { Command } from "./context.ts";
import type { Foreground } from "./foreground.ts";
import { type NewContainer, newContainer } from "./new_container.ts";
import { loadNotify, type OpenNotify } from "./notify.ts";
import { makeCreatingRuntime } from "./runtime.ts";

/** Creates a container, starts it, and in the foreground waits for its end and removes it. */
export const run: Command<"run"> = async (context, { args: [id = ""], options }) => {
  const { detach, keep } = options;
  const makeForeground = detach ? undefined : (await import("./foreground.ts")).foregroundOf(context);
  const runtime = await makeCreatingRuntime(context);
  const openNotify = await loadNotify(context, runtime);
  const foreground = { current: undefined as Foreground | undefined };
  try {
    const created = await newContainer(context, runtime, id, options, {
      detach,
      startBy: "parent",
      subreaper: !options["no-subreaper"],
      prepare: (terminal) => void (foreground.current = makeForeground?.(runtime, { terminal })),
    });
    return runCreated(created, { foreground: foreground.current, openNotify, keep });
  } finally {
    foreground.current?.[Symbol.dispose]();
  }
};

function runCreated(
  { container, process, io }: NewContainer,
  options: { foreground: Foreground | undefined; openNotify: OpenNotify | undefined; keep: boolean },
): number {
  using _process = process;
  using _io = io;
  const { foreground, keep } = options;
  try {
    using notify = options.openNotify?.(container.id);
    const start = () => {
      process.start();
      container.poststart();
    };
    if (foreground !== undefined) {
      const removal = keep ? { kind: "none" } as const : container.removal;
      return foreground.run(process, io, { id: container.id, start, notify, removal });
    }
    start();
    notify?.awaitReady({ pidfd: process.pidfd, mainPid: process.pid });
    return 0;
  } catch (error) {
    process.abort();
    if (!keep) container.destroy();
    throw error;
  }
}
