/**
 * Which function carries a command out.
 *
 * @module
 */

import type { Command } from "./context.ts";
import { run as features } from "./features.ts";
import { run as spec } from "./spec.ts";
import type { CommandName } from "./table.ts";

/** Bodies of the commands, in the order of the table; `help` is answered before there is a context. */
export const bodies: { readonly [Name in Exclude<CommandName, "help">]?: Command<Name> } = {
  features,
  spec,
};
