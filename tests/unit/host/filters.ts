/**
 * Compiled seccomp filters for tests: libseccomp is not needed.
 *
 * @module
 */

import type { SeccompFilter } from "../../../lib/libcontainer/seccomp/filter.ts";
import { seccompActions } from "../../../lib/libcontainer/seccomp/names.ts";
import type { SeccompProfile } from "../../../lib/libcontainer/seccomp/profile.ts";

/** A filter that allows everything, as the program of a profile. */
export function bpfFilter(profile: Partial<SeccompProfile> = {}): SeccompFilter {
  return {
    profile: { default_action: seccompActions.SCMP_ACT_ALLOW, architectures: null, syscalls: null, ...profile },
    // BPF_RET | BPF_K, SECCOMP_RET_ALLOW
    program: new Uint8Array([6, 0, 0, 0, 0, 0, 0xff, 0x7f]),
    flags: 0,
  };
}
