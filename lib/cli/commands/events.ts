/**
 * `runc events`.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { monotonicMs } from "../../ffi/clock.ts";
import { poll, POLLIN } from "../../ffi/poll.ts";
import { runWaits } from "../../ffi/waits.ts";
import { ContainerHandle } from "../../libcontainer/container/handle.ts";
import { watchOom } from "../../libcontainer/container/oom_watch.ts";
import type { Runtime } from "../../libcontainer/runtime.ts";
import { containerStats } from "../../libcontainer/container/stats.ts";
import type { Command, Context } from "../context.ts";
import { oomLine, statsLine } from "../output/events.ts";
import { type ContainerStats, exposition } from "../output/prometheus.ts";
import { untilReaderLeaves } from "../reader.ts";
import { makeRuntime } from "../runtime.ts";
import { runningStats } from "../running_stats.ts";

/** Prints a container's statistics, once or at intervals, and its OOM events, until its cgroup is removed. */
export const run: Command<"events"> = (context, { args: [id = ""], options }) => {
  const { interval, stats, format, all } = options;
  const runtime = makeRuntime(context);
  const once = stats || format === "prometheus";
  if (all && !once) {
    throw new RuncError(
      "usage",
      "--all needs --stats or --format prometheus: events are available for one container only",
    );
  }
  const container = all ? undefined : ContainerHandle.load(runtime, id);
  if (interval <= 0) throw new RuncError("usage", "duration interval must be greater than 0");
  if (container !== undefined && runWaits(runtime, container.status()) === "stopped") {
    throw new RuncError("container-state", `container with id ${container.id} is not running`);
  }
  if (container !== undefined && !once) untilReaderLeaves(() => stream(context, runtime, container, interval));
  else if (container !== undefined) print(context, format, [{ id: container.id, stats: containerStats(container) }]);
  else print(context, format, runningStats(context, runtime));
  return 0;
};

function print(context: Context, format: "json" | "prometheus", containers: readonly ContainerStats[]): void {
  context.stdout.write(
    format === "prometheus" ? exposition(containers) : containers.map(({ id, stats }) => statsLine(id, stats)).join(""),
  );
}

/** Prints the first statistics after one interval. For all other events, the kernel wakes this process. */
function stream(context: Context, runtime: Runtime, container: ContainerHandle, intervalMs: number): void {
  if (container.rootlessCgroups) {
    context.log.warning("getting OOM notifications may fail if you don't have the full access to cgroups");
  }
  using watch = watchOom(runtime.kernel, container.cgroupPaths);
  let dueMs = monotonicMs(runtime.kernel) + intervalMs;
  while (!watch.isOver) {
    const [ready = 0] = poll(
      runtime.kernel,
      [{ fd: watch.fd, events: POLLIN }],
      Math.max(0, dueMs - monotonicMs(runtime.kernel)),
    );
    if (ready !== 0 && watch.next()) context.stdout.write(oomLine(container.id));
    if (monotonicMs(runtime.kernel) < dueMs) continue;
    printStats(context, container);
    // If printing took longer than the interval, the missed ones are skipped.
    dueMs = Math.max(dueMs + intervalMs, monotonicMs(runtime.kernel));
  }
}

/** A failure is only logged: the next attempt may succeed, and the removal of the cgroup is detected separately. */
function printStats(context: Context, container: ContainerHandle): void {
  let line: string;
  try {
    line = statsLine(container.id, containerStats(container));
  } catch (error) {
    context.log.error((error as Error).message);
    return;
  }
  context.stdout.write(line);
}
