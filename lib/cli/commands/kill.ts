/**
 * `runc kill`.
 *
 * @module
 */

import { Container } from "../../libcontainer/container/container.ts";
import type { Command } from "../context.ts";
import { makeRuntime } from "../runtime.ts";
import { parseSignal } from "../signal_name.ts";

/** Sends a signal to a container's init. */
export const run: Command<"kill"> = (context, { args, options }) => {
  const [id = "", signal = "SIGTERM"] = args;
  const container = Container.load(makeRuntime(context), id);
  container.kill(parseSignal(signal), { all: options.all });
  return 0;
};
