/**
 * Statistics of all containers with processes.
 *
 * @module
 */

import { runWaits } from "../ffi/waits.ts";
import { ContainerHandle } from "../libcontainer/container/handle.ts";
import type { Runtime } from "../libcontainer/runtime.ts";
import { containerStats } from "../libcontainer/container/stats.ts";
import type { Status } from "../specs/state.ts";
import type { Context } from "./context.ts";
import type { ContainerStats } from "./output/prometheus.ts";

/** A container with its state and its statistics. */
export interface RunningContainer extends ContainerStats {
  readonly status: Status;
}

/**
 * Every container that is not stopped. One that cannot be read, because it may just have ended, is logged at debug
 * level.
 */
export function runningStats(context: Context, runtime: Runtime): readonly RunningContainer[] {
  return idsBelow(runtime).flatMap((id) => {
    try {
      const container = ContainerHandle.load(runtime, id);
      const status = runWaits(runtime, container.status());
      return status === "stopped" ? [] : [{ id, status, stats: containerStats(container) }];
    } catch (error) {
      context.log.debug(`container ${id}: ${(error as Error).message}`);
      return [];
    }
  });
}

/** The ids in the state directory, which is created with the first container. */
function idsBelow(runtime: Runtime): readonly string[] {
  try {
    return ContainerHandle.ids(runtime);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}
