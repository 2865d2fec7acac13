/**
 * `runc pause`.
 *
 * @module
 */

import { runWaits } from "../../ffi/waits.ts";
import { ContainerHandle } from "../../libcontainer/container/handle.ts";
import { withCgroupWarning } from "../cgroup_warning.ts";
import type { Command } from "../context.ts";
import { makeRuntime } from "../runtime.ts";

/** Freezes all processes of a container until `resume`. */
export const run: Command<"pause"> = (context, { args: [id = ""] }) => {
  const runtime = makeRuntime(context);
  const container = ContainerHandle.load(runtime, id);
  withCgroupWarning(context, "pause", () => runWaits(runtime, container.pause()));
  return 0;
};
