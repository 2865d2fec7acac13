/**
 * zsh completion, generated from the table of commands.
 *
 * @module
 */

import { specOf } from "../../lib/cli/table.ts";
import {
  argumentsOf,
  choicesOf,
  type DocumentedOption,
  endsOptions,
  shownCommands,
  shownOptions,
  valueKind,
} from "./words.ts";

/** Quotes text for single quotes and for brackets of _arguments. */
const quoted = (text: string) => text.replaceAll("'", `'\\''`).replace(/[[\]:]/g, "\\$&");

function action(option: DocumentedOption): string {
  const value = quoted(option.spec.value ?? "value");
  switch (valueKind(option.spec)) {
    case "directory":
      return `:${value}:_directories`;
    case "file":
      return `:${value}:_files`;
    case "choice":
      return `:${value}:(${choicesOf(option).join(" ")})`;
    case "other":
      return `:${value}: `;
    case "none":
      return "";
  }
}

/** One line of _arguments per name of an option. */
function optionLines(options: readonly DocumentedOption[]): string {
  return options.flatMap((option) => {
    const repeats = option.spec.type === "list" || option.spec.type === "intList";
    const others = repeats ? "*" : `(${option.words.join(" ")})`;
    const value = action(option);
    // The value of a long name may also follow a =.
    const mark = (word: string) => value !== "" && word.startsWith("--") ? "=" : "";
    return option.words.map((word) => `    '${others}${word}${mark(word)}[${quoted(option.spec.help)}]${value}'`);
  }).join(" \\\n");
}

/** Completes the arguments after the options: a container, a signal, a command. */
function argumentLines(command: ReturnType<typeof shownCommands>[number]): string {
  return argumentsOf(command).map(({ title, isContainer, words }, index) => {
    const offered = command === "help"
      ? "_runc_commands"
      : !isContainer
      ? `(${words.join(" ")})`
      : words.length === 0
      ? "_runc_containers"
      : `{_runc_containers; compadd ${words.join(" ")}}`;
    return ` \\\n    '${index + 1}:${title}:${offered}'`;
  }).join("");
}

/** The file `_runc` for a directory in zsh's fpath. */
export function zshCompletion(): string {
  const commands = shownCommands().map((name) => `    '${name}:${quoted(specOf(name).summary)}'`).join("\n");
  // -A: after the first argument no word is an option.
  const bodies = shownCommands().map((name) =>
    `    ${name}) _arguments${endsOptions(name) ? ' -A "-*"' : ""} \\\n${optionLines(shownOptions(name))}${
      argumentLines(name)
    } ;;`
  );
  return `#compdef runc
# Completion for runc in zsh. Generated from the table of commands by tools/docs.ts.

_runc_commands() {
  local -a commands=(
${commands}
  )
  _describe command commands
}

# Container ids, from the state directory that the command line names.
_runc_containers() {
  local -a containers=(\${(f)"$(_call_program containers $service $root list --quiet 2>/dev/null)"})
  compadd -a containers
}

_runc() {
  local curcontext=$curcontext state line
  local -a root
  typeset -A opt_args
  _arguments -C \\
${optionLines(shownOptions())} \\
    '1:command:_runc_commands' \\
    '*::argument:->arguments'
  [[ $state == arguments ]] || return
  # The options of the command replace opt_args.
  root=(\${opt_args[--root]:+--root \${(qQ)opt_args[--root]}})
  case $line[1] in
${bodies.join("\n")}
  esac
}

_runc "$@"
`;
}
