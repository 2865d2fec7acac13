/**
 * fish completion, generated from the table of commands.
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

const quoted = (text: string) => `'${text.replace(/['\\]/g, "\\$&")}'`;

/** One-letter options use `-o` too: with `-s` fish would combine letters, and runc does not accept that. */
const nameOf = (word: string) => word.startsWith("--") ? `-l ${word.slice(2)}` : `-o ${word.slice(1)}`;

function completion(condition: string, option: DocumentedOption): string {
  const value = {
    directory: "-x -a '(__fish_complete_directories)'",
    file: "-r -F",
    choice: `-x -a ${quoted(choicesOf(option).join(" "))}`,
    other: "-x",
    none: "",
  }[valueKind(option.spec)];
  const names = option.words.map(nameOf);
  return ["complete -c runc", `-n ${quoted(condition)}`, ...names, value, `-d ${quoted(option.spec.help)}`]
    .filter((part) => part !== "").join(" ");
}

/** Lines for the arguments of a command. */
function argumentLines(name: ReturnType<typeof shownCommands>[number]): string[] {
  return argumentsOf(name).flatMap(({ title, isContainer, words }, index) => {
    const line = (offered: string, description: string) =>
      `complete -c runc -n '__runc_has ${index + 1} ${name}' -a ${quoted(offered)}${description}`;
    return [
      ...(isContainer ? [line("(__runc_containers)", " -d container")] : []),
      // The commands have descriptions of their own.
      ...(words.length === 0 ? [] : [line(words.join(" "), name === "help" ? "" : ` -d ${title}`)]),
    ];
  });
}

/** The file `runc.fish`. */
export function fishCompletion(): string {
  const all = [...shownOptions(), ...shownCommands().flatMap((name) => shownOptions(name))];
  const valued = [...new Set(all.filter(({ spec }) => spec.type !== "bool").flatMap(({ words }) => words))];
  const lines = shownOptions().map((option) => completion("__runc_has 0", option));
  for (const name of shownCommands()) {
    const condition = endsOptions(name) ? `__runc_has 1 ${name}` : `__runc_is ${name}`;
    lines.push("", `complete -c runc -n '__runc_has 0' -a ${name} -d ${quoted(specOf(name).summary)}`);
    lines.push(...shownOptions(name).map((option) => completion(condition, option)));
    lines.push(...argumentLines(name));
  }
  return `# Completion for runc in fish. Generated from the table of commands by tools/docs.ts.

# Options that take a value.
set -g __runc_valued ${valued.join(" ")}

# The words typed so far without options and their values: the command and its arguments.
function __runc_words
    set -l is_value 0
    for word in (commandline -opc)[2..-1]
        if test $is_value = 1
            set is_value 0
        else if contains -- $word $__runc_valued
            set is_value 1
        else if not string match -q -- '-*' $word
            echo $word
        end
    end
end

# Whether there are that many words; with a second argument, also whether the first is that command.
function __runc_has
    set -l words (__runc_words)
    test (count $words) = $argv[1]; and test -z "$argv[2]" -o "$words[1]" = "$argv[2]"
end

function __runc_is
    set -l words (__runc_words)
    test "$words[1]" = $argv[1]
end

# Container ids, from the state directory that the command line names.
function __runc_containers
    set -l words (commandline -opc)
    set -l root (string match -r -g -- '^--root=(.*)' $words)
    if set -l index (contains -i -- --root $words)
        set root $words[(math $index + 1)]
    end
    if set -q root[1]
        command $words[1] --root $root[1] list --quiet 2>/dev/null
    else
        command $words[1] list --quiet 2>/dev/null
    end
end

complete -c runc -f
${lines.join("\n")}
`;
}
