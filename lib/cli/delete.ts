/**
 * `runc delete`.
 *
 * @module
 */

import { RuncError } from "../errors.ts";
import type { Container } from "../libcontainer/container.ts";
import { isMissing, StateDirectory } from "../libcontainer/state_store.ts";
import type { Command } from "./context.ts";
import { loadToChange, makeRuntime } from "./runtime.ts";

/**
 * Deletes a container, and also what a killed `create` left without a state. With --force, also a container with an
 * unreadable state.
 */
export const run: Command<"delete"> = async (context, invocation) => {
  const { args: [id = ""], options: { force } } = invocation;
  let container: Container;
  try {
    ({ container } = await loadToChange(context, id));
  } catch (error) {
    if (!isMissing(error) && !isBroken(error)) throw error;
    if (!force) {
      if (isMissing(error)) new StateDirectory(context.root, id).remove();
      throw error;
    }
    const { removeRemains } = await import("../libcontainer/remains.ts");
    if (await removeRemains(makeRuntime(context), id)) return 0;
    return await run(context, invocation);
  }
  container.delete({ force });
  return 0;
};

function isBroken(error: unknown): boolean {
  return error instanceof RuncError && error.code === "state-invalid";
}
