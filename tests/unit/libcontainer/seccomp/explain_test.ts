import { assertEquals } from "@std/assert";
import { encodeBpf, RETURN_ENOSYS } from "../../../../lib/libcontainer/seccomp/enosys_stub.ts";
import { explainCall, type ExplainedCall, rulePointers } from "../../../../lib/libcontainer/seccomp/explain.ts";
import { toProfile } from "../../../../lib/libcontainer/seccomp/profile.ts";
import { archTokens } from "../../../../lib/libcontainer/seccomp/values.ts";
import type { Seccomp, SeccompArg } from "../../../../lib/specs/config.ts";

const ALLOW = 0x7fff_0000, EPERM = 0x0005_0001, KILL = 0;
const numbers: Readonly<Record<string, number>> = { read: 0, mkdir: 83, clone: 56, personality: 135 };
const { amd64, x86, arm64 } = archTokens as Readonly<Record<string, number>>;

/** Explains a call under a filter that answers `result` to everything. */
function explained(
  seccomp: Partial<Seccomp>,
  result: number,
  { name = "mkdir", args = [], arch = amd64! }: { name?: string; args?: readonly bigint[]; arch?: number } = {},
) {
  const whole: Seccomp = { defaultAction: "SCMP_ACT_ERRNO", ...seccomp };
  const call: ExplainedCall = { arch, number: numbers[name]!, args, numberOf: (known) => numbers[known] ?? -1 };
  return explainCall({
    profile: toProfile(whole),
    program: encodeBpf([{ code: 0x06, jt: 0, jf: 0, k: result }]),
    nativeArch: amd64!,
    pointers: rulePointers(whole),
  }, call);
}

Deno.test("explainCall() names the rule whose conditions hold and whose action the filter answered", () => {
  const args: readonly SeccompArg[] = [{ index: 0, op: "SCMP_CMP_MASKED_EQ", value: 0x7e020000, valueTwo: 0 }];
  const seccomp = {
    syscalls: [
      { names: ["read", "clone"], action: "SCMP_ACT_ALLOW", args },
      { names: ["clone"], action: "SCMP_ACT_ERRNO", errnoRet: 38 },
      { names: ["clone"], action: "SCMP_ACT_ALLOW" },
    ],
  };
  const { decision, reason, rules } = explained(seccomp, ALLOW, { name: "clone", args: [0x1000_0000n] });
  assertEquals([decision, reason], ["SCMP_ACT_ALLOW", "rule"]);
  assertEquals(rules, [
    {
      index: 1,
      field: "/linux/seccomp/syscalls/0",
      action: "SCMP_ACT_ALLOW",
      conditions: ["arg0 & 0x7e020000 == 0"],
      anyHolds: false,
      applies: false,
      decides: false,
    },
    {
      index: 2,
      field: "/linux/seccomp/syscalls/1",
      action: "SCMP_ACT_ERRNO (ENOSYS)",
      conditions: [],
      anyHolds: false,
      applies: true,
      decides: false,
    },
    {
      index: 3,
      field: "/linux/seccomp/syscalls/2",
      action: "SCMP_ACT_ALLOW",
      conditions: [],
      anyHolds: false,
      applies: true,
      decides: true,
    },
  ]);
});

Deno.test("explainCall() tells the reasons without a rule apart", () => {
  const cases: readonly [what: string, Partial<Seccomp>, result: number, arch: number, decision: string][] = [
    ["default", {}, EPERM, amd64!, "SCMP_ACT_ERRNO (EPERM)"],
    // A rule with the default action is not in the filter.
    [
      "default",
      { syscalls: [{ names: ["mkdir"], action: "SCMP_ACT_ERRNO" }] },
      EPERM,
      amd64!,
      "SCMP_ACT_ERRNO (EPERM)",
    ],
    ["newer", {}, RETURN_ENOSYS, amd64!, "SCMP_ACT_ERRNO (ENOSYS)"],
    ["default", { defaultErrnoRet: 38 }, RETURN_ENOSYS, amd64!, "SCMP_ACT_ERRNO (ENOSYS)"],
    ["architecture", {}, KILL, arm64!, "SCMP_ACT_KILL_THREAD"],
    ["default", { architectures: ["SCMP_ARCH_AARCH64"] }, EPERM, arm64!, "SCMP_ACT_ERRNO (EPERM)"],
    ["other", {}, ALLOW, amd64!, "SCMP_ACT_ALLOW"],
  ];
  for (const [reason, seccomp, result, arch, decision] of cases) {
    const told = explained(seccomp, result, { arch });
    assertEquals([told.reason, told.decision], [reason, decision], JSON.stringify(seccomp));
    assertEquals(told.rules.some(({ decides }) => decides), false);
  }
});

Deno.test("explainCall() applies each comparison as libseccomp does", () => {
  const big = 0x1_0000_0005n;
  const cases: readonly [op: string, value: bigint, yes: readonly bigint[], no: readonly bigint[]][] = [
    ["SCMP_CMP_NE", 5n, [4n, big], [5n]],
    ["SCMP_CMP_LT", 5n, [4n], [5n, big, -1n]],
    ["SCMP_CMP_LE", 5n, [5n], [6n, big, -1n]],
    ["SCMP_CMP_EQ", 5n, [5n], [4n, big]],
    ["SCMP_CMP_GE", 5n, [5n, big, -1n], [4n]],
    ["SCMP_CMP_GT", 5n, [6n, big, -1n], [5n]],
    ["SCMP_CMP_EQ", 0xffff_ffff_ffff_ffffn, [-1n], [1n]],
  ];
  const applies = (op: string, value: bigint, given: bigint, arch = amd64!) =>
    explained({ syscalls: [{ names: ["mkdir"], action: "SCMP_ACT_ALLOW", args: [{ index: 1, op, value }] }] }, ALLOW, {
      args: [9n, given],
      arch,
    }).rules[0]!.applies;
  for (const [op, value, yes, no] of cases) {
    for (const given of yes) assertEquals(applies(op, value, given), true, `${given} ${op} ${value}`);
    for (const given of no) assertEquals(applies(op, value, given), false, `${given} ${op} ${value}`);
  }
  assertEquals(applies("SCMP_CMP_EQ", 5n, big, x86), true, "a 32-bit call has no upper half");
});

Deno.test("explainCall() joins two conditions on one argument with or, on two arguments with and", () => {
  const condition = (index: number, value: number): SeccompArg => ({ index, value, op: "SCMP_CMP_EQ" });
  const rulesOf = (args: readonly SeccompArg[], given: readonly bigint[]) =>
    explained({ syscalls: [{ names: ["personality"], action: "SCMP_ACT_ALLOW", args }] }, ALLOW, {
      name: "personality",
      args: given,
    }).rules;
  const either = rulesOf([condition(0, 0), condition(0, 8)], [8n]);
  assertEquals(either.map(({ anyHolds, applies }) => [anyHolds, applies]), [[true, true]]);
  assertEquals(either[0]!.conditions, ["arg0 == 0", "arg0 == 8"]);
  const both = rulesOf([condition(0, 0), condition(1, 255)], [0n, 8n]);
  assertEquals(both.map(({ anyHolds, applies }) => [anyHolds, applies]), [[false, false]]);
  assertEquals(both[0]!.conditions, ["arg0 == 0", "arg1 == 0xff"]);
});

Deno.test("rulePointers() has the entry of each name, in the order of the profile", () => {
  const seccomp: Seccomp = {
    defaultAction: "SCMP_ACT_ALLOW",
    syscalls: [{ names: ["a", "b"], action: "SCMP_ACT_LOG" }, { names: [], action: "SCMP_ACT_LOG" }, {
      names: ["c"],
      action: "SCMP_ACT_LOG",
    }],
  };
  assertEquals(rulePointers(seccomp), [0, 0, 2].map((index) => `/linux/seccomp/syscalls/${index}`));
});
