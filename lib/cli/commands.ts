/**
 * Which function carries a command out. Each command's module is loaded when it is asked for: start-up grows with what is loaded.
 *
 * @module
 */

import type { Command } from "./context.ts";
import type { CommandName } from "./table.ts";

/** Loads the bodies of the commands, in the order of the table; `help` is answered before there is a context. */
export const bodies: {
  readonly [Name in Exclude<CommandName, "help">]: () => Promise<{ readonly run: Command<Name> }>;
} = {
  checkpoint: () => import("./commands/checkpoint.ts"),
  create: () => import("./commands/create.ts"),
  delete: () => import("./commands/delete.ts"),
  events: () => import("./commands/events.ts"),
  exec: () => import("./commands/exec.ts"),
  features: () => import("./commands/features.ts"),
  init: () => import("./commands/init.ts"),
  kill: () => import("./commands/kill.ts"),
  list: () => import("./commands/list.ts"),
  monitor: () => import("./commands/monitor.ts"),
  pause: () => import("./commands/pause.ts"),
  plan: () => import("./commands/plan.ts"),
  ps: () => import("./commands/ps.ts"),
  restore: () => import("./commands/checkpoint.ts"),
  resume: () => import("./commands/resume.ts"),
  run: () => import("./commands/run.ts"),
  spec: () => import("./commands/spec.ts"),
  start: () => import("./commands/start.ts"),
  state: () => import("./commands/state.ts"),
  top: () => import("./commands/top.ts"),
  update: () => import("./commands/update.ts"),
};
