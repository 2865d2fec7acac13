/**
 * The output of `runc check`. Pure.
 *
 * @module
 */

import type { Finding } from "../../libcontainer/checks/rule.ts";
import { exactInteger } from "../../specs/json.ts";
import { type Paint, visible } from "./colour.ts";

/** The number of problems and warnings. */
export function countsOf(findings: readonly Finding[]): { readonly problems: number; readonly warnings: number } {
  const problems = findings.filter(({ severity }) => severity === "problem").length;
  return { problems, warnings: findings.length - problems };
}

/** The exit status: 1 with a problem; 2 with a warning if `strict`; else 0. */
export function checkStatus(findings: readonly Finding[], strict: boolean): number {
  const { problems, warnings } = countsOf(findings);
  if (problems > 0) return 1;
  return strict && warnings > 0 ? 2 : 0;
}

/** Three lines for each finding, then the sums. */
export function findingsText(findings: readonly Finding[], paint: Paint): string {
  const { problems, warnings } = countsOf(findings);
  const sums = [count(problems, "problem"), count(warnings, "warning")].join(", ");
  const colour = problems > 0 ? "red" : warnings > 0 ? "yellow" : "green";
  return findings.map((finding) => `${findingLines(finding, paint)}\n\n`).join("") + `${paint(colour, sums)}\n`;
}

function findingLines({ severity, pointer, message, rule, why, fix }: Finding, paint: Paint): string {
  const kind = paint(severity === "problem" ? "red" : "yellow", severity);
  const where = paint("bold", visible(pointer === "" ? "config.json" : pointer));
  return [
    `${kind}: ${where}: ${visible(message)} ${paint("dim", `[${rule}]`)}`,
    `    why: ${visible(why)}`,
    `    fix: ${visible(fix)}`,
  ].join("\n");
}

function count(number: number, noun: string): string {
  return `${number === 0 ? "no" : number} ${noun}${number === 1 ? "" : "s"}`;
}

/** One JSON object. */
export function findingsJson(bundle: string, findings: readonly Finding[]): string {
  return `${JSON.stringify({ bundle, ...countsOf(findings), findings }, exactInteger, 2)}\n`;
}
