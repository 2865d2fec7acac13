/**
 * `runc delete`.
 *
 * @module
 */

import type { Container } from "../libcontainer/container.ts";
import { isMissing, StateDirectory } from "../libcontainer/state_store.ts";
import type { Command } from "./context.ts";
import { loadToChange } from "./runtime.ts";

/** Removes a container; what a killed `create` left without a state, too. */
export const run: Command<"delete"> = async (context, { args, options }) => {
  const [id = ""] = args;
  let container: Container;
  try {
    ({ container } = await loadToChange(context, id));
  } catch (error) {
    if (!isMissing(error)) throw error;
    const directory = new StateDirectory(context.root, id);
    directory.remove();
    if (options.force) return 0;
    throw error;
  }
  container.delete({ force: options.force });
  return 0;
};
