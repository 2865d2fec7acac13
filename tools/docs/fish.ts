/**
 * Completion for fish, made from the table of commands.
 *
 * @module
 */

import { specOf } from "../../lib/cli/table.ts";
import {
  choicesOf,
  type DocumentedOption,
  shownCommands,
  shownOptions,
  signals,
  takesContainer,
  valueKind,
} from "./words.ts";

const quoted = (text: string) => `'${text.replace(/['\\]/g, "\\$&")}'`;

function completion(condition: string, option: DocumentedOption): string {
  const names = option.words.map((word) => word.startsWith("--") ? `-l ${word.slice(2)}` : `-s ${word.slice(1)}`);
  const value = {
    directory: "-x -a '(__fish_complete_directories)'",
    file: "-r -F",
    choice: `-x -a ${quoted(choicesOf(option).join(" "))}`,
    other: "-x",
    none: "",
  }[valueKind(option.spec)];
  return ["complete -c runc", `-n ${quoted(condition)}`, ...names, value, `-d ${quoted(option.spec.help)}`]
    .filter((part) => part !== "").join(" ");
}

/** The file `runc.fish`. */
export function fishCompletion(): string {
  const lines = shownOptions().map((option) => completion("__fish_use_subcommand", option));
  for (const name of shownCommands()) {
    const condition = `__fish_seen_subcommand_from ${name}`;
    lines.push("", `complete -c runc -n '__fish_use_subcommand' -a ${name} -d ${quoted(specOf(name).summary)}`);
    lines.push(...shownOptions(name).map((option) => completion(condition, option)));
    if (takesContainer(name)) {
      lines.push(`complete -c runc -n ${quoted(condition)} -a '(__runc_containers)' -d container`);
    }
    if (name === "kill") {
      lines.push(`complete -c runc -n ${quoted(condition)} -a ${quoted(signals.join(" "))} -d signal`);
    }
    if (name === "help") lines.push(`complete -c runc -n ${quoted(condition)} -a ${quoted(shownCommands().join(" "))}`);
  }
  return `# Completion for runc in fish. Made from the table of commands by tools/docs.ts.

# Containers of the default state directory.
function __runc_containers
    runc list --quiet 2>/dev/null
end

complete -c runc -f
${lines.join("\n")}
`;
}
