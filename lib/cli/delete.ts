/**
 * `runc delete`.
 *
 * @module
 */

import { RuncError } from "../errors.ts";
import type { Container } from "../libcontainer/container.ts";
import { StateDirectory } from "../libcontainer/state_store.ts";
import type { Command } from "./context.ts";
import { loadToChange } from "./runtime.ts";

/** Removes a container; what a killed `create` left without a state, too. */
export const run: Command<"delete"> = async (context, { args, options }) => {
  const [id = ""] = args;
  let container: Container;
  try {
    ({ container } = await loadToChange(context, id));
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
