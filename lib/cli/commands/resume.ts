/**
 * `runc resume`.
 *
 * @module
 */

import { Container } from "../../libcontainer/container/container.ts";
import { withCgroupWarning } from "../cgroup_warning.ts";
import type { Command } from "../context.ts";
import { makeRuntime } from "../runtime.ts";

/** Thaws the processes of a paused container. */
export const run: Command<"resume"> = (context, { args: [id = ""] }) => {
  const container = Container.load(makeRuntime(context), id);
  withCgroupWarning(context, "resume", () => container.resume());
  return 0;
};
