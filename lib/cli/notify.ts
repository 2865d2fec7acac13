/**
 * sd_notify for the commands that start a container.
 *
 * @module
 */

import { NotifyProxy } from "../libcontainer/launch/notify.ts";
import type { Runtime } from "../libcontainer/runtime.ts";
import { StateDirectory } from "../libcontainer/state/store.ts";
import type { Context } from "./context.ts";

/** Opens the proxy of a container that is created with NOTIFY_SOCKET set. */
export type OpenNotify = (id: string) => NotifyProxy;

/** The function that opens the proxy; undefined if NOTIFY_SOCKET is not set. */
export function openNotifyFor(context: Context, runtime: Runtime): OpenNotify | undefined {
  const hostSocket = context.environment("NOTIFY_SOCKET");
  if (!hostSocket) return undefined;
  return (id) => {
    const { notify } = new StateDirectory(runtime.root, id);
    const { kernel, log, trace: tracer } = runtime;
    return new NotifyProxy(kernel, { directory: notify, hostSocket, log, tracer });
  };
}
