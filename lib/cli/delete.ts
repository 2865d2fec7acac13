/**
 * `runc delete`.
 *
 * @module
 */

import { RuncError } from "../errors.ts";
import { Container } from "../libcontainer/container.ts";
import { StateDirectory } from "../libcontainer/state_store.ts";
import type { Command } from "./context.ts";
import { makeRuntime } from "./runtime.ts";

/** Removes a container; what a killed `create` left without a state, too. */
export const run: Command<"delete"> = (context, { args, options }) => {
  const [id = ""] = args;
  let container: Container;
  try {
    container = Container.load(makeRuntime(context), id);
  } catch (error) {
    if (!(error instanceof RuncError) || error.code !== "container-missing") throw error;
    const directory = new StateDirectory(context.root, id);
    directory.remove();
    if (options.force) return 0;
    throw error;
  }
  container.delete({ force: options.force });
  return 0;
};
