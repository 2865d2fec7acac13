/**
 * `runc start`.
 *
 * @module
 */

import { pidfdOpen } from "../ffi/process.ts";
import { Container } from "../libcontainer/container.ts";
import type { NotifyProxy } from "../libcontainer/notify.ts";
import type { Command } from "./context.ts";
import { loadNotify } from "./notify.ts";
import { makeRuntime } from "./runtime.ts";

/**
 * Starts a created container. With NOTIFY_SOCKET set, returns only after the container has reported that it is ready.
 */
export const run: Command<"start"> = async (context, { args: [id = ""] }) => {
  const runtime = makeRuntime(context);
  const container = Container.load(runtime, id);
  const openNotify = await loadNotify(context, runtime);
  let proxy: NotifyProxy | undefined;
  try {
    container.start(() => {
      proxy = openNotify?.(id);
    });
    if (proxy !== undefined) {
      using pidfd = pidfdOpen(runtime.kernel, container.pid);
      if (pidfd !== undefined) proxy.runUntilReady({ pidfd, mainPid: container.pid });
    }
  } finally {
    proxy?.[Symbol.dispose]();
  }
  return 0;
};
