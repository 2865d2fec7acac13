/**
 * A container's hooks: lists them, and runs one again. Runs in: parent.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import type { Waits } from "../../ffi/waits.ts";
import { type Hook, type HookName, hookNames, type Hooks } from "../../specs/config.ts";
import type { State, Status } from "../../specs/state.ts";
import { hookStateOf } from "../container/container_world.ts";
import { runHook } from "../launch/host_hooks.ts";
import type { Log, Runtime } from "../runtime.ts";
import { bundleOf, hooksOf, type RuncState } from "../state/runc_state.ts";

/** A hook with its place in config.json. */
export interface PlacedHook extends Hook {
  readonly name: HookName;
  /** Its number among the hooks of this name. */
  readonly index: number;
}

/** The hooks in the order in which they run. */
export function listHooks(hooks: Hooks): readonly PlacedHook[] {
  return hookNames.flatMap((name) => (hooks[name] ?? []).map((hook, index) => ({ name, index, ...hook })));
}

/** The status that a hook of the host reads in its state. Hooks in the container's namespaces are not here. */
const statusAt: { readonly [Name in HookName]?: Status } = {
  prestart: "creating",
  createRuntime: "creating",
  poststart: "running",
  poststop: "stopped",
};

/**
 * The hook that `word` and `index` name, if it can run again.
 *
 * @throws {RuncError} `usage` for a name that is no hook's or a number without a hook; `unsupported` for a hook that
 * ran in the container.
 */
export function findHook(hooks: Hooks, word: string, index: number): PlacedHook {
  const name = hookNames.find((known) => known === word);
  if (name === undefined) {
    throw new RuncError("usage", `unknown hook ${JSON.stringify(word)}`, { hint: `one of ${hookNames.join(", ")}` });
  }
  const found = listHooks(hooks).find((hook) => hook.name === name && hook.index === index);
  if (found === undefined) {
    const count = hooks[name]?.length ?? 0;
    throw new RuncError("usage", `there is no ${name} hook ${index}`, {
      hint: count === 0 ? `the container has no ${name} hook` : `it has ${count}, counted from 0`,
    });
  }
  if (statusAt[name] === undefined) {
    throw new RuncError("unsupported", `${name} hooks cannot run again: they run in the container as it starts`, {
      field: `/hooks/${name}/${index}`,
      hint: "runc exec runs a program in the container as it is now",
    });
  }
  return found;
}

/** What a hook of this name read on stdin when it ran. */
export function stateAt(state: RuncState, name: HookName): State {
  return hookStateOf(state, statusAt[name]!);
}

/**
 * Runs one hook again on the host, with the same state on stdin as the first time. `said`: receives its output as one
 * line.
 *
 * @throws {RuncError} `hook-failed` with its output, and as {@link findHook}.
 */
export function* runHookAgain(
  runtime: Runtime,
  state: RuncState,
  { name: word, index, said }: {
    readonly name: string;
    readonly index: number;
    readonly said: (line: string) => void;
  },
): Waits<void> {
  const hooks = hooksOf(state);
  const { name } = findHook(hooks, word, index);
  // A hook's output is a debug line of the log.
  const log: Log = (level, message) => level === "debug" ? said(message) : runtime.log(level, message);
  const listening: Runtime = Object.create(runtime, { log: { value: log } });
  const cwd = name === "poststop" ? undefined : bundleOf(state);
  yield* runHook(listening, { name, index, hook: hooks[name]![index]!, cwd }, stateAt(state, name));
}
