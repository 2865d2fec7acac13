/**
 * `runc start`.
 *
 * @module
 */

import { OtherProcess } from "../../ffi/ending.ts";
import { runWaits } from "../../ffi/waits.ts";
import { ContainerHandle } from "../../libcontainer/container/handle.ts";
import type { NotifyProxy } from "../../libcontainer/launch/notify.ts";
import type { Command } from "../context.ts";
import { openNotifyFor } from "../notify.ts";
import { makeRuntime } from "../runtime.ts";

/** Starts a created container. With NOTIFY_SOCKET set, it returns when the container has reported READY. */
export const run: Command<"start"> = (context, { args: [id = ""] }) => {
  const runtime = makeRuntime(context);
  const container = ContainerHandle.load(runtime, id);
  const openNotify = openNotifyFor(context, runtime);
  let proxy: NotifyProxy | undefined;
  try {
    const open = () => void (proxy = openNotify?.(id));
    runWaits(runtime, container.start(open));
    if (proxy !== undefined) {
      using process = OtherProcess.find(runtime.kernel, container.pid);
      if (process !== undefined) proxy.runUntilReady({ process, mainPid: container.pid });
    }
  } finally {
    proxy?.[Symbol.dispose]();
  }
  return 0;
};
