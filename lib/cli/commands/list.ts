/**
 * `runc list`.
 *
 * @module
 */

import { runWaits } from "../../ffi/waits.ts";
import { ContainerHandle } from "../../libcontainer/container/handle.ts";
import type { Runtime } from "../../libcontainer/runtime.ts";
import type { ContainerState } from "../../libcontainer/state/state_text.ts";
import type { Command, Context } from "../context.ts";
import { formatIds, formatList, ownerName } from "../output/state.ts";
import { makeRuntime } from "../runtime.ts";
import { systemError } from "../system_error.ts";

function idsBelow(context: Context, runtime: Runtime): readonly string[] {
  try {
    return ContainerHandle.ids(runtime);
  } catch (error) {
    // The default directory is created with the first container. A directory given by --root should exist.
    if (error instanceof Deno.errors.NotFound && !context.rootGiven) return [];
    throw systemError(`open ${context.root}`, error);
  }
}

function stateOf(runtime: Runtime, id: string, passwd: string): ContainerState {
  const owner = Deno.statSync(`${runtime.root}/${id}`).uid ?? 0;
  return { ...runWaits(runtime, ContainerHandle.load(runtime, id).state()), owner: ownerName(owner, passwd) };
}

function readPasswd(): string {
  try {
    return Deno.readTextFileSync("/etc/passwd");
  } catch {
    // /etc/passwd is unreadable. Owners are then printed as numbers.
    return "";
  }
}

/** Prints all containers in the state directory. One that cannot be read is reported and left out. */
export const run: Command<"list"> = (context, { options }) => {
  const runtime = makeRuntime(context);
  const passwd = readPasswd();
  const states = idsBelow(context, runtime).flatMap((id) => {
    try {
      return [stateOf(runtime, id, passwd)];
    } catch (error) {
      // The container was deleted after the directory was read.
      if (error instanceof Deno.errors.NotFound) return [];
      context.stderr.tryWrite(`load container ${id}: ${(error as Error).message}\n`);
      return [];
    }
  });
  context.stdout.write(options.quiet ? formatIds(states) : formatList(states, options.format));
  return 0;
};
