/**
 * Checkpoint of a container: its processes are saved by CRIU, and then it is removed or goes on. Runs in: parent.
 *
 * @module
 */

import { RuncError } from "../../../errors.ts";
import { runWaits, type Waits } from "../../../ffi/waits.ts";
import { inSpanWaits } from "../../../trace/tracer.ts";
import { dump } from "../../checkpoint/dump.ts";
import type { CheckpointOptions } from "../../checkpoint/options.ts";
import type { Runtime } from "../../runtime.ts";
import { missingContainer, StateDirectory } from "../../state/store.ts";
import { loadCgroup } from "../container_cgroups.ts";
import { ContainerHandle } from "../handle.ts";

/**
 * Saves the processes of the container `id` into image files. Then the container is removed, unless `leaveRunning` or
 * `preDump` is set. After a failure it runs as before.
 *
 * @throws {RuncError} `container-state` unless it is running or paused; `host-lacks` without a CRIU that can do it;
 * `checkpoint-failed` with what CRIU said.
 */
export function checkpointContainer(runtime: Runtime, id: string, options: CheckpointOptions): void {
  const work = () => checkpointing(runtime, id, options);
  runWaits(runtime, inSpanWaits(runtime.trace, "save the container's processes", work, { kind: "client" }));
}

/** @throws {RuncError} `container-state` unless the container is running or paused. */
export function* requireProcesses(container: ContainerHandle): Waits<void> {
  const status = yield* container.status();
  if (status === "running" || status === "paused") return;
  throw new RuncError("container-state", `Container cannot be checkpointed in ${status} state`);
}

/** The work of {@link checkpointContainer}, for any driver of waits. */
export function* checkpointing(runtime: Runtime, id: string, options: CheckpointOptions): Waits<void> {
  const directory = new StateDirectory(runtime.root, id);
  using lock = yield* directory.lock(runtime.kernel);
  if (lock === undefined) throw missingContainer();
  const container = ContainerHandle.load(runtime, id);
  yield* requireProcesses(container);
  const state = directory.load(runtime.kernel);
  const cgroup = loadCgroup(runtime, state);
  // Waiting for the last page may take for ever, and `delete --force` must be able to give it up.
  yield* dump(runtime, { state, cgroup, directory, onReady: () => lock.close() }, options);
  lock.close();
  if (options.leaveRunning || options.preDump) return;
  try {
    yield* container.destroy();
  } catch (error) {
    // The checkpoint is complete.
    if (!(error instanceof RuncError)) throw error;
    runtime.log("warning", error.message);
  }
}
