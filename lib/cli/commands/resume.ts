/**
 * `runc resume`.
 *
 * @module
 */

import { runWaits } from "../../ffi/waits.ts";
import { ContainerHandle } from "../../libcontainer/container/handle.ts";
import { withCgroupWarning } from "../cgroup_warning.ts";
import type { Command } from "../context.ts";
import { makeRuntime } from "../runtime.ts";

/** Thaws the processes of a paused container. */
export const run: Command<"resume"> = (context, { args: [id = ""] }) => {
  const runtime = makeRuntime(context);
  const container = ContainerHandle.load(runtime, id);
  withCgroupWarning(context, "resume", () => runWaits(runtime, container.resume()));
  return 0;
};
