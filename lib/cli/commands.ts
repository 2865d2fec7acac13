/**
 * The function of each command. A command's module is loaded on demand: start-up time grows with the amount of code
 * loaded.
 *
 * @module
 */

import type { Command } from "./context.ts";
import type { CommandName } from "./table.ts";

/** Loads the commands' functions, in the order of the table. `help` needs no context and is not among them. */
export const bodies: {
  readonly [Name in Exclude<CommandName, "help">]: () => Promise<{ readonly run: Command<Name> }>;
} = {
  checkpoint: () => import("./checkpoint.ts"),
  create: () => import("./create.ts"),
  delete: () => import("./delete.ts"),
  events: () => import("./events.ts"),
  exec: () => import("./exec.ts"),
  features: () => import("./features.ts"),
  init: () => import("./init.ts"),
  kill: () => import("./kill.ts"),
  list: () => import("./list.ts"),
  monitor: () => import("./monitor.ts"),
  pause: () => import("./pause.ts"),
  plan: () => import("./plan.ts"),
  ps: () => import("./ps.ts"),
  restore: () => import("./checkpoint.ts"),
  resume: () => import("./resume.ts"),
  run: () => import("./run.ts"),
  spec: () => import("./spec.ts"),
  start: () => import("./start.ts"),
  state: () => import("./state.ts"),
  top: () => import("./top.ts"),
  update: () => import("./update.ts"),
};
