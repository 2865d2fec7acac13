/**
 * What a compiled filter decides about one system call, and which rules of the profile account for it. Pure.
 *
 * The decision is the filter's: ./simulate.ts runs it. The rules are then searched for those that apply to the call and
 * have the same action. libseccomp reorders and merges rules, so the program itself does not name them.
 *
 * @module
 */

import { Errno, errnoName } from "../../ffi/errno.ts";
import type { Comparison } from "../../ffi/libraries/libseccomp.ts";
import type { Integer64, Seccomp } from "../../specs/config.ts";
import { RETURN_ENOSYS, X32_ARCH, X86_64_ARCH } from "./enosys_stub.ts";
import { seccompActions, seccompOperators } from "./names.ts";
import type { SeccompCondition, SeccompProfile, SeccompRule } from "./profile.ts";
import { simulate } from "./simulate.ts";
import { actionValue, alternatives, archTokens } from "./values.ts";

/** A profile and its filter. */
export interface ExplainedFilter {
  readonly profile: SeccompProfile;
  /** `struct sock_filter[]` */
  readonly program: Uint8Array<ArrayBuffer>;
  /** The SCMP_ARCH token of the machine that the filter was compiled for. */
  readonly nativeArch: number;
  /** The JSON pointer of each rule of the profile in config.json, if known. */
  readonly pointers?: readonly string[];
}

/** The call to explain. */
export interface ExplainedCall {
  /** SCMP_ARCH token. */
  readonly arch: number;
  readonly number: number;
  readonly args: readonly bigint[];
  /** The number of a system call of this architecture; negative if it has none of that name. */
  readonly numberOf: (name: string) => number;
}

/** A rule of the profile for the call. */
export interface ExplainedRule {
  /** Its number among the rules of the profile, one for each name. */
  readonly index: number;
  /** JSON pointer into config.json, if known. */
  readonly field?: string;
  readonly action: string;
  /** `arg0 & 0x7e020000 == 0`. All must hold; any of them where `anyHolds`. Empty: the rule has no condition. */
  readonly conditions: readonly string[];
  /** Two conditions on one argument are alternatives, as in runc. */
  readonly anyHolds: boolean;
  /** Whether the conditions hold for the arguments. */
  readonly applies: boolean;
  /** Whether the filter's decision is this rule's. */
  readonly decides: boolean;
}

/**
 * Why the filter decides so.
 *
 * - `rule`: a rule applies.
 * - `default`: no rule with another action applies.
 * - `newer`: the number is larger than all that the profile names, so the answer is ENOSYS instead of the default.
 * - `architecture`: the profile does not list the architecture.
 * - `other`: no rule for this number has the action, because libseccomp merged rules or translated one.
 */
export type Reason = "rule" | "default" | "newer" | "architecture" | "other";

/** The explanation of a call. */
export interface Explanation {
  /** `SCMP_ACT_ERRNO (EPERM)`. */
  readonly decision: string;
  readonly reason: Reason;
  /** The profile's rules for the system call, in its order. */
  readonly rules: readonly ExplainedRule[];
  /** The instructions that ran. */
  readonly path: readonly number[];
}

/** The field of config.json for each rule of {@link SeccompProfile.syscalls}, which has one rule for each name. */
export function rulePointers({ syscalls = [] }: Seccomp): readonly string[] {
  return syscalls.flatMap(({ names }, index) => names.map(() => `/linux/seccomp/syscalls/${index}`));
}

/** Explains the decision about `call`. */
export function explainCall(filter: ExplainedFilter, call: ExplainedCall): Explanation {
  const { arch, number } = call;
  // A call of a 32-bit architecture has no upper halves.
  const args = call.args.map((value) => BigInt.asUintN(is32Bit(arch) ? 32 : 64, value));
  const { result, path } = simulate(filter.program, { auditArch: auditArchOf(arch), number, args });
  const rules = rulesFor(filter, { ...call, args }, result);
  return { decision: decisionText(result), reason: reasonFor(filter, { arch, result, rules }), rules, path };
}

/** An x32 call has x86_64's architecture and a bit in its number. */
function auditArchOf(arch: number): number {
  return arch === X32_ARCH ? X86_64_ARCH : arch;
}

function rulesFor(
  { profile, pointers }: ExplainedFilter,
  { number, args, numberOf }: ExplainedCall,
  result: number,
): readonly ExplainedRule[] {
  const defaultValue = actionValue(profile.default_action, profile.default_errno_ret);
  return (profile.syscalls ?? []).flatMap((rule, index) => {
    if (numberOf(rule.name) !== number) return [];
    const all = alternatives(rule);
    const applies = all.some((comparisons) => comparisons.every((comparison) => holds(comparison, args)));
    const value = actionValue(rule.action, rule.errnoRet);
    return [{
      index,
      field: pointers?.[index],
      action: actionText(rule),
      conditions: (rule.args ?? []).map(conditionText),
      anyHolds: all.length > 1,
      applies,
      // A rule with the default action is left out of the filter.
      decides: applies && value === result && value !== defaultValue,
    }];
  });
}

function reasonFor(
  { profile, nativeArch }: ExplainedFilter,
  { arch, result, rules }: {
    readonly arch: number;
    readonly result: number;
    readonly rules: readonly ExplainedRule[];
  },
): Reason {
  const listed = (profile.architectures ?? []).map((name) => archTokens[name]);
  if (arch !== nativeArch && !listed.includes(arch)) return "architecture";
  if (rules.some(({ decides }) => decides)) return "rule";
  if (result === actionValue(profile.default_action, profile.default_errno_ret)) return "default";
  return result === RETURN_ENOSYS ? "newer" : "other";
}

/** Without __AUDIT_ARCH_64BIT, include/uapi/linux/audit.h. x32 has registers of 64 bits. */
function is32Bit(arch: number): boolean {
  return (arch & 0x8000_0000) === 0 && arch !== X32_ARCH;
}

/** Whether a comparison holds, in `enum scmp_compare`. An argument that was not given is 0. */
function holds({ argument, operator, value, valueTwo }: Comparison, args: readonly bigint[]): boolean {
  const given = args[argument] ?? 0n;
  const datum = BigInt.asUintN(64, value);
  switch (operator) {
    case 1:
      return given !== datum;
    case 2:
      return given < datum;
    case 3:
      return given <= datum;
    case 4:
      return given === datum;
    case 5:
      return given >= datum;
    case 6:
      return given > datum;
    default:
      return (given & datum) === BigInt.asUintN(64, valueTwo);
  }
}

/** Actions by SECCOMP_RET_* without data. KILL_THREAD is also SCMP_ACT_KILL. */
const actionNames: Readonly<Record<number, string>> = {
  0x8000_0000: "SCMP_ACT_KILL_PROCESS",
  0x0000_0000: "SCMP_ACT_KILL_THREAD",
  0x0003_0000: "SCMP_ACT_TRAP",
  0x0005_0000: "SCMP_ACT_ERRNO",
  0x7fc0_0000: "SCMP_ACT_NOTIFY",
  0x7ff0_0000: "SCMP_ACT_TRACE",
  0x7ffc_0000: "SCMP_ACT_LOG",
  0x7fff_0000: "SCMP_ACT_ALLOW",
};

/** `SCMP_ACT_ERRNO (EPERM)`, from SECCOMP_RET_* with its data. */
export function decisionText(result: number): string {
  const name = actionNames[(result & 0xffff_0000) >>> 0] ?? `0x${result.toString(16)}`;
  return name + dataText(name, result & 0xffff);
}

function actionText({ action, errnoRet }: SeccompRule): string {
  const name = nameIn(seccompActions, action);
  return name + dataText(name, errnoRet ?? Errno.EPERM);
}

/** The errno that an action has: the number means an errno for ERRNO only. */
function dataText(action: string, data: number): string {
  if (action === "SCMP_ACT_ERRNO") return ` (${errnoName(data)})`;
  return action === "SCMP_ACT_TRACE" ? ` (${data})` : "";
}

const signs: Readonly<Record<number, string>> = {
  [seccompOperators.SCMP_CMP_NE]: "!=",
  [seccompOperators.SCMP_CMP_LT]: "<",
  [seccompOperators.SCMP_CMP_LE]: "<=",
  [seccompOperators.SCMP_CMP_EQ]: "==",
  [seccompOperators.SCMP_CMP_GE]: ">=",
  [seccompOperators.SCMP_CMP_GT]: ">",
};

function conditionText({ index, op, value, value_two }: SeccompCondition): string {
  if (op === seccompOperators.SCMP_CMP_MASKED_EQ) return `arg${index} & ${hex(value)} == ${hex(value_two)}`;
  return `arg${index} ${signs[op]} ${hex(value)}`;
}

/** Small numbers stay decimal: they are rarely bit masks. */
function hex(value: Integer64): string {
  return value < 10 ? String(value) : `0x${value.toString(16)}`;
}

function nameIn(table: Readonly<Record<string, number>>, value: number): string {
  return Object.keys(table).find((name) => table[name] === value) ?? String(value);
}
