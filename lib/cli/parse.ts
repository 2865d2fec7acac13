/**
 * The command line's parser: words in, a typed invocation or a complaint out. Pure; what it knows is in table.ts.
 *
 * One dash or two before any name; `--name value` and `--name=value`; booleans by themselves or with `=true`, `=false`; short
 * options are not grouped. `--` ends the options, so does a lone `-` and a dash before something else than a letter (`-9`), which
 * are arguments themselves. Options may follow arguments unless the command says otherwise. The rules are those of
 * urfave/cli set up as runc does: what version 1 accepts (runc up to 1.5) and what version 3 accepts beside it. Complaints are worded as
 * version 1 words them.
 *
 * @see https://github.com/urfave/cli/blob/v1.22.17/command.go
 * @see https://github.com/urfave/cli/blob/v3.3.8/command_parse.go
 * @module
 */

import {
  type CommandName,
  type commands,
  findCommand,
  type GlobalOptions,
  globalOptions,
  helpOption,
  type OptionSpec,
  type OptionValues,
  specOf,
} from "./table.ts";

/** A command line that can be carried out. */
export interface Invocation<Name extends CommandName = CommandName> {
  readonly kind: "command";
  readonly command: Name;
  readonly global: GlobalOptions;
  /** Names of the global options that were given. */
  readonly globalGiven: ReadonlySet<string>;
  readonly options: OptionValues<(typeof commands)[Name]["options"]>;
  /** Names of the command's options that were given: `--x=false` is not the same as nothing. */
  readonly given: ReadonlySet<string>;
  readonly args: readonly string[];
}

/** Somebody wants help: on one command, or on all. */
export interface HelpWanted {
  readonly kind: "help";
  readonly topic?: CommandName;
}

/** Somebody wants to know the version. */
export interface VersionWanted {
  readonly kind: "version";
}

/** A command line that is wrong. */
export interface Complaint {
  readonly kind: "complaint";
  readonly message: string;
  readonly status: number;
  /** What to print on standard output before the message, with help on `topic` behind it. */
  readonly heading?: string;
  /** The command that help is shown for; absent: all of them. */
  readonly topic?: CommandName;
  /** What was understood before the mistake, so that it is logged to the right place. */
  readonly global: GlobalOptions;
}

/** What a command line comes to. */
export type Parsed = { [Name in CommandName]: Invocation<Name> }[CommandName] | HelpWanted | VersionWanted | Complaint;

/** Reads an environment variable. */
export type Environment = (name: string) => string | undefined;

type Value = string | number | boolean | readonly string[] | readonly number[];
type Values = Map<string, Value>;

/** A table of options with the values read so far. */
interface Scope {
  readonly options: Readonly<Record<string, OptionSpec>>;
  readonly values: Values;
}

/** How words are read: options from the first scope that knows the name. */
interface Reading {
  readonly scopes: readonly Scope[];
  /** Options may follow the first argument, or not, or it is a command and everything behind it is for another table. */
  readonly firstArg: "one of them" | "ends the options" | "is a command";
}

/** A mistake in an option. Thrown and caught in this file only. */
class OptionMistake extends Error {}

/** Parses the words after the program's name. */
export function parse(words: readonly string[], environment: Environment): Parsed {
  const global: Scope = { options: globalOptions, values: new Map() };
  try {
    const [name, ...rest] = readWords(words, { scopes: [global], firstArg: "is a command" });
    if (global.values.get("help") === true) return help(name, global);
    if (global.values.get("version") === true) return { kind: "version" };
    return name === undefined ? { kind: "help" } : parseCommand(name, rest, global, environment);
  } catch (error) {
    if (!(error instanceof OptionMistake)) throw error;
    return global.values.get("help") === true ? { kind: "help" } : mistake(error, global);
  }
}

function parseCommand(word: string, rest: readonly string[], global: Scope, environment: Environment): Parsed {
  const command = findCommand(word);
  if (command === undefined) return unknownTopic(word, global);
  const spec = specOf(command);
  const own: Scope = { options: { ...spec.options, help: helpOption }, values: new Map() };
  const { version: _, ...inherited } = globalOptions;
  if (spec.ignoresOptions) {
    if (rest.some((word) => /^--?h(elp)?$/.test(word))) return { kind: "help", topic: command };
    return invocation(command, { own, global, args: rest, environment });
  }
  try {
    const args = readWords(rest, {
      scopes: [own, { ...global, options: inherited }],
      firstArg: spec.stopAtFirstArg ? "ends the options" : "one of them",
    });
    if (own.values.get("help") === true) return { kind: "help", topic: command };
    if (command === "help") return help(args[0], global);
    return wrongCount(command, args, { global, own }) ?? invocation(command, { own, global, args, environment });
  } catch (error) {
    if (!(error instanceof OptionMistake)) throw error;
    return own.values.get("help") === true ? { kind: "help", topic: command } : mistake(error, global, command);
  }
}

function help(word: string | undefined, global: Scope): Parsed {
  if (word === undefined) return { kind: "help" };
  const topic = findCommand(word);
  return topic === undefined ? unknownTopic(word, global) : { kind: "help", topic };
}

/** Splits `words` into arguments, which are returned, and options, which go to their scope. */
function readWords(words: readonly string[], { scopes, firstArg }: Reading): readonly string[] {
  const rest = [...words];
  const args: string[] = [];
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (word === "--") break;
    const noOption = firstArg === "ends the options" && args.length > 0;
    if (noOption || isDashedArgument(word)) return [...args, word, ...rest];
    if (word.startsWith("-")) {
      readOption(word, rest, scopes);
      continue;
    }
    args.push(word);
    if (firstArg === "is a command") break;
  }
  return [...args, ...rest];
}

/** Whether a word is an argument in spite of its dash: a lone one, or one before something else than a letter. */
function isDashedArgument(word: string): boolean {
  // The usual words are told without compiling \p{L}, a class of 130,000 letters.
  return word.startsWith("-") && !/^-[-a-zA-Z]/.test(word) && /^-($|\P{L})/u.test(word);
}

/** Reads one option, and its value from `rest` when it is not in the word itself. */
function readOption(word: string, rest: string[], scopes: readonly Scope[]): void {
  const [, given = "", inline] = /^--?([^=]*)(?:=([^]*))?$/.exec(word) ?? [];
  if (given === "" || given.startsWith("-")) throw new OptionMistake(`bad flag syntax: ${word}`);
  const found = findOption(given, scopes);
  if (found === undefined) throw new OptionMistake(`flag provided but not defined: -${given}`);
  const { name, spec, values } = found;
  // `--x=` means true for a boolean.
  const text = spec.type === "bool" ? inline || "true" : inline ?? rest.shift();
  if (text === undefined) throw new OptionMistake(`flag needs an argument: -${given}`);
  values.set(name, convert(text, { given: `flag -${given}`, name: given, spec, before: values.get(name) }));
}

function findOption(
  word: string,
  scopes: readonly Scope[],
): { name: string; spec: OptionSpec; values: Values } | undefined {
  for (const { options, values } of scopes) {
    const entry = Object.entries(options).find(([name, spec]) => name === word || spec.aliases?.includes(word));
    if (entry !== undefined) return { name: entry[0], spec: entry[1], values };
  }
  return undefined;
}

interface Conversion {
  /** What the value is for, as an error names it. */
  readonly given: string;
  /** The option's name, where it was an option. */
  readonly name?: string;
  readonly spec: OptionSpec;
  /** The value of the same option before this one. */
  readonly before?: Value;
}

function convert(text: string, { given, name, spec, before }: Conversion): Value {
  const refuse = (why: string): never => {
    throw new OptionMistake(`invalid value ${JSON.stringify(text)} for ${given}: ${why}`);
  };
  switch (spec.type) {
    case "bool":
      if (parseBool(text) !== undefined) return parseBool(text)!;
      throw new OptionMistake(`invalid boolean value ${JSON.stringify(text)} for -${name}: parse error`);
    case "string":
      return spec.choices?.includes(text) === false ? refuse(`must be ${spec.choices.join(" or ")}`) : text;
    case "list":
      return [...(before as readonly string[] | undefined ?? []), text];
    case "int":
      return parseInteger(text) ?? refuse("parse error");
    case "intList": {
      const value = parseInteger(text) ?? refuse(`strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`);
      return [...(before as readonly number[] | undefined ?? []), value];
    }
    case "duration":
      return parseDuration(text) ?? refuse("parse error");
  }
}

/** The words that Go's strconv.ParseBool knows; undefined for any other. */
export function parseBool(text: string): boolean | undefined {
  if (["1", "t", "T", "true", "TRUE", "True"].includes(text)) return true;
  if (["0", "f", "F", "false", "FALSE", "False"].includes(text)) return false;
  return undefined;
}

/** An integer as Go's strconv.ParseInt reads it with base 0: decimal, or with 0x, 0o, 0b. */
function parseInteger(text: string): number | undefined {
  const [, sign, digits] = /^([+-]?)(0[xX][0-9a-fA-F]+|0[oO]?[0-7]+|0[bB][01]+|0|[1-9][0-9]*)$/.exec(text) ?? [];
  if (digits === undefined) return undefined;
  // Go takes a leading zero alone for octal; JavaScript wants the o.
  const value = Number(digits.replace(/^0(?=[0-7])/, "0o"));
  if (!Number.isSafeInteger(value)) return undefined;
  return sign === "-" ? 0 - value : value;
}

const unitMs: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  "µs": 1e-3,
  "μs": 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/** A duration as Go's time.ParseDuration reads it (`5s`, `1h15m`, `-1.5ms`), in milliseconds. */
export function parseDuration(text: string): number | undefined {
  if (/^[+-]?0$/.test(text)) return 0;
  // Both letters that stand for micro, escaped: the bundler escapes strings, not patterns, and one such letter doubles the script in memory.
  const part = /(\d+\.?\d*|\.\d+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)/g;
  const [, sign, body = ""] = /^([+-]?)(.*)$/.exec(text) ?? [];
  if (body === "" || body.replace(part, "") !== "") return undefined;
  let sumMs = 0;
  for (const [, amount, unit = ""] of body.matchAll(part)) sumMs += Number(amount) * (unitMs[unit] ?? NaN);
  return sign === "-" ? -sumMs : sumMs;
}

/** Everything about a table's options: given, from the environment, by default. */
function complete(scope: Scope, environment: Environment): Record<string, Value | undefined> {
  const values: Record<string, Value | undefined> = {};
  for (const [name, spec] of Object.entries(scope.options)) {
    values[name] = scope.values.get(name) ?? fromEnvironment(spec, environment) ?? spec.default ?? empty(spec);
  }
  return values;
}

function fromEnvironment(spec: OptionSpec, environment: Environment): Value | undefined {
  const text = spec.env === undefined ? undefined : environment(spec.env);
  return text === undefined || text === "" ? undefined : convert(text, { given: `$${spec.env}`, spec });
}

function empty(spec: OptionSpec): Value | undefined {
  if (spec.type === "bool") return false;
  return spec.type === "list" || spec.type === "intList" ? [] : undefined;
}

function completeGlobal(global: Scope, environment: Environment): GlobalOptions {
  // `convert` made each value by the same table that the type is derived from.
  return complete(global, environment) as unknown as GlobalOptions;
}

function invocation(
  command: CommandName,
  { own, global, args, environment }: { own: Scope; global: Scope; args: readonly string[]; environment: Environment },
): Parsed {
  return {
    kind: "command",
    command,
    global: completeGlobal(global, environment),
    globalGiven: new Set(global.values.keys()),
    options: complete({ ...own, options: specOf(command).options }, environment),
    given: new Set(own.values.keys()),
    args,
  } as unknown as Parsed; // by the table, as above
}

function mistake({ message }: Error, global: Scope, topic?: CommandName): Complaint {
  // One punctuation mark tells a mistake before the command from one behind it.
  const heading = `Incorrect Usage${topic === undefined ? "." : ":"} ${message}\n\n`;
  return { kind: "complaint", message, status: 1, heading, topic, global: completeGlobal(global, () => undefined) };
}

function unknownTopic(word: string, global: Scope): Complaint {
  return {
    kind: "complaint",
    message: `No help topic for '${word}'`,
    status: 3,
    global: completeGlobal(global, () => undefined),
  };
}

function wrongCount(
  command: CommandName,
  args: readonly string[],
  { global, own }: { readonly global: Scope; readonly own: Scope },
): Complaint | undefined {
  const { args: usual, argsReplacedBy = "" } = specOf(command);
  const { min, max } = own.values.get(argsReplacedBy) === true ? { min: 0, max: 0 } : usual;
  if (args.length >= min && args.length <= max) return undefined;
  const wanted = min === max ? `exactly ${min}` : args.length < min ? `a minimum of ${min}` : `a maximum of ${max}`;
  return {
    kind: "complaint",
    message: `runc: "${command}" requires ${wanted} argument(s)`,
    status: 1,
    heading: "Incorrect Usage.\n\n",
    topic: command,
    global: completeGlobal(global, () => undefined),
  };
}
