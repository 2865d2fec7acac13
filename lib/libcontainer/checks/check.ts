/**
 * Runs the rules of `check`. Pure.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import type { Config } from "../../specs/config.ts";
import { upperLevels } from "../../specs/json.ts";
import { parseConfig } from "../../specs/parse.ts";
import { configFields, type FieldRules } from "../../specs/schema.ts";
import type { Problem } from "../../specs/problem.ts";
import type { ParsedMount } from "../config/mounts.ts";
import type { CheckFacts } from "./facts.ts";
import type { Finding, RuleText, Subject } from "./rule.ts";
import { otherRules, ruleGroups } from "./table.ts";

/** A parsed config and what the parser has found. Without a config, nothing else can be checked. */
export interface CheckedText {
  readonly config?: Config;
  readonly findings: readonly Finding[];
}

/** Parses the text of config.json. Values of wrong types become findings and zero values. */
export function checkText(text: string): CheckedText {
  const findings: Finding[] = [];
  const report = (id: "field-type" | "field-unknown") => (problems: readonly Problem[]) => {
    findings.push(
      ...problems.filter((problem) => !isForeign(problem)).map((problem) =>
        toFinding(id, "schema", otherRules[id], problem)
      ),
    );
  };
  try {
    const config = parseConfig(text, { onProblems: report("field-type"), onIgnored: report("field-unknown") });
    return { config, findings };
  } catch (error) {
    if (!(error instanceof RuncError)) throw error;
    return { findings: [otherFinding("json-syntax", error)] };
  }
}

/** Whether it is a section for another platform, which the specification allows. */
function isForeign({ at }: Problem): boolean {
  return (configFields as FieldRules)[at.slice(1)] === "foreign";
}

/** A finding for an error that is not from a rule. */
export function otherFinding(id: keyof typeof otherRules, { message, field = "", hint }: RuncError): Finding {
  const subject = id === "plan" ? "host" : "schema";
  return toFinding(id, subject, otherRules[id], { at: field, wanted: "", message, hint });
}

/**
 * The findings of all rules. `before`: those of the parser. Fields that it has complained about have zero values, so
 * what a rule says about them is left out.
 */
export function checkConfig(
  config: Config,
  facts: CheckFacts,
  mounts: readonly ParsedMount[],
  before: readonly Finding[] = [],
): readonly Finding[] {
  const broken = before.filter(({ rule }) => rule === "field-type").map(({ pointer }) => pointer);
  const isTainted = ({ at }: Problem) => broken.some((pointer) => isAround(pointer, at));
  return ruleGroups.flatMap(({ subject, rules }) =>
    rules.flatMap((rule) => {
      const problems = hasField(config, rule.field) ? [...rule.find(config, facts, mounts)] : [];
      return problems.filter((problem) => !isTainted(problem)).map((one) => toFinding(rule.id, subject, rule, one));
    })
  );
}

function toFinding(rule: string, subject: Subject, text: RuleText, problem: Problem): Finding {
  const { severity, why, fix } = text;
  const { at: pointer, found, wanted, message, hint } = problem;
  // 60: as many levels as a message shows. A value may be deeper than JSON.stringify can write.
  const shown = upperLevels(found, 60);
  return { rule, severity, subject, pointer, found: shown, wanted, message, why, fix: hint ?? fix };
}

/** Whether one of the pointers contains the other. */
function isAround(one: string, other: string): boolean {
  const [short, long] = one.length < other.length ? [one, other] : [other, one];
  return short !== "" && (long === short || long.startsWith(`${short}/`));
}

function hasField(config: Config, field: string): boolean {
  if (field === "") return true;
  let value: unknown = config;
  for (const key of field.split(".")) value = (value as Readonly<Record<string, unknown>> | undefined)?.[key];
  return value !== undefined;
}
