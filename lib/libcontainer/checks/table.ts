/**
 * All rules of `check` in one table. `check` runs them, and docs/checks.md is made from them.
 *
 * @module
 */

import { problemsOf, validationRules, warningRules } from "../config/validate.ts";
import type { CheckRule, RuleText, Subject } from "./rule.ts";
import { hostMountChecks } from "./rules/host_mounts.ts";
import { programChecks } from "./rules/host_program.ts";
import { hostResourceChecks } from "./rules/host_resources.ts";
import { hostSecurityChecks } from "./rules/host_security.ts";
import { filterRisks } from "./rules/risk_filters.ts";
import { isolationRisks } from "./rules/risk_isolation.ts";
import { privilegeRisks } from "./rules/risk_privileges.ts";
import { configRules } from "./rules/spec_config.ts";
import { linuxChecks } from "./rules/spec_linux.ts";
import { mountChecks } from "./rules/spec_mounts.ts";
import { processChecks } from "./rules/spec_process.ts";
import { resourceChecks } from "./rules/spec_resources.ts";
import { seccompChecks } from "./rules/spec_seccomp.ts";
import { schemaTexts, sharedTexts, sharedWarningTexts } from "./shared_rules.ts";

/** Rules with the same subject. */
export interface RuleGroup {
  readonly subject: Subject;
  /** Heading of the group in the documents. */
  readonly title: string;
  readonly rules: readonly CheckRule[];
}

const sharedRules: readonly CheckRule[] = [
  ...validationRules.map((entry): CheckRule => ({
    id: entry[0],
    field: entry[1],
    severity: "problem",
    ...sharedTexts[entry[0]],
    find: (config, facts, mounts) => problemsOf(entry, config, facts, mounts),
  })),
  ...warningRules.map(([id, field, rule]): CheckRule => ({
    id,
    field,
    severity: "warning",
    ...sharedWarningTexts[id],
    find: (config) => rule(config),
  })),
];

/** The rules, in the order in which they run. */
export const ruleGroups: readonly RuleGroup[] = [
  { subject: "spec", title: "Rules that create and run apply, too", rules: sharedRules },
  {
    subject: "spec",
    title: "The specification, and what every kernel refuses",
    rules: [...configRules, ...processChecks, ...linuxChecks, ...mountChecks, ...resourceChecks, ...seccompChecks],
  },
  {
    subject: "host",
    title: "This host",
    rules: [...programChecks, ...hostMountChecks, ...hostResourceChecks, ...hostSecurityChecks],
  },
  { subject: "risk", title: "Risky settings", rules: [...isolationRisks, ...privilegeRisks, ...filterRisks] },
];

/** The rules without a function: the parser's, and the attempt to make a plan. */
export const otherRules: Readonly<Record<keyof typeof schemaTexts, RuleText>> = schemaTexts;
