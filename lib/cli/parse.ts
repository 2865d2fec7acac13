/**
 * The command line parser: converts words to a typed invocation or a parse error. Pure. The options are in table.ts.
 *
 * Any name can have one dash or two. Values are given as `--name value` or `--name=value`; booleans alone or with
 * `=true`, `=false`. Short options cannot be grouped. `--` ends the options. A lone `-`, and a dash before anything but
 * a letter (`-9`), also end them and are arguments themselves. Options may follow arguments unless the command says
 * otherwise. The rules are those of urfave/cli as runc configures it: what version 1 accepts (runc up to 1.5) and what
 * version 3 accepts in addition. Error messages have version 1's wording.
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

/** A valid command line. */
export interface Invocation<Name extends CommandName = CommandName> {
  readonly kind: "command";
  readonly command: Name;
  readonly global: GlobalOptions;
  /** Names of the given global options. */
  readonly globalGiven: ReadonlySet<string>;
  readonly options: OptionValues<(typeof commands)[Name]["options"]>;
  /** Names of the given command options: `--x=false` differs from not given. */
  readonly given: ReadonlySet<string>;
  readonly args: readonly string[];
}

/** A request for help on one command or on all. */
export interface HelpWanted {
  readonly kind: "help";
  readonly topic?: CommandName;
}

/** A request for the version. */
export interface VersionWanted {
  readonly kind: "version";
}

/** An invalid command line. */
export interface ParseError {
  readonly kind: "error";
  readonly message: string;
  readonly status: number;
  /** Text to print on stdout before the message; help on `topic` follows it. */
  readonly heading?: string;
  /** The command to show help for; absent: all commands. */
  readonly topic?: CommandName;
  /** The global options parsed before the mistake, so that it is logged to the right place. */
  readonly global: GlobalOptions;
}

/** The result of parsing a command line. */
export type Parsed = { [Name in CommandName]: Invocation<Name> }[CommandName] | HelpWanted | VersionWanted | ParseError;

/** Reads an environment variable. */
export type Environment = (name: string) => string | undefined;

type Value = string | number | boolean | readonly string[] | readonly number[];
type Values = Map<string, Value>;

/** A table of options and the values read so far. */
interface Scope {
  readonly options: Readonly<Record<string, OptionSpec>>;
  readonly values: Values;
}

/** How to read words. An option belongs to the first scope that has its name. */
interface Reading {
  readonly scopes: readonly Scope[];
  /**
   * What the first argument does: options may follow it; or it ends the options; or it is a command, and the words
   * after it belong to another table.
   */
  readonly firstArg: "one of them" | "ends the options" | "is a command";
  /** First arguments that end the options too. */
  readonly commands?: readonly string[];
}

/** A mistake in an option. Thrown and caught only in this file. */
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
  try {
    const args = readWords(rest, {
      scopes: [own, { ...global, options: inherited }],
      firstArg: spec.stopAtFirstArg ? "ends the options" : "one of them",
      commands: spec.commandsAfter,
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

/** Splits `words` into arguments, which are returned, and options, which are stored in their scope. */
function readWords(words: readonly string[], { scopes, firstArg, commands = [] }: Reading): readonly string[] {
  const rest = [...words];
  const args: string[] = [];
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (word === "--") break;
    const isCommand = args.length > 0 && commands.includes(args[0]!);
    const noOption = (firstArg === "ends the options" && args.length > 0) || isCommand;
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

/** Whether a word is an argument despite its dash: a lone dash, or one before anything but a letter. */
function isDashedArgument(word: string): boolean {
  // The first pattern recognises the usual words without compiling \p{L}, a class of 130,000 letters.
  return word.startsWith("-") && !/^-[-a-zA-Z]/.test(word) && /^-($|\P{L})/u.test(word);
}

/** Reads one option, and its value from `rest` if the word does not contain it. */
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
  /** The source of the value, for messages. */
  readonly given: string;
  /** The option's name, if the value comes from an option. */
  readonly name?: string;
  readonly spec: OptionSpec;
  /** The previous value of the same option. */
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

/** Parses the words that Go's strconv.ParseBool accepts; undefined for any other. */
export function parseBool(text: string): boolean | undefined {
  if (["1", "t", "T", "true", "TRUE", "True"].includes(text)) return true;
  if (["0", "f", "F", "false", "FALSE", "False"].includes(text)) return false;
  return undefined;
}

/** Parses an integer like Go's strconv.ParseInt with base 0: decimal, or with 0x, 0o, 0b. */
function parseInteger(text: string): number | undefined {
  const [, sign, digits] = /^([+-]?)(0[xX][0-9a-fA-F]+|0[oO]?[0-7]+|0[bB][01]+|0|[1-9][0-9]*)$/.exec(text) ?? [];
  if (digits === undefined) return undefined;
  // For Go a leading zero means octal; JavaScript needs `0o`.
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

/** Parses a duration like Go's time.ParseDuration (`5s`, `1h15m`, `-1.5ms`), in milliseconds. */
export function parseDuration(text: string): number | undefined {
  if (/^[+-]?0$/.test(text)) return 0;
  // Both micro signs are escaped: the bundler escapes strings but not patterns, and one non-ASCII letter doubles the
  // script's memory.
  const part = /(\d+\.?\d*|\.\d+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)/g;
  const [, sign, body = ""] = /^([+-]?)(.*)$/.exec(text) ?? [];
  if (body === "" || body.replace(part, "") !== "") return undefined;
  let sumMs = 0;
  for (const [, amount, unit = ""] of body.matchAll(part)) sumMs += Number(amount) * (unitMs[unit] ?? NaN);
  return sign === "-" ? -sumMs : sumMs;
}

/** The values of all options in a table: given, from the environment, or default. */
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
  // Safe: `convert` made each value from the same table that the type is derived from.
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

function mistake({ message }: Error, global: Scope, topic?: CommandName): ParseError {
  // urfave/cli uses "." for a mistake before the command and ":" for one after it.
  const heading = `Incorrect Usage${topic === undefined ? "." : ":"} ${message}\n\n`;
  return { kind: "error", message, status: 1, heading, topic, global: completeGlobal(global, () => undefined) };
}

function unknownTopic(word: string, global: Scope): ParseError {
  return {
    kind: "error",
    message: `No help topic for '${word}'`,
    status: 3,
    global: completeGlobal(global, () => undefined),
  };
}

function wrongCount(
  command: CommandName,
  args: readonly string[],
  { global, own }: { readonly global: Scope; readonly own: Scope },
): ParseError | undefined {
  const { args: usual, argsReplacedBy = "", commandsAfter = [] } = specOf(command);
  if (commandsAfter.includes(args[0] ?? "")) return undefined;
  const { min, max } = own.values.get(argsReplacedBy) === true ? { min: 0, max: 0 } : usual;
  if (args.length >= min && args.length <= max) return undefined;
  const wanted = min === max ? `exactly ${min}` : args.length < min ? `a minimum of ${min}` : `a maximum of ${max}`;
  const orCommand = commandsAfter.length === 0 ? "" : `, or one of the commands ${commandsAfter.join(", ")}`;
  return {
    kind: "error",
    message: `runc: "${command}" requires ${wanted} argument(s)${orCommand}`,
    status: 1,
    heading: "Incorrect Usage.\n\n",
    topic: command,
    global: completeGlobal(global, () => undefined),
  };
}
