/**
 * bash completion, generated from the table of commands.
 *
 * @module
 */

import {
  argumentsOf,
  choicesOf,
  type DocumentedOption,
  endsOptions,
  shownCommands,
  shownOptions,
  valueKind,
} from "./words.ts";

const wordsOf = (options: readonly DocumentedOption[]) => options.flatMap(({ words }) => words).join(" ");

/** The branches of a `case` on the previous word: they complete the value of each option. */
function valueCases(options: readonly DocumentedOption[]): string {
  const lines = options.map((option) => {
    const pattern = option.words.join("|");
    switch (valueKind(option.spec)) {
      case "directory":
        return `    ${pattern}) _runc_files -d; return ;;`;
      case "file":
        return `    ${pattern}) _runc_files -f; return ;;`;
      case "choice":
        return `    ${pattern}) COMPREPLY=($(compgen -W "${choicesOf(option).join(" ")}" -- "$cur")); return ;;`;
      case "other":
        return `    ${pattern}) return ;;`;
      case "none":
        return "";
    }
  });
  return lines.filter((line) => line !== "").join("\n");
}

/** Names of options that take a value, so that the search for the command skips the value. */
function withValue(options: readonly DocumentedOption[]): string {
  return [...new Set(options.filter(({ spec }) => spec.type !== "bool").flatMap(({ words }) => words))].join("|");
}

/** The commands that complete each argument. */
function argumentCases(command: ReturnType<typeof shownCommands>[number]): string {
  return argumentsOf(command).map(({ isContainer, words }, index) => {
    const offer = isContainer
      ? ["_runc_containers", '"$1"', ...words].join(" ")
      : `COMPREPLY=($(compgen -W "${words.join(" ")}" -- "$cur"))`;
    return `  elif ((arguments == ${index})); then\n    ${offer}\n`;
  }).join("");
}

function commandCase(command: ReturnType<typeof shownCommands>[number]): string {
  const options = shownOptions(command);
  const cases = valueCases(options);
  const isOption = endsOptions(command) ? "$cur == -* && $arguments == 0" : "$cur == -*";
  return `_runc_${command}() {
  case "$prev" in
${cases === "" ? "    '') ;;" : cases}
  esac
  if [[ ${isOption} ]]; then
    COMPREPLY=($(compgen -W "${wordsOf(options)}" -- "$cur"))
${argumentCases(command)}  fi
}
`;
}

/** The file that bash-completion loads; its name is the program's. */
export function bashCompletion(): string {
  const globals = shownOptions();
  const all = [...globals, ...shownCommands().flatMap((command) => shownOptions(command))];
  return `# Completion for runc in bash. Generated from the table of commands by tools/docs.ts.

# Container ids, from the state directory that the command line names, and the words that follow the program.
_runc_containers() {
  COMPREPLY=($(compgen -W "\${*:2} $("$1" "\${root[@]}" list --quiet 2>/dev/null)" -- "$cur"))
}

# Files or directories; their names may contain blanks.
_runc_files() {
  compopt -o filenames
  mapfile -t COMPREPLY < <(compgen "$1" -- "$cur")
}

${shownCommands().map(commandCase).join("\n")}
_runc() {
  local cur=$2 prev=$3 commands="${shownCommands().join(" ")}"
  local command= arguments=0 index word size root=()
  COMPREPLY=()
  # Bash splits words at =: --root=/x is three words.
  if [[ $cur == = ]]; then cur=; elif [[ $prev == = ]]; then prev=\${COMP_WORDS[COMP_CWORD - 2]}; fi
  for ((index = 1; index < COMP_CWORD; index++)); do
    word=\${COMP_WORDS[index]}
    if [[ \${COMP_WORDS[index + 1]} == = ]]; then size=2; else size=1; fi
    case "$word" in
      --root) root=(--root "\${COMP_WORDS[index + size]}"); ((index += size)) ;;
      ${withValue(all)}) ((index += size)) ;;
      =) ((index++)) ;;
      -*) ;;
      *) if [[ -z $command ]]; then command=$word; else ((arguments++)); fi ;;
    esac
  done
  if [[ -n $command ]]; then
    declare -F "_runc_$command" >/dev/null && "_runc_$command" "$1"
    return
  fi
  case "$prev" in
${valueCases(globals)}
  esac
  if [[ $cur == -* ]]; then
    COMPREPLY=($(compgen -W "${wordsOf(globals)}" -- "$cur"))
  else
    COMPREPLY=($(compgen -W "$commands" -- "$cur"))
  fi
}

complete -F _runc runc
`;
}
