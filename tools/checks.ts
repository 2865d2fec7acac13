/**
 * Writes docs/checks.md from the rules of `check` and the questions of `doctor`.
 *
 *     deno run --allow-write=docs tools/checks.ts
 *
 * @module
 */

import type { Question } from "../lib/libcontainer/checks/doctor/answer.ts";
import { questions } from "../lib/libcontainer/checks/doctor/diagnose.ts";
import type { RuleText } from "../lib/libcontainer/checks/rule.ts";
import { otherRules, ruleGroups } from "../lib/libcontainer/checks/table.ts";

/** A table with columns of equal width, as `deno fmt` writes it. */
function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column]!.length)));
  const line = (row: readonly string[]) =>
    `| ${row.map((cell, column) => cell.padEnd(widths[column]!)).join(" | ")} |\n`;
  const rule = `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |\n`;
  return line(head) + rule + rows.map(line).join("");
}

/** A text for Markdown: an asterisk outside of code is no emphasis. */
function escape(text: string): string {
  return text.split(/(`[^`]*`)/).map((part) => part.startsWith("`") ? part : part.replaceAll("*", "\\*")).join("");
}

function ruleRow(id: string, { severity, finds, why, fix }: RuleText): readonly string[] {
  return [`\`${id}\``, severity, escape(finds), escape(why), escape(fix)];
}

function ruleTables(): string {
  const head = ["rule", "severity", "what it finds", "why", "what to do"];
  const groups = ruleGroups.map(({ title, rules }) =>
    `### ${title}\n\n${table(head, rules.map((rule) => ruleRow(rule.id, rule)))}`
  );
  const others = table(head, Object.entries(otherRules).map(([id, text]) => ruleRow(id, text)));
  return [`### Reading config.json, and making a plan\n\n${others}`, ...groups].join("\n");
}

function questionTable(): string {
  const row = ({ id, area, asks, how }: Question) => [`\`${id}\``, area, escape(asks), escape(how)];
  return table(["question", "area", "what it asks", "how it finds out"], questions.map(row));
}

/** Width of a line, as in deno.json. */
const WIDTH = 120;

/** A paragraph or, with `first`, an item of a list: broken at blanks, as `deno fmt` does it. */
function wrap(text: string, first = ""): string {
  const indent = " ".repeat(first.length);
  const lines = [first];
  for (const word of text.split(" ")) {
    const line = lines.at(-1)!;
    const longer = line.trim() === first.trim() && line.length === first.length ? line + word : `${line} ${word}`;
    if (longer.length <= WIDTH) lines[lines.length - 1] = longer;
    else lines.push(indent + word);
  }
  return `${lines.join("\n")}\n`;
}

/** The text of docs/checks.md. */
export function checksDocument(): string {
  const count = Object.keys(otherRules).length + ruleGroups.reduce((sum, { rules }) => sum + rules.length, 0);
  return [
    "# What check and doctor know\n",
    "Made by tools/checks.ts from the rules in lib/libcontainer/checks.\n",
    "## runc check\n",
    wrap(
      `\`runc check --bundle DIR\` compares a bundle with ${count} rules and prints everything that it finds at once. ` +
        "It changes nothing.",
    ),
    wrap(
      "A **problem** prevents the container from being created on this host, or violates the specification. The " +
        "status is 1.",
      "- ",
    ) + wrap(
      "A **warning** names a setting that is risky, ignored or probably a mistake. The status is 0; with `--strict` " +
        "it is 2 if there are only warnings.",
      "- ",
    ),
    wrap(
      "Each finding has the field as a JSON pointer, why it matters, and what to do. With `--format json` the output is " +
        "one object: `bundle`, `problems` and `warnings` (numbers), and `findings`, a list of objects with `rule`, " +
        "`severity`, `subject` (`schema`, `spec`, `host` or `risk`), `pointer`, `found`, `wanted`, `message`, `why` " +
        "and `fix`. Ids of rules do not change; texts may.",
    ),
    ruleTables(),
    "## runc doctor\n",
    wrap(
      `\`runc doctor\` answers ${questions.length} questions about the host. It finds the answers by trying things out ` +
        "where that changes nothing, and not by the version of the kernel. `--for DIR` asks only about what the bundle " +
        "in DIR needs.",
    ),
    table(["state", "meaning"], [
      ["ok", "it works"],
      ["limited", "it works in part"],
      ["off", "the host does not have it, and most containers do not need it"],
      ["missing", "the host does not have it, and containers, or this bundle, need it"],
    ]),
    wrap(
      "A line that is not ok has the command that changes it, where there is one. The status is 1 if something is " +
        "missing, else 0. With `--format json` the output is one object: `bundle` (with `--for`), `missing` (true or " +
        "false), and `answers`, a list of objects with `id`, `area`, `state`, `message` and `fix`.",
    ),
    questionTable(),
  ].join("\n");
}

if (import.meta.main) Deno.writeTextFileSync("docs/checks.md", checksDocument());
