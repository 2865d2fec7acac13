/**
 * The filter of an audit: it asks the auditor about each system call. Pure.
 *
 * Three calls are allowed without a question: init makes them to hand the listener over, before anybody can answer.
 *
 * @see seccomp_unotify(2)
 * @module
 */

import { SeccompFilterFlag } from "../../../ffi/constants.ts";
import type { Fd } from "../../../ffi/fd.ts";
import { type Arch, syscallNumber } from "../../../ffi/syscalls.ts";
import { Bpf, type BpfInstruction, encodeBpf } from "../enosys_stub.ts";
import type { SeccompFilter } from "../filter.ts";
import { seccompActions } from "../names.ts";
import type { SeccompProfile } from "../profile.ts";

/** Calls of this machine's architecture that the auditor is not asked about: ../../steps/seccomp.ts, "handOver". */
export const unasked = ["read", "write", "close"] as const;

/** AUDIT_ARCH_* of this machine, which is also its SCMP_ARCH token. include/uapi/linux/audit.h */
export const auditArchOf: Readonly<Record<Arch, number>> = { x86_64: 0xc000003e, aarch64: 0xc00000b7 };

/** SECCOMP_RET_*, include/uapi/linux/seccomp.h */
const RET_ALLOW = 0x7fff0000, RET_USER_NOTIF = 0x7fc00000;
/** Offsets in `struct seccomp_data`. */
const NUMBER = 0, ARCH = 4;

/** A profile that allows everything: that of a config without one. */
const allowAll: SeccompProfile = {
  default_action: seccompActions.SCMP_ACT_ALLOW,
  architectures: null,
  syscalls: null,
};

/** Options of {@link auditFilter}. */
export interface AuditOptions {
  readonly arch: Arch;
  /** The config's, if it has one. */
  readonly profile?: SeccompProfile;
  /** Takes the listener; absent in a plan that is only shown. */
  readonly auditor?: Fd;
  /** The kernel has SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV: signals do not repeat questions. */
  readonly waitsKillable: boolean;
}

/** The filter that takes the place of the profile's. */
export function auditFilter({ arch, profile, auditor, waitsKillable }: AuditOptions): SeccompFilter {
  const { SECCOMP_FILTER_FLAG_NEW_LISTENER, SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV } = SeccompFilterFlag;
  return {
    profile: profile ?? allowAll,
    program: encodeBpf(auditProgram(arch)),
    flags: SECCOMP_FILTER_FLAG_NEW_LISTENER | (waitsKillable ? SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV : 0),
    audit: { hasProfile: profile !== undefined, auditor },
  };
}

function auditProgram(arch: Arch): readonly BpfInstruction[] {
  const instruction = (code: number, k: number, jt = 0, jf = 0) => ({ code, jt, jf, k });
  const numbers = unasked.map((name) => syscallNumber(name, arch));
  const ask = 2 + numbers.length;
  return [
    instruction(Bpf.LD_W_ABS, ARCH),
    // An instruction's own place and the next one count not.
    instruction(Bpf.JMP_JEQ_K, auditArchOf[arch], 0, ask - 1),
    instruction(Bpf.LD_W_ABS, NUMBER),
    ...numbers.map((number, index) => instruction(Bpf.JMP_JEQ_K, number, numbers.length - index, 0)),
    instruction(Bpf.RET_K, RET_USER_NOTIF),
    instruction(Bpf.RET_K, RET_ALLOW),
  ];
}
