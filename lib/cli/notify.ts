/**
 * sd_notify for the commands that start a container.
 *
 * @module
 */

import type { NotifyProxy } from "../libcontainer/notify.ts";
import type { Runtime } from "../libcontainer/runtime.ts";
import { StateDirectory } from "../libcontainer/state_store.ts";
import type { Context } from "./context.ts";

/** Opens the proxy of a container that is created with NOTIFY_SOCKET set. */
export type OpenNotify = (id: string) => NotifyProxy;

/** Loads the proxy's code. Undefined if NOTIFY_SOCKET is not set now. */
export async function loadNotify(context: Context, runtime: Runtime): Promise<OpenNotify | undefined> {
  const hostSocket = context.environment("NOTIFY_SOCKET");
  if (!hostSocket) return undefined;
  const { NotifyProxy } = await import("../libcontainer/notify.ts");
  return (id) => {
    const { notify } = new StateDirectory(runtime.root, id);
    const { kernel, log, trace: tracer } = runtime;
    return new NotifyProxy(kernel, { directory: notify, hostSocket, log, tracer });
  };
}
