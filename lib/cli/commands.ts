/**
 * Which function carries a command out.
 *
 * @module
 */

import type { Command } from "./context.ts";
import { run as create } from "./create.ts";
import { run as delete_ } from "./delete.ts";
import { run as exec } from "./exec.ts";
import { run as features } from "./features.ts";
import { run as init } from "./init.ts";
import { run as kill } from "./kill.ts";
import { run as list } from "./list.ts";
import { run as pause } from "./pause.ts";
import { run as plan } from "./plan.ts";
import { run as ps } from "./ps.ts";
import { run as resume } from "./resume.ts";
import { run as run_ } from "./run.ts";
import { run as spec } from "./spec.ts";
import { run as start } from "./start.ts";
import { run as state } from "./state.ts";
import type { CommandName } from "./table.ts";

/** A command that few callers use in a place where milliseconds count: loaded when it is called. */
function lazy<Name extends CommandName>(load: () => Promise<{ readonly run: Command<Name> }>): Command<Name> {
  return async (context, invocation) => (await load()).run(context, invocation);
}

/** Bodies of the commands, in the order of the table; `help` is answered before there is a context. */
export const bodies: { readonly [Name in Exclude<CommandName, "help">]: Command<Name> } = {
  create,
  delete: delete_,
  events: lazy(() => import("./events.ts")),
  exec,
  features,
  init,
  kill,
  list,
  pause,
  plan,
  ps,
  resume,
  run: run_,
  spec,
  start,
  state,
  top: lazy(() => import("./top.ts")),
  update: lazy(() => import("./update.ts")),
};
