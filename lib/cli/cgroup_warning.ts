/**
 * A warning for commands that work on cgroups.
 *
 * @module
 */

import { RuncError } from "../errors.ts";
import { Errno } from "../ffi/errno.ts";
import type { Context } from "./context.ts";

/**
 * Runs `action`. If it fails for lack of permission, a warning says that cgroups may be the reason. `command`: `pause`.
 */
export function withCgroupWarning<Result>(
  context: Pick<Context, "log">,
  command: string,
  action: () => Result,
): Result {
  try {
    return action();
  } catch (error) {
    if (error instanceof RuncError && (error.errno === Errno.EACCES || error.errno === Errno.EPERM)) {
      context.log.warning(`runc ${command} failure might be caused by lack of full access to cgroups`);
    }
    throw error;
  }
}
