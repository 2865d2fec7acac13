/**
 * Which function carries a command out.
 *
 * @module
 */

import { run as checkCommand } from "./commands/check.ts";
import { run as checkpointCommand } from "./commands/checkpoint.ts";
import { run as createCommand } from "./commands/create.ts";
import { run as deleteCommand } from "./commands/delete.ts";
import { run as debugCommand } from "./commands/diagnosis/debug.ts";
import { run as doctorCommand } from "./commands/doctor.ts";
import { run as eventsCommand } from "./commands/events.ts";
import { run as execCommand } from "./commands/exec.ts";
import { run as featuresCommand } from "./commands/features.ts";
import { run as hooksCommand } from "./commands/diagnosis/hooks.ts";
import { run as initCommand } from "./commands/init.ts";
import { run as inspectCommand } from "./commands/diagnosis/inspect.ts";
import { run as killCommand } from "./commands/kill.ts";
import { run as listCommand } from "./commands/list.ts";
import { run as monitorCommand } from "./commands/monitor.ts";
import { run as pauseCommand } from "./commands/pause.ts";
import { run as planCommand } from "./commands/plan.ts";
import { run as psCommand } from "./commands/ps.ts";
import { run as restoreCommand } from "./commands/restore.ts";
import { run as resumeCommand } from "./commands/resume.ts";
import { run as runCommand } from "./commands/run.ts";
import { run as seccompCommand } from "./commands/diagnosis/seccomp.ts";
import { run as specCommand } from "./commands/spec.ts";
import { run as startCommand } from "./commands/start.ts";
import { run as stateCommand } from "./commands/state.ts";
import { run as topCommand } from "./commands/top.ts";
import { run as updateCommand } from "./commands/update.ts";
import { run as waitCommand } from "./commands/wait.ts";
import type { Command } from "./context.ts";
import type { CommandName } from "./table.ts";

/** The bodies of the commands, in the order of the table; `help` is answered before there is a context. */
export const bodies: { readonly [Name in Exclude<CommandName, "help">]: Command<Name> } = {
  check: checkCommand,
  checkpoint: checkpointCommand,
  create: createCommand,
  debug: debugCommand,
  delete: deleteCommand,
  doctor: doctorCommand,
  events: eventsCommand,
  exec: execCommand,
  features: featuresCommand,
  hooks: hooksCommand,
  init: initCommand,
  inspect: inspectCommand,
  kill: killCommand,
  list: listCommand,
  monitor: monitorCommand,
  pause: pauseCommand,
  plan: planCommand,
  ps: psCommand,
  restore: restoreCommand,
  resume: resumeCommand,
  run: runCommand,
  seccomp: seccompCommand,
  spec: specCommand,
  start: startCommand,
  state: stateCommand,
  top: topCommand,
  update: updateCommand,
  wait: waitCommand,
};
