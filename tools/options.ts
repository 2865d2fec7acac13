/**
 * Options of this project's tools. Pure.
 *
 * @module
 */

import { parseArgs } from "@std/cli";

/** The options that a tool has. */
export interface Known {
  /** Names of options with a value, each with its default. `""` is none. */
  readonly values?: Readonly<Record<string, string>>;
  /** Names of options without a value. */
  readonly switches?: readonly string[];
}

/** The options' values. Each known name is present. */
export interface Options {
  readonly values: Readonly<Record<string, string>>;
  readonly switches: Readonly<Record<string, boolean>>;
}

/**
 * Reads `words` into the options of `known`, or returns undefined if there is an argument, an unknown option, or an
 * option with an empty value. How `parseArgs` reads an unknown option does not matter then.
 */
export function readOptions(words: readonly string[], known: Known): Options | undefined {
  const names = Object.keys(known.values ?? {});
  const switchNames = [...known.switches ?? []];
  const parsed: Record<string, unknown> = parseArgs(words, { string: names, boolean: switchNames });
  const { _: rest, ...given } = parsed;
  if (Array.isArray(rest) && rest.length > 0) return undefined;
  for (const [name, value] of Object.entries(given)) {
    const isValue = names.includes(name) && typeof value === "string" && value !== "";
    if (!isValue && !(switchNames.includes(name) && typeof value === "boolean")) return undefined;
  }
  return {
    values: Object.fromEntries(names.map((name) => [name, String(given[name] ?? known.values?.[name])])),
    switches: Object.fromEntries(switchNames.map((name) => [name, given[name] === true])),
  };
}
