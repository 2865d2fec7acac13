/**
 * A profile in libseccomp's numbers: its actions, architectures and conditions. Pure.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { Errno } from "../../ffi/errno.ts";
import type { Comparison } from "../../ffi/libraries/libseccomp.ts";
import { seccompActions as Action, seccompOperators as Operator } from "./names.ts";
import type { SeccompCondition, SeccompRule } from "./profile.ts";

/** SCMP_ACT values by the profile's numbers. `errno`: the low 16 bits are an errno. seccomp.h */
const actionValues: Readonly<Record<number, { readonly value: number; readonly errno?: true }>> = {
  [Action.SCMP_ACT_KILL]: { value: 0x00000000 },
  [Action.SCMP_ACT_KILL_THREAD]: { value: 0x00000000 },
  [Action.SCMP_ACT_KILL_PROCESS]: { value: 0x80000000 },
  [Action.SCMP_ACT_TRAP]: { value: 0x00030000 },
  [Action.SCMP_ACT_ERRNO]: { value: 0x00050000, errno: true },
  [Action.SCMP_ACT_NOTIFY]: { value: 0x7fc00000 },
  [Action.SCMP_ACT_TRACE]: { value: 0x7ff00000, errno: true },
  [Action.SCMP_ACT_LOG]: { value: 0x7ffc0000 },
  [Action.SCMP_ACT_ALLOW]: { value: 0x7fff0000 },
};

/** `enum scmp_compare` by the profile's numbers. seccomp.h */
const operatorValues: Readonly<Record<number, number>> = {
  [Operator.SCMP_CMP_NE]: 1,
  [Operator.SCMP_CMP_LT]: 2,
  [Operator.SCMP_CMP_LE]: 3,
  [Operator.SCMP_CMP_EQ]: 4,
  [Operator.SCMP_CMP_GE]: 5,
  [Operator.SCMP_CMP_GT]: 6,
  [Operator.SCMP_CMP_MASKED_EQ]: 7,
};

/** SCMP_ARCH tokens by the profile's names. seccomp.h, include/uapi/linux/audit.h */
export const archTokens: Readonly<Record<string, number>> = {
  x86: 0x40000003,
  amd64: 0xc000003e,
  x32: 0x4000003e,
  arm: 0x40000028,
  arm64: 0xc00000b7,
  mips: 0x00000008,
  mips64: 0x80000008,
  mips64n32: 0xa0000008,
  mipsel: 0x40000008,
  mipsel64: 0xc0000008,
  mipsel64n32: 0xe0000008,
  ppc: 0x00000014,
  ppc64: 0x80000015,
  ppc64le: 0xc0000015,
  riscv64: 0xc00000f3,
  s390: 0x00000016,
  s390x: 0x80000016,
  loong64: 0xc0000102,
};

/** SCMP_ACT value of a profile's action: SECCOMP_RET_*. @throws {RuncError} `config-invalid` for an unknown action. */
export function actionValue(action: number, errno: number | null | undefined): number {
  const known = actionValues[action];
  if (known === undefined) throw refused("action in seccomp profile is invalid: invalid action, cannot use in rule");
  // The low 16 bits, as in libseccomp's macros.
  return known.errno ? known.value | ((errno ?? Errno.EPERM) & 0xffff) : known.value;
}

/**
 * Conditions that must hold together. If one argument has two conditions, each one becomes its own rule, as in runc.
 */
export function alternatives({ name, args }: SeccompRule): readonly (readonly Comparison[])[] {
  const comparisons = (args ?? []).map((condition) => toComparison(name, condition));
  const indexes = new Set(comparisons.map(({ argument }) => argument));
  return indexes.size < comparisons.length ? comparisons.map((comparison) => [comparison]) : [comparisons];
}

function toComparison(name: string, { index, op, value, value_two }: SeccompCondition): Comparison {
  const operator = operatorValues[op];
  const wrong = operator === undefined
    ? "invalid operator, cannot use in rule"
    : index > 5
    ? `syscalls only have up to 6 arguments (${index} given)`
    : undefined;
  if (wrong !== undefined) throw refused(`error creating seccomp syscall condition for syscall ${name}: ${wrong}`);
  return { argument: index, operator: operator!, value: BigInt(value), valueTwo: BigInt(value_two) };
}

/** The error for a profile that cannot be compiled. */
export function refused(message: string, hint?: string): RuncError {
  return new RuncError("config-invalid", message, { field: "/linux/seccomp", hint });
}
