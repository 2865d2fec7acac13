/** What an audit records, and the report of it. */

import { assertEquals } from "@std/assert";
import { type NotedCall, Recording } from "../../../../../lib/libcontainer/seccomp/audit/recording.ts";
import { auditReport } from "../../../../../lib/libcontainer/seccomp/audit/report.ts";
import { Bpf, type BpfInstruction, encodeBpf } from "../../../../../lib/libcontainer/seccomp/enosys_stub.ts";
import { seccompActions, seccompOperators } from "../../../../../lib/libcontainer/seccomp/names.ts";
import type { SeccompProfile } from "../../../../../lib/libcontainer/seccomp/profile.ts";

const X86_64 = 0xc000003e, X86 = 0x40000003;
const names: Readonly<Record<number, string>> = { 1: "write", 10: "ask", 20: "clone", 30: "mount" };
const numberOf = (name: string) => Number(Object.keys(names).find((number) => names[Number(number)] === name) ?? -1);
const nameOf = (number: number) => names[number];

/** Allows `ask`, and `clone` if its first argument is 7; denies everything else. */
const { SCMP_ACT_ALLOW, SCMP_ACT_ERRNO } = seccompActions;
const profile: SeccompProfile = {
  default_action: SCMP_ACT_ERRNO,
  architectures: ["amd64"],
  syscalls: [
    { name: "ask", action: SCMP_ACT_ALLOW, errnoRet: null, args: null },
    {
      name: "clone",
      action: SCMP_ACT_ALLOW,
      errnoRet: null,
      args: [{ index: 0, value: 7, value_two: 0, op: seccompOperators.SCMP_CMP_EQ }],
    },
  ],
};
const instruction = (code: number, k: number, jt = 0, jf = 0): BpfInstruction => ({ code, jt, jf, k });
const program = encodeBpf([
  instruction(Bpf.LD_W_ABS, 0),
  instruction(Bpf.JMP_JEQ_K, 10, 4, 0),
  instruction(Bpf.JMP_JEQ_K, 20, 0, 2),
  instruction(Bpf.LD_W_ABS, 16),
  instruction(Bpf.JMP_JEQ_K, 7, 1, 0),
  instruction(Bpf.RET_K, 0x50001),
  instruction(Bpf.RET_K, 0x7fff0000),
]);

function report(calls: readonly Partial<NotedCall>[], filter?: { profile: SeccompProfile; program: typeof program }) {
  const recording = new Recording({ filter, numberOf, programOf: (pid) => `program ${pid}` });
  for (const call of calls) recording.add({ auditArch: X86_64, number: 10, args: [0n], pid: 1, ...call });
  const { records, unrecorded } = recording;
  const options = { id: "box", records, unrecorded, unasked: ["write"], nativeArch: X86_64, numberOf, nameOf };
  return auditReport({ ...options, filter });
}

const arch = "SCMP_ARCH_X86_64";

Deno.test("a report has what was used, what would have been denied, and a profile", () => {
  const calls = [{}, {}, { number: 20, args: [7n] }, { number: 30, args: [255n], pid: 2 }, { number: 30, pid: 3 }];
  assertEquals(report(calls, { profile, program }), {
    id: "box",
    used: [
      { name: "ask", arch, calls: 2 },
      { name: "clone", arch, calls: 1 },
      { name: "mount", arch, calls: 2 },
      { name: "write", arch },
    ],
    denied: [{
      name: "mount",
      arch,
      calls: 2,
      decision: "SCMP_ACT_ERRNO (EPERM)",
      args: ["0xff"],
      program: "program 2",
    }],
    profile: {
      defaultAction: "SCMP_ACT_ERRNO",
      architectures: [arch],
      syscalls: [
        { names: ["ask", "mount", "write"], action: "SCMP_ACT_ALLOW" },
        { names: ["clone"], action: "SCMP_ACT_ALLOW", args: [{ index: 0, value: 7, op: "SCMP_CMP_EQ" }] },
      ],
    },
  });
});

Deno.test("a condition is left out of the profile if the call was also made without it being true", () => {
  const { denied, profile: made } = report([{ number: 20, args: [7n] }, { number: 20, args: [8n] }], {
    profile,
    program,
  });
  assertEquals(denied.map(({ name, args }) => [name, args]), [["clone", ["0x8"]]]);
  assertEquals(made.syscalls, [{ names: ["clone", "write"], action: "SCMP_ACT_ALLOW" }]);
});

Deno.test("without a profile nothing is denied; numbers without a name are shown, and in no profile", () => {
  const { used, denied, profile: made } = report([{ number: 99 }, { number: 10, auditArch: X86 }]);
  assertEquals(used.map(({ name, arch }) => `${name} ${arch}`), [
    `99 ${arch}`,
    "ask SCMP_ARCH_X86",
    `write ${arch}`,
  ]);
  assertEquals(denied, []);
  assertEquals(made.architectures, [arch, "SCMP_ARCH_X86"]);
  assertEquals(made.syscalls, [{ names: ["ask", "write"], action: "SCMP_ACT_ALLOW" }]);
});

Deno.test("a record stays small: many arguments of one call, many numbers", () => {
  const many = Array.from({ length: 1000 }, (_, index) => ({ number: 20, args: [BigInt(index)] }));
  const { used, denied } = report(many, { profile, program });
  assertEquals([used[0]!.calls, denied[0]!.calls], [1000, 999]);
  const numbers = Array.from({ length: 3000 }, (_, number) => ({ number }));
  const { used: all, unrecorded } = report(numbers);
  assertEquals([all.length, unrecorded], [2049, 952]);
});
