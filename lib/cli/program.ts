/**
 * The program from arguments to exit status: parses, creates the context, runs the command and reports failures.
 *
 * Exit status: the command's; 1 for an error, 255 for an error in `exec`, 3 for an unknown command.
 *
 * @module
 */

import { errorFields, type RuncError } from "../errors.ts";
import { audit, isAudited } from "./audit/auditor.ts";
import { bodies } from "./commands.ts";
import { type Command, type Context, createContext, createLogger } from "./context.ts";
import { commandHelp, programHelp } from "./help.ts";
import { formatPlain, Logger, stderrTarget } from "./log.ts";
import { type Invocation, parse, type ParseError } from "./parse.ts";
import { isReaderGone, READER_GONE } from "./reader.ts";
import type { Host } from "./host.ts";
import { delegate, isDelegated } from "./supervisor.ts";
import { toRuncError } from "./system_error.ts";
import { type CommandName, specOf } from "./table.ts";
import { traced } from "./trace.ts";
import { withWayAround } from "./way_around.ts";
import { versionText } from "./commands/version.ts";

/** Runs a command line (the words after the program's name) and returns the exit status. */
export function main(words: readonly string[], host: Host): number {
  const { stdout, stderr } = host;
  try {
    const parsed = parse(words, host.environment);
    switch (parsed.kind) {
      case "help":
        stdout.write(helpOn(parsed.topic));
        return 0;
      case "version":
        stdout.write(versionText(host.programKind()));
        return 0;
      case "error":
        return reportParseError(parsed, host);
      case "command":
        return execute(parsed, { ...host, words });
    }
  } catch (error) {
    return report(error, new Logger(stderrTarget(stderr), { format: "text", debug: false }), host);
  }
}

function helpOn(topic: CommandName | undefined): string {
  return topic === undefined ? programHelp() : commandHelp(topic);
}

function reportParseError({ heading, message, status, topic, global }: ParseError, host: Host): number {
  const { stdout, stderr } = host;
  if (heading !== undefined) stdout.write(heading + helpOn(topic));
  const log = createLogger(global, host);
  log.error(message, { code: "usage" });
  if (!log.isStderr) stderr.tryWrite(`${message}\n`);
  return status;
}

function execute(
  invocation: Invocation,
  host: Host & { readonly words: readonly string[] },
): number {
  const log = createLogger(invocation.global, host);
  let context: Context;
  try {
    context = createContext(invocation, host, log);
  } catch (error) {
    return report(error, log, host);
  }
  const { errorPrefix, errorStatus } = specOf(invocation.command);
  try {
    return carryOut(context, invocation);
  } catch (error) {
    const known = toRuncError(error);
    return report(errorPrefix === undefined ? known : known.within(errorPrefix), log, host, errorStatus);
  }
}

function carryOut(context: Context, invocation: Invocation): number {
  // Each command function takes the invocation of its own name.
  const run = (bodies as Readonly<Record<CommandName, Command<CommandName>>>)[invocation.command];
  if (isAudited(invocation)) return audit(context, invocation);
  // It writes the trace too.
  if (isDelegated(invocation)) return delegate(context, invocation);
  const body = (context: Context) => run(context, invocation);
  return context.global.trace ? traced(context, invocation, body) : body(context);
}

/** Logs the error once, and also prints it on stderr if the log goes elsewhere. Returns the exit status. */
function report(error: unknown, log: Logger, host: Host, status = 1): number {
  if (isReaderGone(error)) return READER_GONE;
  const known = withWayAround(toRuncError(error), host);
  if (log.isDebug) log.debug(causes(known));
  log.error(known.message, errorFields(known));
  if (!log.isStderr) host.stderr.tryWrite(formatPlain(known));
  // Like a shell's status for a program killed by a signal.
  return known.signal === undefined ? status : 128 + known.signal;
}

/** The stacks of an error and its causes. */
function causes(error: RuncError): string {
  const stacks: string[] = [];
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    stacks.push(cause.stack ?? cause.message);
  }
  return stacks.join("\ncaused by: ");
}
