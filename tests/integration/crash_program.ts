/**
 * The command line's program, which is killed by SIGKILL before a given act of a command, as an engine may kill the
 * runtime at any time.
 *
 * It prints each act before it does it. Arguments: the number of the act, and a command line; an act that the command
 * does not have is its end. The end of a command in the foreground is where it would become the monitor.
 */

import { kill } from "../../lib/ffi/process/process.ts";
import { Kernel } from "../../lib/ffi/kernel.ts";
import { bodies } from "../../lib/cli/commands.ts";
import { type Command, createContext, createLogger } from "../../lib/cli/context.ts";
import { denoProgramKind, hostOf, reexecDeno } from "../../lib/cli/host.ts";
import { parse } from "../../lib/cli/parse.ts";
import { delegate, isDelegated } from "../../lib/cli/supervisor.ts";
import type { CommandName } from "../../lib/cli/table.ts";
import type { RuntimeTrace } from "../../lib/libcontainer/runtime_trace.ts";
import type { OpenSpan } from "../../lib/trace/tracer.ts";

const [number = "", ...words] = Deno.args;
const kernel = new Kernel();
const stdout = new TextEncoder();
let acts = 0;

/** Each act is a span that begins. */
function die(name: string): void {
  Deno.stdout.writeSync(stdout.encode(`act: ${name}\n`));
  if (acts++ === Number(number)) kill(kernel, kernel.pid, 9);
}

/** The end of the command, whatever the number is. */
function end(): never {
  acts = Number(number);
  die("(the end)");
  throw new Error("it lives on");
}

const ignored: OpenSpan = { set: () => {}, rename: () => {} };
const trace: RuntimeTrace = {
  traceparent: "",
  span: (name, action) => {
    die(name);
    return action(ignored);
  },
  begin: (name) => {
    die(name);
    return { ...ignored, end: () => {} };
  },
  // The plan as it is.
  steps: ({ plan }) => ({ plan, started: () => {}, take: () => false, failed: () => {}, ended: () => {} }),
};

const host = hostOf(kernel, {
  // A supervisor is this program, too.
  reexec: () => {
    const { path, args } = reexecDeno();
    return { path, args: [...args, number] };
  },
  programKind: denoProgramKind,
});
const invocation = parse(words, host.environment);
if (invocation.kind !== "command") throw new Error(`no command: ${words.join(" ")}`);
const logger = createLogger(invocation.global, host);
const context = { ...createContext(invocation, { ...host, words }, logger), trace, replace: end };
if (isDelegated(invocation)) Deno.exit(delegate(context, invocation));
(bodies as Readonly<Record<CommandName, Command<CommandName>>>)[invocation.command](context, invocation);
end();
