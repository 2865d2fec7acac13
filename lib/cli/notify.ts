/**
 * sd_notify for the commands that start a container.
 *
 * @module
 */

import { NotifyProxy } from "../libcontainer/notify.ts";
import type { Runtime } from "../libcontainer/runtime.ts";
import { StateDirectory } from "../libcontainer/state_store.ts";
import type { Context } from "./context.ts";

/** The proxy of a container that was created with NOTIFY_SOCKET set; undefined where it is not set now. */
export function notifyProxy(context: Context, runtime: Runtime, id: string): NotifyProxy | undefined {
  const hostSocket = context.environment("NOTIFY_SOCKET");
  if (!hostSocket) return undefined;
  const { notify } = new StateDirectory(runtime.root, id);
  return new NotifyProxy(runtime.kernel, { directory: notify, hostSocket, log: runtime.log });
}
