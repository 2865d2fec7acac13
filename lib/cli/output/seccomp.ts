/**
 * The output of `seccomp explain`. Pure.
 *
 * @module
 */

import type { ExplainedRule, Explanation, Reason } from "../../libcontainer/seccomp/explain.ts";

/** An explanation, and the call that it is for. */
export interface CallExplanation extends Explanation {
  /** The name or the number, as it was given. */
  readonly syscall: string;
  readonly number: number;
  readonly args: readonly bigint[];
  /** `SCMP_ARCH_X86_64` */
  readonly architecture: string;
  /** The instructions that ran, in their order, if they are to be shown. */
  readonly instructions?: readonly string[];
}

/** The text for a config without a profile. */
export const NO_PROFILE = "every system call is allowed: there is no linux.seccomp\n";

const reasons: Readonly<Record<Reason, string>> = {
  rule: "a rule of the profile applies",
  default: "no rule with another action applies, so defaultAction decides",
  newer: "the number is larger than all in the profile: such calls get ENOSYS instead of defaultAction",
  architecture: "the profile does not list the architecture",
  other: "no rule for this number has this action: libseccomp merged rules, or translated one for the architecture",
};

/** The decision, the reason, and the profile's rules for the system call. `*` marks the rules that decide. */
export function formatExplanation(explanation: CallExplanation): string {
  const { syscall, number, args, architecture, decision, reason, rules, instructions = [] } = explanation;
  const call = `${syscall}(${args.map((value) => value < 10n ? value : `0x${value.toString(16)}`).join(", ")})`;
  return [
    `${call}: ${decision}`,
    `   ${reasons[reason]}`,
    `   number ${number} of ${architecture}`,
    ...(rules.length === 0
      ? ["", `no rule for ${syscall}`]
      : ["", `rules for ${syscall} (* decides):`, ...rules.map(ruleLine)]),
    ...(instructions.length === 0 ? [] : ["", "instructions that ran:", ...instructions.map((line) => `   ${line}`)]),
  ].map((line) => `${line}\n`).join("");
}

function ruleLine({ action, conditions, anyHolds, applies, decides, field, index }: ExplainedRule): string {
  const mark = decides ? "*" : " ";
  const condition = conditions.length === 0 ? "" : ` if ${conditions.join(anyHolds ? " or " : " and ")}`;
  const missed = applies ? decides ? "" : ", applies but does not decide" : ", does not apply";
  return ` ${mark} ${action}${condition}  (${field ?? `rule ${index} of state.json`}${missed})`;
}

/** The same as an object for JSON. Arguments are texts: JSON readers would round large numbers. */
export function explanationObject(explanation: CallExplanation): Readonly<Record<string, unknown>> {
  const { syscall, number, args, architecture, decision, reason, rules, instructions } = explanation;
  return {
    syscall,
    number,
    args: args.map((value) => `0x${value.toString(16)}`),
    architecture,
    decision,
    reason,
    rules,
    ...(instructions === undefined ? {} : { instructions }),
  };
}
