/**
 * `runc state`.
 *
 * @module
 */

import { Container } from "../../libcontainer/container/container.ts";
import type { Command } from "../context.ts";
import { formatState } from "../output/state.ts";
import { makeRuntime } from "../runtime.ts";

/** Prints a container's state as JSON. */
export const run: Command<"state"> = (context, { args: [id = ""] }) => {
  context.stdout.write(formatState(Container.load(makeRuntime(context), id).state()));
  return 0;
};
