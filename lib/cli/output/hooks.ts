/**
 * The output of `hooks`. Pure.
 *
 * @module
 */

import type { PlacedHook } from "../../libcontainer/inspect/hooks.ts";

/** A line for each hook, in the order in which they run: its name and number, its command, its timeout. */
export function formatHooks(hooks: readonly PlacedHook[]): string {
  if (hooks.length === 0) return "no hooks\n";
  const names = hooks.map(({ name, index }) => `${name} ${index}`);
  const width = Math.max(...names.map((name) => name.length));
  return hooks.map((hook, row) => `${names[row]!.padEnd(width)}  ${commandText(hook)}${limitText(hook)}\n`).join("");
}

/** The path, and the arguments after argv[0] as JSON: they may contain anything. */
function commandText({ path, args = [] }: PlacedHook): string {
  return [path, ...args.slice(1).map((arg) => JSON.stringify(arg))].join(" ");
}

function limitText({ timeout }: PlacedHook): string {
  return timeout === undefined ? "" : `  (timeout: ${timeout} s)`;
}
