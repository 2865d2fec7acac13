/**
 * Compiles a seccomp profile to the kernel's BPF program: libseccomp's program after the ENOSYS stub. Runs in: parent.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { Errno, errnoText } from "../../ffi/errno.ts";
import {
  type Comparison,
  type Libseccomp,
  type SeccompContext,
  UNKNOWN_SYSCALL,
} from "../../ffi/libraries/libseccomp.ts";
import type { Log } from "../runtime.ts";
import { encodeBpf, enosysStub } from "./enosys_stub.ts";
import { seccompActions as Action, seccompOperators as Operator } from "./names.ts";
import type { SeccompCondition, SeccompProfile, SeccompRule } from "./profile.ts";

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
const archTokens: Readonly<Record<string, number>> = {
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

/** From this number of rules on, libseccomp's binary tree is faster than its list. runc has the same limit. */
const TREE_FROM = 33;
/** BPF_MAXINSNS, include/uapi/linux/bpf_common.h */
const MAX_INSTRUCTIONS = 4096;
const INSTRUCTION_SIZE = 8;

/** Defaults that also suit system calls unknown to the profile: they allow the call, or leave it to a tracer. */
const permissive: readonly number[] = [Action.SCMP_ACT_ALLOW, Action.SCMP_ACT_LOG, Action.SCMP_ACT_TRACE];

/** @throws {RuncError} `config-invalid` for what libseccomp rejects, with runc's message. */
export function compileProfile(library: Libseccomp, profile: SeccompProfile, log: Log): Uint8Array<ArrayBuffer> {
  const defaultAction = actionValue(profile.default_action, profile.default_errno_ret);
  const rules = profile.syscalls ?? [];
  using context = library.filter(defaultAction);
  for (const name of profile.architectures ?? []) addArch(context, name);
  if (rules.length >= TREE_FROM) context.optimize();
  const native = library.nativeArch;
  for (const rule of rules) addRule({ library, context, native, defaultAction, log }, rule);
  const filter = context.exportBpf();
  const stub = encodeBpf(stubOf(library, profile));
  const program = new Uint8Array(new ArrayBuffer(stub.length + filter.length));
  program.set(stub);
  program.set(filter, stub.length);
  const count = program.length / INSTRUCTION_SIZE;
  if (count > MAX_INSTRUCTIONS) {
    throw refused(`the filter has ${count} instructions; the kernel accepts at most ${MAX_INSTRUCTIONS}`);
  }
  return program;
}

function stubOf(library: Libseccomp, profile: SeccompProfile) {
  const { default_action, default_errno_ret } = profile;
  if (permissive.includes(default_action)) return [];
  // Then it is already the answer of the default.
  if (default_action === Action.SCMP_ACT_ERRNO && default_errno_ret === Errno.ENOSYS) return [];
  const names = (profile.syscalls ?? []).map(({ name }) => name);
  // libseccomp always filters the native architecture, even if the profile does not list it.
  const archs = new Set([...(profile.architectures ?? []).map((name) => archTokens[name]!), library.nativeArch]);
  return enosysStub([...archs].map((arch) => ({
    arch,
    last: names.reduce((last, name) => Math.max(last, library.resolve(name, arch)), 0),
  })));
}

function actionValue(action: number, errno: number | null | undefined): number {
  const known = actionValues[action];
  if (known === undefined) throw refused("action in seccomp profile is invalid: invalid action, cannot use in rule");
  // The low 16 bits, as in libseccomp's macros.
  return known.errno ? known.value | ((errno ?? Errno.EPERM) & 0xffff) : known.value;
}

function addArch(context: SeccompContext, name: string): void {
  const result = archTokens[name] === undefined ? -Errno.EINVAL : context.addArch(archTokens[name]);
  if (result === 0) return;
  throw refused(
    `error adding architecture to seccomp filter: ${name}: ${errnoText(-result)}`,
    result === -Errno.EINVAL ? "this libseccomp does not know the architecture" : undefined,
  );
}

interface Target {
  readonly library: Libseccomp;
  readonly context: SeccompContext;
  readonly native: number;
  readonly defaultAction: number;
  readonly log: Log;
}

function addRule({ library, context, native, defaultAction, log }: Target, rule: SeccompRule): void {
  if (rule.name === "") throw refused("empty string is not a valid syscall");
  const action = actionValue(rule.action, rule.errnoRet);
  // libseccomp rejects a rule with the default action.
  if (action === defaultAction) return;
  const number = library.resolve(rule.name, native);
  if (number === UNKNOWN_SYSCALL) {
    // Profiles are written for many kernels and libraries. A call unknown here cannot be called by name.
    log("debug", `unknown seccomp syscall ${JSON.stringify(rule.name)} ignored`);
    return;
  }
  for (const comparisons of alternatives(rule)) {
    const result = context.addRule(action, number, comparisons);
    if (result !== 0) {
      throw refused(`error adding seccomp filter rule for syscall ${rule.name}: ${errnoText(-result)}`);
    }
  }
}

/**
 * Conditions that must hold together. If one argument has two conditions, each one becomes its own rule, as in runc.
 */
function alternatives({ name, args }: SeccompRule): readonly (readonly Comparison[])[] {
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

function refused(message: string, hint?: string): RuncError {
  return new RuncError("config-invalid", message, { field: "/linux/seccomp", hint });
}
