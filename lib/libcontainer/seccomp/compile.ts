/**
 * Compiles a seccomp profile to the kernel's BPF program: libseccomp's program after the ENOSYS stub. Runs in: parent.
 *
 * @module
 */

import { Errno, errnoText } from "../../ffi/errno.ts";
import { type Libseccomp, type SeccompContext, UNKNOWN_SYSCALL } from "../../ffi/libraries/libseccomp.ts";
import type { Log } from "../runtime.ts";
import { encodeBpf, enosysStub } from "./enosys_stub.ts";
import { seccompActions as Action } from "./names.ts";
import type { SeccompProfile, SeccompRule } from "./profile.ts";
import { actionValue, alternatives, archTokens, refused } from "./values.ts";

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
