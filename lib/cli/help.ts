/**
 * The help texts, generated from the table of commands. Pure.
 *
 * @module
 */

import { type CommandName, commandNames, globalOptions, helpOption, type OptionSpec, specOf } from "./table.ts";

/** Help for one command: its summary, usage, options and an example. */
export function commandHelp(name: CommandName): string {
  const spec = specOf(name);
  const usage = ["runc", name, "[options]", spec.usage].filter((part) => part !== "").join(" ");
  return sections([
    ["NAME", [`runc ${name} - ${spec.summary}`]],
    ["USAGE", [usage]],
    ["OPTIONS", optionLines({ ...spec.options, help: helpOption })],
    ["EXAMPLE", [spec.example]],
  ]);
}

/** Help for the program: its commands and global options. */
export function programHelp(): string {
  const shown = commandNames().filter((name) => !specOf(name).hidden);
  return sections([
    ["NAME", ["runc - Open Container Initiative runtime"]],
    ["USAGE", ["runc [global options] <command> [options] [<arg>...]"]],
    [
      "COMMANDS",
      columns(shown.map((name) => [[name, ...(specOf(name).aliases ?? [])].join(", "), specOf(name).summary])),
    ],
    ["GLOBAL OPTIONS", optionLines(globalOptions)],
    ["EXAMPLE", ["runc run --bundle /bundles/web web"]],
  ]);
}

function sections(parts: readonly (readonly [title: string, lines: readonly string[]])[]): string {
  return parts.map(([title, lines]) => `${title}:\n${lines.map((line) => `   ${line}\n`).join("")}`).join("\n");
}

function optionLines(options: Readonly<Record<string, OptionSpec>>): readonly string[] {
  const shown = Object.entries(options).filter(([, spec]) => !spec.hidden);
  return columns(shown.map(([name, spec]) => [optionNames(name, spec), spec.help + defaultNote(spec)]));
}

/** `--bundle <dir>, -b <dir>` */
function optionNames(name: string, spec: OptionSpec): string {
  const value = spec.value === undefined ? "" : ` <${spec.value}>`;
  return [name, ...(spec.aliases ?? [])].map((word) => `${word.length === 1 ? "-" : "--"}${word}${value}`).join(", ");
}

function defaultNote(spec: OptionSpec): string {
  const notes = [
    spec.default === undefined ? "" : `default: ${defaultText(spec)}`,
    spec.env === undefined ? "" : `$${spec.env}`,
  ];
  const given = notes.filter((note) => note !== "").join(", ");
  return given === "" ? "" : ` (${given})`;
}

/** An option's default as written on the command line. Durations have a unit. */
export function defaultText({ type, default: value }: OptionSpec): string {
  return type === "duration" ? `${Number(value) / 1000}s` : String(value);
}

function columns(rows: readonly (readonly [left: string, right: string])[]): readonly string[] {
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `${left.padEnd(width)}  ${right}`);
}
