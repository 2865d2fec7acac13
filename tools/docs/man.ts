/**
 * Manual pages, generated from the table of commands: one for the program and one for each command.
 *
 * @see man(7)
 * @module
 */

import { defaultText } from "../../lib/cli/help.ts";
import { type CommandName, specOf } from "../../lib/cli/table.ts";
import { type DocumentedOption, shownCommands, shownOptions } from "./words.ts";

/** Escapes text for roff. */
function escape(text: string): string {
  return text.replaceAll("\\", "\\e").replaceAll("-", "\\-").replace(/^(?=[.'])/gm, "\\&");
}

/** Maximum width of a source line, by convention. */
const WIDTH = 80;

/** Breaks text at blanks into lines of at most {@link WIDTH}. */
function fill(text: string): string {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const longer = `${lines.at(-1)} ${word}`;
    if (lines.length === 0 || longer.length > WIDTH) lines.push(word.replace(/^(?=[.'])/, "\\&"));
    else lines[lines.length - 1] = longer;
  }
  return lines.join("\n");
}

const sentence = (text: string) => `${escape(text.charAt(0).toUpperCase() + text.slice(1))}.`;

/** `date`: of the page, as 2026-01-31. `program`: its name on the command line. */
export interface PageFacts {
  readonly version: string;
  readonly date: string;
  readonly program: string;
}

function head(name: string, { version, date, program }: PageFacts): string {
  const title = `.TH ${name.toUpperCase()} 8 "${date}" "${program} ${version}" "System Administration"`;
  return `.\\" Generated from the table of commands by tools/docs.ts.\n${title}\n`;
}

function options(list: readonly DocumentedOption[]): string {
  return list.map(({ words, spec }) => {
    const value = spec.value === undefined ? "" : ` \\fI${escape(spec.value)}\\fR`;
    const names = words.map((word) => `\\fB${escape(word)}\\fR${value}`).join(", ");
    const standard = spec.default === undefined ? "" : ` Default: ${escape(defaultText(spec))}.`;
    const variable = spec.env === undefined ? "" : ` Environment: ${escape(spec.env)}.`;
    return `.TP\n${names}\n${fill(sentence(spec.help) + standard + variable)}\n`;
  }).join("");
}

const statuses: readonly [status: string, meaning: string][] = [
  ["0", "success"],
  ["1", "error; or check has found a problem; or doctor misses something"],
  ["2", "only warnings, from check with --strict"],
  ["3", "unknown command"],
  ["128 + n", "signal n ended create, run, exec or debug before the program ran"],
  ["141", "the reader of the output closed it (128 + SIGPIPE)"],
  ["255", "error of exec, debug or wait itself, or an end that wait does not know"],
];

/** The page of the program, such as runc(8). */
export function programPage(facts: PageFacts): string {
  const program = escape(facts.program);
  const commands = shownCommands().map((name) =>
    `.TP\n\\fB${program}\\-${name}\\fR(8)\n${fill(sentence(specOf(name).summary))}\n`
  );
  const codes = statuses.map(([status, meaning]) => `.TP\n${status}\n${sentence(meaning)}\n`);
  return `${head(facts.program, facts)}.SH NAME
${program} \\- run containers as the Open Container Initiative specifies them
.SH SYNOPSIS
.B ${program}
[\\fIglobal options\\fR] \\fIcommand\\fR [\\fIoptions\\fR] [\\fIargument\\fR ...]
.SH DESCRIPTION
Runs a program from a bundle, isolated by namespaces, cgroups and capabilities.
A bundle is a directory that contains a
.I config.json
and a root file system.
.SH COMMANDS
${commands.join("")}.SH OPTIONS
${options(shownOptions())}.SH EXIT STATUS
.BR run ,
.BR exec ,
.B debug
and
.B restore
in the foreground, and
.BR wait ,
exit with the status of the program, or with 128 plus the number of the signal
that killed it.
${codes.join("")}`;
}

/** The page of a command, such as runc-run(8). */
export function commandPage(name: CommandName, facts: PageFacts): string {
  const spec = specOf(name);
  const program = escape(facts.program);
  return `${head(`${facts.program}-${name}`, facts)}.SH NAME
${fill(`${program}\\-${name} \\- ${escape(spec.summary)}`)}
.SH SYNOPSIS
.B ${program} ${name}
${escape(`[options] ${spec.usage}`.trimEnd())}
.SH OPTIONS
${options(shownOptions(name))}.SH EXAMPLES
.EX
${escape(spec.example.replace(/^runc /, `${facts.program} `))}
.EE
.SH SEE ALSO
.BR ${program} (8)
`;
}
