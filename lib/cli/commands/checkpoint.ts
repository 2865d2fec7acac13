/**
 * `runc checkpoint` and `runc restore`: not supported.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import type { Command } from "../context.ts";

/**
 * Always fails.
 *
 * @throws {RuncError} `unsupported`.
 */
export const run: Command<"checkpoint" | "restore"> = (_context, { command }) => {
  throw new RuncError("unsupported", `${command} is not supported: this version does not drive CRIU`, {
    hint: "use a runtime with CRIU support to create, checkpoint and restore the container",
  });
};
