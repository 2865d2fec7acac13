/**
 * `runc hooks`.
 *
 * @module
 */

import { RuncError } from "../../../errors.ts";
import { runWaits } from "../../../ffi/waits.ts";
import { listHooks, runHookAgain } from "../../../libcontainer/inspect/hooks.ts";
import { hooksOf, type RuncState } from "../../../libcontainer/state/runc_state.ts";
import { StateDirectory } from "../../../libcontainer/state/store.ts";
import type { Command, Context } from "../../context.ts";
import { formatHooks } from "../../output/hooks.ts";
import { makeRuntime } from "../../runtime.ts";

/** Lists a container's hooks: `ID`. Or runs one of them again: `run ID NAME [N]`. */
export const run: Command<"hooks"> = (context, { args, options: { format } }) => {
  const [id = "", ...others] = args;
  // A container may have the id `run`.
  if (others.length === 0) return list(context, id, format);
  if (id !== "run") throw new RuncError("usage", `unknown command "hooks ${id}"; there is: hooks run`);
  const [container = "", name, number = "0"] = others;
  if (name === undefined) throw new RuncError("usage", "hooks run needs the name of a hook, such as poststart");
  return runAgain(context, container, { name, index: parseIndex(number) });
};

function list(context: Context, id: string, format: "text" | "json"): number {
  const hooks = listHooks(hooksOf(stateOf(context, id)));
  context.stdout.write(format === "json" ? JSON.stringify(hooks, null, 2) + "\n" : formatHooks(hooks));
  return 0;
}

function runAgain(context: Context, id: string, hook: { readonly name: string; readonly index: number }): number {
  const runtime = makeRuntime(context);
  const said: string[] = [];
  runWaits(runtime, runHookAgain(runtime, stateOf(context, id), { ...hook, said: (line) => said.push(line) }));
  context.stdout.write([...said, "it succeeded"].map((line) => `${line}\n`).join(""));
  return 0;
}

function parseIndex(text: string): number {
  if (/^\d{1,6}$/.test(text)) return Number(text);
  throw new RuncError("usage", `${JSON.stringify(text)} is not the number of a hook`);
}

function stateOf({ kernel, root }: Context, id: string): RuncState {
  return new StateDirectory(root, id).load(kernel);
}
