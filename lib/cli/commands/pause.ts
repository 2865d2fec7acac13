/**
 * `runc pause`.
 *
 * @module
 */

import { Container } from "../../libcontainer/container/container.ts";
import { withCgroupWarning } from "../cgroup_warning.ts";
import type { Command } from "../context.ts";
import { makeRuntime } from "../runtime.ts";

/** Freezes all processes of a container until `resume`. */
export const run: Command<"pause"> = (context, { args: [id = ""] }) => {
  const container = Container.load(makeRuntime(context), id);
  withCgroupWarning(context, "pause", () => container.pause());
  return 0;
};
