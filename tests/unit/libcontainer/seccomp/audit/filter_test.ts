/** The filter of an audit, as the kernel would run it. */

import { assertEquals } from "@std/assert";
import { auditArchOf, auditFilter } from "../../../../../lib/libcontainer/seccomp/audit/filter.ts";
import { keptProfile, needsListener, type SeccompFilter } from "../../../../../lib/libcontainer/seccomp/filter.ts";
import { seccompActions } from "../../../../../lib/libcontainer/seccomp/names.ts";
import type { SeccompProfile } from "../../../../../lib/libcontainer/seccomp/profile.ts";
import { simulate } from "../../../../../lib/libcontainer/seccomp/simulate.ts";

const ALLOW = 0x7fff0000, NOTIFY = 0x7fc00000;

/** arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h */
const numbers = {
  x86_64: { read: 0, write: 1, open: 2, close: 3, prctl: 157, beyond: 100_000 },
  aarch64: { read: 63, write: 64, close: 57, prctl: 167, beyond: 100_000 },
} as const;

for (const arch of ["x86_64", "aarch64"] as const) {
  Deno.test(`an audit's filter asks about all calls but those of the hand-over: ${arch}`, () => {
    const { program } = auditFilter({ arch, waitsKillable: true });
    const answer = (auditArch: number, number: number) => simulate(program, { auditArch, number, args: [] }).result;
    for (const [name, number] of Object.entries(numbers[arch])) {
      const isUnasked = ["read", "write", "close"].includes(name);
      assertEquals(answer(auditArchOf[arch], number), isUnasked ? ALLOW : NOTIFY, name);
      // A number means another call on another architecture: 1 is exit on x86.
      assertEquals(answer(0x40000003, number), NOTIFY, name);
    }
  });
}

Deno.test("an audit needs a listener, whatever the profile is; the state keeps the config's profile, if it has one", () => {
  const profile: SeccompProfile = {
    default_action: seccompActions.SCMP_ACT_ERRNO,
    architectures: null,
    syscalls: null,
  };
  const plain: SeccompFilter = { profile, program: new Uint8Array(8), flags: 0 };
  assertEquals([needsListener(plain), keptProfile(plain)], [false, profile]);
  const audited = auditFilter({ arch: "x86_64", profile, waitsKillable: false });
  // SECCOMP_FILTER_FLAG_NEW_LISTENER
  assertEquals([needsListener(audited), keptProfile(audited), audited.flags], [true, profile, 8]);
  const none = auditFilter({ arch: "x86_64", waitsKillable: true });
  // ... and SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
  assertEquals([needsListener(none), keptProfile(none), none.flags], [true, undefined, 40]);
});
