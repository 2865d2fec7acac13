/**
 * `runc monitor`: the monitor of a foreground `run` or `exec` executes the runtime with this command.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { signalNames } from "../../ffi/constants.ts";
import { errnoText } from "../../ffi/errno.ts";
import { runWaits } from "../../ffi/waits.ts";
import { ContainerHandle } from "../../libcontainer/container/handle.ts";
import { isMissing, StateDirectory } from "../../libcontainer/state/store.ts";
import type { Command, Context } from "../context.ts";
import type { Level } from "../log.ts";
import { makeRuntime } from "../runtime.ts";

/**
 * - `end <id> <pid>` removes a container whose process has been reaped.
 * - `dir <id> <pid>` removes the directory of a container whose state the monitor has removed.
 * - `say <level> <message> <number>...` logs.
 */
export const run: Command<"monitor"> = (context, { args: [task, ...args] }) => {
  if (task === "end" && args.length === 2) end(context, args[0]!, Number(args[1]));
  else if (task === "dir" && args.length === 2) new StateDirectory(context.root, args[0]!).remove(context.kernel);
  else if (task === "say" && args.length >= 2) say(context, args[0] as Level, args[1]!, args.slice(2).map(numberOf));
  else throw new RuncError("usage", "monitor is internal: only the monitors of run and exec start it");
  return 0;
};

/** `pid`: of the container's process. Ignores a newer container with the same id. */
function end(context: Context, id: string, pid: number): void {
  try {
    const runtime = makeRuntime(context);
    const container = ContainerHandle.load(runtime, id);
    if (container.pid === pid) runWaits(runtime, container.destroy());
  } catch (error) {
    // The container has already been removed.
    if (!isMissing(error)) throw error;
  }
}

function say({ log }: Context, level: Level, message: string, numbers: readonly number[]): void {
  let index = 0;
  const text = message.replaceAll(/\{(signal|errno)\}/g, (_, kind) => {
    const number = numbers[index++]!;
    return kind === "errno" ? errnoText(number) : `${number} (${signalNames[number] ?? ""})`;
  });
  log[level](text);
}

/** Two letters from `a` to `p`, four bits each: lib/libcontainer/plans/monitor/reexec.ts. */
function numberOf(letters: string): number {
  return (letters.charCodeAt(0) - 97) * 16 + letters.charCodeAt(1) - 97;
}
