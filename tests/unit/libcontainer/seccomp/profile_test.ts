import { assertEquals } from "@std/assert";
import { filterFlags, hasListener, toProfile } from "../../../../lib/libcontainer/seccomp/profile.ts";
import { hasSeccomp } from "../../../../lib/libcontainer/seccomp/filter.ts";
import type { Config, Seccomp } from "../../../../lib/specs/config.ts";

Deno.test("toProfile() gives what runc keeps in state.json", () => {
  const profile = toProfile({
    defaultAction: "SCMP_ACT_ERRNO",
    defaultErrnoRet: 38,
    architectures: ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"],
    flags: ["SECCOMP_FILTER_FLAG_LOG"],
    listenerPath: "/run/agent.sock",
    listenerMetadata: "foo",
    syscalls: [
      { names: ["read", "openat"], action: "SCMP_ACT_ALLOW" },
      {
        names: ["clone"],
        action: "SCMP_ACT_ERRNO",
        errnoRet: 1,
        args: [{ index: 0, value: 2114060288, valueTwo: 0, op: "SCMP_CMP_MASKED_EQ" }],
      },
    ],
  });
  assertEquals(profile, {
    default_action: 2,
    architectures: ["amd64", "x32"],
    flags: ["SECCOMP_FILTER_FLAG_LOG"],
    syscalls: [
      { name: "read", action: 4, errnoRet: null, args: [] },
      { name: "openat", action: 4, errnoRet: null, args: [] },
      { name: "clone", action: 2, errnoRet: 1, args: [{ index: 0, value: 2114060288, value_two: 0, op: 7 }] },
    ],
    default_errno_ret: 38,
    listener_path: "/run/agent.sock",
    listener_metadata: "foo",
  });
});

Deno.test("toProfile() leaves lists that are empty null, as Go does", () => {
  assertEquals(toProfile({ defaultAction: "SCMP_ACT_ALLOW", flags: [] }), {
    default_action: 4,
    architectures: null,
    flags: null,
    syscalls: [],
    default_errno_ret: null,
  });
});

const notify = { names: ["mkdir"], action: "SCMP_ACT_NOTIFY" };

/** linux.seccomp.flags and the bits that seccomp(2) is called with. */
const flagCases: readonly [seccomp: Partial<Seccomp>, bits: number][] = [
  [{}, 4],
  [{ flags: [] }, 0],
  [{ flags: ["SECCOMP_FILTER_FLAG_TSYNC"] }, 0],
  [{ flags: ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"] }, 6],
  [{ flags: ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"], syscalls: [notify] }, 40],
  [{ flags: [], syscalls: [notify] }, 8],
];

for (const [seccomp, bits] of flagCases) {
  Deno.test(`filterFlags() of ${JSON.stringify(seccomp)} is ${bits}`, () => {
    const profile = toProfile({ defaultAction: "SCMP_ACT_ALLOW", ...seccomp });
    assertEquals([filterFlags(profile), hasListener(profile)], [bits, (bits & 8) !== 0]);
  });
}

Deno.test("a profile without action and rules asks for no filter", () => {
  const asks = (seccomp?: Seccomp) => hasSeccomp({ linux: { seccomp } } as Config);
  assertEquals([asks(), asks({ defaultAction: "" }), asks({ defaultAction: "", syscalls: [] })], [false, false, false]);
  assertEquals([asks({ defaultAction: "SCMP_ACT_ALLOW" }), asks({ defaultAction: "", syscalls: [notify] })], [
    true,
    true,
  ]);
});
