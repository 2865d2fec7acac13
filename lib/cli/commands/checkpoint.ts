/**
 * `runc checkpoint` and `runc restore`: refused with the reason.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import type { Command } from "../context.ts";

/**
 * Does nothing but refuse.
 *
 * @throws {RuncError} `unsupported`, always.
 */
export const run: Command<"checkpoint" | "restore"> = (_context, { command }) => {
  throw new RuncError("unsupported", `${command} is not supported: this version does not drive CRIU`, {
    hint: "a runtime that was built with CRIU support checkpoints and restores its own containers",
  });
};
