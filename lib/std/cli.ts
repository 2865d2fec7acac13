/**
 * The part of `@std/cli` that this project's tools use. What it reads, it reads as the real package does, but it knows
 * neither `-n=value`, `-nvalue` nor `--outer.inner`: such an option gets another name here.
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
  /** Values of options that are not given. */
  default?: Readonly<Record<string, unknown>>;
}

/** Arguments in `_`, and each option under its name. */
export type Args = { _: (string | number)[]; [name: string]: unknown };

/**
 * Splits `args` (usually `Deno.args`) into options (`--name value`, `--name=value`, `--name`, `-n`) and arguments. All
 * words after `--` are arguments. A word that starts with `-` is never a value.
 */
export function parseArgs(args: readonly string[], options: ParseOptions = {}): Args {
  const result: Args = { _: [] };
  const end = args.includes("--") ? args.indexOf("--") : args.length;
  for (let index = 0; index < end; index++) {
    const word = args[index]!;
    const [, name, value] = /^--(?!=)(.+?)(?:=([^]+))?$/.exec(word) ?? [];
    const following = index + 1 < end ? args[index + 1]! : "";
    if (name === undefined) readShort(word, result);
    else if (value !== undefined) {
      result[name.replace(/^no-/, "")] = options.boolean?.includes(name) ? value === "true" : value;
    } else if (takesWord(name, following, options)) {
      result[name] = following;
      index++;
    } else result[name] = options.string?.includes(name) ? "" : true;
  }
  result._.push(...args.slice(end + 1));
  const off = Object.fromEntries((options.boolean ?? []).map((name) => [name, false]));
  return { ...off, ...options.default, ...result };
}

/** `-abc` sets `a`, `b` and `c`. Anything else, `-` too, is an argument. */
function readShort(word: string, result: Args): void {
  if (!/^-[^-]/.test(word)) result._.push(word);
  else for (const letter of word.slice(1)) result[letter] = true;
}

function takesWord(name: string, word: string, options: ParseOptions): boolean {
  return word !== "" && !word.startsWith("-") && !options.boolean?.includes(name);
}
