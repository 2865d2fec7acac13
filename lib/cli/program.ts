/**
 * The program from its arguments to its exit status: parse, make a context, run the command, report what failed.
 *
 * Exit status: that of the command; 1 for an error, 255 for one in `exec`, 3 for an unknown command.
 *
 * @module
 */

import type { RuncError } from "../errors.ts";
import { bodies } from "./commands.ts";
import { type Command, type Context, createContext, createLogger } from "./context.ts";
import { commandHelp, programHelp } from "./help.ts";
import { errorFields, formatPlain, Logger, stderrTarget, writeAll, writeStderr } from "./log.ts";
import { type Complaint, type Environment, type Invocation, parse } from "./parse.ts";
import { toRuncError } from "./system_error.ts";
import { type CommandName, specOf } from "./table.ts";
import { versionText } from "./version.ts";

/** Carries out a command line (the words after the program's name) and returns the exit status. */
export async function main(words: readonly string[], environment: Environment): Promise<number> {
  try {
    const parsed = parse(words, environment);
    switch (parsed.kind) {
      case "help":
        return print(helpOn(parsed.topic));
      case "version":
        return print(versionText());
      case "complaint":
        return complain(parsed);
      case "command":
        return await execute(parsed, environment);
    }
  } catch (error) {
    return report(error, new Logger(stderrTarget(), { format: "text", debug: false }));
  }
}

function print(text: string): 0 {
  writeAll(Deno.stdout, text);
  return 0;
}

function helpOn(topic: CommandName | undefined): string {
  return topic === undefined ? programHelp() : commandHelp(topic);
}

function complain({ heading, message, status, topic, global }: Complaint): number {
  if (heading !== undefined) {
    const text = helpOn(topic);
    if (heading.to === "stderr") writeStderr(heading.text);
    print(heading.to === "stdout" ? heading.text + text : text);
  }
  const log = createLogger(global);
  log.error(message, { code: "usage" });
  if (!log.isStderr) writeStderr(`${message}\n`);
  return status;
}

async function execute(invocation: Invocation, environment: Environment): Promise<number> {
  const log = createLogger(invocation.global);
  let context: Context;
  try {
    context = createContext(invocation, environment, log);
  } catch (error) {
    return report(error, log);
  }
  const { errorPrefix, errorStatus } = specOf(invocation.command);
  try {
    const body = await load(invocation.command);
    return await body(context, invocation);
  } catch (error) {
    const known = toRuncError(error);
    return report(errorPrefix === undefined ? known : known.within(errorPrefix), log, errorStatus);
  }
}

async function load(name: CommandName): Promise<Command<CommandName>> {
  // Each takes the invocation of its own name, which is what it is given here.
  const loaders = bodies as Readonly<Record<CommandName, () => Promise<{ readonly run: Command<CommandName> }>>>;
  return (await loaders[name]()).run;
}

/** Logs the error once; also says it on standard error where the log goes elsewhere. Returns the exit status. */
function report(error: unknown, log: Logger, status = 1): number {
  const known = toRuncError(error);
  if (log.isDebug) log.debug(causes(known));
  log.error(known.message, errorFields(known));
  if (!log.isStderr) writeStderr(formatPlain(known));
  return status;
}

/** The stacks of an error and of what caused it. */
function causes(error: RuncError): string {
  const stacks: string[] = [];
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    stacks.push(cause.stack ?? cause.message);
  }
  return stacks.join("\ncaused by: ");
}
