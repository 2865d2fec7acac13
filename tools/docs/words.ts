/**
 * Reads the table of commands for the generated documents: names as they are typed, in the order of the help.
 *
 * @module
 */

import {
  type CommandName,
  commandNames,
  globalOptions,
  helpOption,
  type OptionSpec,
  specOf,
} from "../../lib/cli/table.ts";
import { hookNames } from "../../lib/specs/config.ts";

/** An option for the documents. */
export interface DocumentedOption {
  /** `--bundle`, `-b`. */
  readonly words: readonly string[];
  readonly spec: OptionSpec;
}

/** Commands that the help shows. */
export function shownCommands(): readonly CommandName[] {
  return commandNames().filter((name) => !specOf(name).hidden);
}

/** Options of a command, or of the program, that the help shows. */
export function shownOptions(command?: CommandName): readonly DocumentedOption[] {
  const options = command === undefined ? globalOptions : { ...specOf(command).options, help: helpOption };
  return Object.entries(options as Record<string, OptionSpec>).filter(([, spec]) => !spec.hidden).map((
    [name, spec],
  ) => ({
    words: [name, ...(spec.aliases ?? [])].map((word) => `${word.length === 1 ? "-" : "--"}${word}`),
    spec,
  }));
}

/** What completes one argument of a command. */
export interface ArgumentCompletion {
  /** For shells that describe what they offer. */
  readonly title: string;
  /** Whether it may be a container of the state directory. */
  readonly isContainer: boolean;
  /** Words that it may be, too. */
  readonly words: readonly string[];
}

const container: ArgumentCompletion = { title: "container", isContainer: true, words: [] };

const oneOf = (title: string, words: readonly string[]): ArgumentCompletion => ({ title, isContainer: false, words });

/** What completes the arguments of a command, in their order. Nothing is offered for those that follow. */
export function argumentsOf(command: CommandName): readonly ArgumentCompletion[] {
  switch (command) {
    case "help":
      return [oneOf("command", shownCommands())];
    case "hooks":
      return [{ ...container, words: ["run"] }, container, oneOf("hook", hookNames)];
    case "kill":
      return [container, oneOf("signal", signals)];
    case "seccomp":
      return [oneOf("verb", ["explain"]), container];
    default:
      return takesContainer(command) ? [container] : [];
  }
}

/** Whether a command's first argument is a container. */
function takesContainer(command: CommandName): boolean {
  return specOf(command).usage.startsWith("<container-id>") && !["create", "run", "restore"].includes(command);
}

/** Whether all words after the command's first argument are arguments, even if they look like options. */
export function endsOptions(command: CommandName): boolean {
  return specOf(command).stopAtFirstArg ?? false;
}

/** The kind of a value, for shell completion. */
export type ValueKind = "directory" | "file" | "choice" | "other" | "none";

/** Derives the kind from the table: from the closed list of choices, or from the value's placeholder in the help. */
export function valueKind({ type, value = "", choices }: OptionSpec): ValueKind {
  if (type === "bool") return "none";
  if (choices !== undefined || value === "format") return "choice";
  if (value === "dir") return "directory";
  return value === "file" || value === "path" ? "file" : "other";
}

/** The words that a `choice` allows. */
export function choicesOf(option: DocumentedOption): readonly string[] {
  if (option.spec.choices !== undefined) return option.spec.choices;
  return option.words.includes("--log-format") ? ["text", "json"] : ["table", "json"];
}

/** Signals to suggest for `kill`, by name. */
const signals: readonly string[] = [
  "TERM",
  "KILL",
  "INT",
  "HUP",
  "QUIT",
  "USR1",
  "USR2",
  "STOP",
  "CONT",
  "WINCH",
];
