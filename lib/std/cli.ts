/**
 * The part of `@std/cli` that this project's tools use.
 *
 * @see jsr:@std/cli
 * @module
 */

/** What {@link parseArgs} knows about the options. */
export interface ParseOptions {
  /** Names of options that take no value. */
  boolean?: readonly string[];
  /** Names of options whose value stays a string. */
  string?: readonly string[];
  /** Names of string options that may be repeated and give an array. */
  collect?: readonly string[];
  /** Values of options that are not given. */
  default?: Readonly<Record<string, unknown>>;
  /** Short and alternative names: `{ help: "h" }`. */
  alias?: Readonly<Record<string, string | readonly string[]>>;
  /** Stops at the first word that is not an option: all further words are arguments. */
  stopEarly?: boolean;
}

/** Arguments in `_`, and each option under its name. */
export type Args = { _: (string | number)[]; [name: string]: unknown };

/**
 * Splits `args` (usually `Deno.args`) into options (`--name value`, `--name=value`, `--no-name`, `-n`) and arguments.
 */
export function parseArgs(args: readonly string[], options: ParseOptions = {}): Args {
  const names = canonicalNames(options.alias ?? {});
  const result: Args = { _: [], ...initialValues(options) };
  const rest = [...args];
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    const [, given, value] = /^--?([^=-][^=]*)(?:=([^]*))?$/.exec(word) ?? [];
    if (given === undefined) {
      if (word !== "--") result._.push(word);
      if (word === "--" || options.stopEarly) return { ...result, _: [...result._, ...rest] };
      continue;
    }
    const name = names.get(given) ?? given;
    if (options.boolean?.includes(name)) result[name] = value !== "false";
    else if (name.startsWith("no-") && options.boolean?.includes(name.slice(3))) result[name.slice(3)] = false;
    else store(result, name, value ?? rest.shift() ?? "", options);
  }
  return result;
}

function canonicalNames(alias: NonNullable<ParseOptions["alias"]>): ReadonlyMap<string, string> {
  return new Map(Object.entries(alias).flatMap(([name, others]) => [others].flat().map((other) => [other, name])));
}

function initialValues(options: ParseOptions): Record<string, unknown> {
  const off = (options.boolean ?? []).map((name) => [name, false]);
  const none = (options.collect ?? []).map((name) => [name, []]);
  return { ...Object.fromEntries([...off, ...none]), ...options.default };
}

function store(result: Args, name: string, value: string, options: ParseOptions): void {
  const collected = result[name];
  if (options.collect?.includes(name) && Array.isArray(collected)) result[name] = [...collected, value];
  else result[name] = value;
}
