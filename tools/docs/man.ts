/**
 * Manual pages, made from the table of commands: one of the program, one of each command.
 *
 * @see man(7)
 * @module
 */

import { defaultText } from "../../lib/cli/help.ts";
import { type CommandName, specOf } from "../../lib/cli/table.ts";
import { type DocumentedOption, shownCommands, shownOptions } from "./words.ts";

/** Text that roff does not read anything into. */
function escape(text: string): string {
  return text.replaceAll("\\", "\\e").replaceAll("-", "\\-").replace(/^(?=[.'])/gm, "\\&");
}

/** Columns of a source line, by roff's custom. */
const WIDTH = 80;

/** Text in lines of at most {@link WIDTH}, broken at blanks. */
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

/** `date`: of the page, as 2026-01-31. */
export interface PageFacts {
  readonly version: string;
  readonly date: string;
}

function head(name: string, { version, date }: PageFacts): string {
  return `.\\" Made from the table of commands by tools/docs.ts.\n.TH ${name.toUpperCase()} 8 "${date}" "runc ${version}" "System Administration"\n`;
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
  ["0", "it worked"],
  ["1", "an error"],
  ["3", "an unknown command"],
  ["255", "an error of exec"],
];

/** runc(8). */
export function programPage(facts: PageFacts): string {
  const commands = shownCommands().map((name) =>
    `.TP\n\\fBrunc\\-${name}\\fR(8)\n${fill(sentence(specOf(name).summary))}\n`
  );
  const codes = statuses.map(([status, meaning]) => `.TP\n${status}\n${sentence(meaning)}\n`);
  return `${head("runc", facts)}.SH NAME
runc \\- run containers as the Open Container Initiative specifies them
.SH SYNOPSIS
.B runc
[\\fIglobal options\\fR] \\fIcommand\\fR [\\fIoptions\\fR] [\\fIargument\\fR ...]
.SH DESCRIPTION
Takes a bundle, which is a directory with a
.I config.json
and a root file system, and runs a program in it, isolated by namespaces,
cgroups and capabilities.
.SH COMMANDS
${commands.join("")}.SH OPTIONS
${options(shownOptions())}.SH EXIT STATUS
.B run
and
.B exec
in the foreground end with the status of the program, or 128 and the number of
the signal that killed it.
${codes.join("")}`;
}

/** runc-run(8) and the like. */
export function commandPage(name: CommandName, facts: PageFacts): string {
  const spec = specOf(name);
  return `${head(`runc-${name}`, facts)}.SH NAME
${fill(`runc\\-${name} \\- ${escape(spec.summary)}`)}
.SH SYNOPSIS
.B runc ${name}
${escape(`[options] ${spec.usage}`.trimEnd())}
.SH OPTIONS
${options(shownOptions(name))}.SH EXAMPLES
.EX
${escape(spec.example)}
.EE
.SH SEE ALSO
.BR runc (8)
`;
}
