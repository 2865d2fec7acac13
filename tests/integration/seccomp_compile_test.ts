/** What a profile's filter says about calls: the program is compiled by libseccomp and run in a machine of our own. Needs no root. */

import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../lib/errors.ts";
import { Libseccomp } from "../../lib/ffi/libraries/libseccomp.ts";
import { compileProfile } from "../../lib/libcontainer/seccomp/compile.ts";
import type { seccompActions } from "../../lib/libcontainer/seccomp/names.ts";
import { toProfile } from "../../lib/libcontainer/seccomp/profile.ts";
import type { Seccomp, SeccompArg } from "../../lib/specs/config.ts";
import { engineProfile } from "../fixtures/seccomp_profile.ts";
import { AuditArch, type Call, runBpf } from "../unit/bpf_machine.ts";
import { kernel } from "./harness.ts";

const library = new Libseccomp(kernel);

function compile(seccomp: Seccomp, log: string[] = []): Uint8Array {
  return compileProfile(library, toProfile(seccomp), (_level, message) => log.push(message));
}

/** include/uapi/linux/seccomp.h */
const Return = {
  KILL_PROCESS: 0x80000000,
  KILL_THREAD: 0,
  TRAP: 0x00030000,
  EPERM: 0x00050001,
  ENOSYS: 0x00050026,
  NOTIFY: 0x7fc00000,
  TRACE: 0x7ff00000,
  LOG: 0x7ffc0000,
  ALLOW: 0x7fff0000,
} as const;

const x86_64 = (nr: number, ...args: bigint[]): Call => ({ arch: AuditArch.X86_64, nr, args });
/** Numbers on x86_64. */
const READ = 0, MKDIR = 83, CLONE = 56, SOCKET = 41;

Deno.test("every action is what the kernel calls it", () => {
  const expected: Readonly<Record<keyof typeof seccompActions, number>> = {
    SCMP_ACT_KILL: Return.KILL_THREAD,
    SCMP_ACT_KILL_THREAD: Return.KILL_THREAD,
    SCMP_ACT_KILL_PROCESS: Return.KILL_PROCESS,
    SCMP_ACT_TRAP: Return.TRAP,
    SCMP_ACT_ERRNO: Return.EPERM,
    SCMP_ACT_TRACE: Return.TRACE | 1,
    SCMP_ACT_ALLOW: Return.ALLOW,
    SCMP_ACT_LOG: Return.LOG,
    SCMP_ACT_NOTIFY: Return.NOTIFY,
  };
  for (const [action, value] of Object.entries(expected)) {
    const other = action === "SCMP_ACT_ALLOW" ? "SCMP_ACT_LOG" : "SCMP_ACT_ALLOW";
    const program = compile({ defaultAction: other, syscalls: [{ names: ["mkdir"], action }] });
    assertEquals(runBpf(program, x86_64(MKDIR)) >>> 0, value, action);
    assertEquals(runBpf(program, x86_64(READ)), other === "SCMP_ACT_LOG" ? Return.LOG : Return.ALLOW, action);
  }
});

Deno.test("errnoRet and defaultErrnoRet are what the call answers, or what the tracer is told", () => {
  const program = compile({
    defaultAction: "SCMP_ACT_ERRNO",
    defaultErrnoRet: 6,
    syscalls: [
      { names: ["mkdir"], action: "SCMP_ACT_ERRNO", errnoRet: 100 },
      { names: ["socket"], action: "SCMP_ACT_TRACE", errnoRet: 7 },
      { names: ["clone"], action: "SCMP_ACT_ALLOW" },
    ],
  });
  const answers = [MKDIR, SOCKET, CLONE, READ].map((nr) => runBpf(program, x86_64(nr)));
  assertEquals(answers, [0x00050000 | 100, Return.TRACE | 7, Return.ALLOW, 0x00050000 | 6]);
});

const BIG = 0x1_0000_0005n;

/** Conditions, and arguments that fulfil them or not. */
const conditions: readonly {
  readonly args: readonly SeccompArg[];
  readonly hold: readonly (readonly bigint[])[];
  readonly not: readonly (readonly bigint[])[];
}[] = [
  { args: [{ index: 0, op: "SCMP_CMP_EQ", value: 5 }], hold: [[5n]], not: [[4n], [BIG]] },
  { args: [{ index: 0, op: "SCMP_CMP_NE", value: 5 }], hold: [[4n], [BIG]], not: [[5n]] },
  { args: [{ index: 0, op: "SCMP_CMP_LT", value: 5 }], hold: [[4n]], not: [[5n], [BIG]] },
  { args: [{ index: 0, op: "SCMP_CMP_LE", value: 5 }], hold: [[4n], [5n]], not: [[6n], [BIG]] },
  { args: [{ index: 0, op: "SCMP_CMP_GE", value: 5 }], hold: [[5n], [BIG]], not: [[4n]] },
  { args: [{ index: 0, op: "SCMP_CMP_GT", value: 5 }], hold: [[6n], [BIG]], not: [[5n]] },
  {
    args: [{ index: 0, op: "SCMP_CMP_MASKED_EQ", value: 0xf0, valueTwo: 0x10 }],
    hold: [[0x10n], [0x1fn], [0x110n]],
    not: [[0n], [0x20n]],
  },
  { args: [{ index: 5, op: "SCMP_CMP_EQ", value: BIG }], hold: [[0n, 0n, 0n, 0n, 0n, BIG]], not: [[BIG], []] },
  {
    args: [{ index: 0, op: "SCMP_CMP_EQ", value: 0xffffffffffffffffn }],
    hold: [[-1n]],
    not: [[0xffffffffn]],
  },
  // All of them.
  {
    args: [{ index: 0, op: "SCMP_CMP_EQ", value: 1 }, { index: 1, op: "SCMP_CMP_EQ", value: 2 }],
    hold: [[1n, 2n]],
    not: [[1n, 1n], [2n, 2n]],
  },
  // Two for one argument: any of them.
  {
    args: [{ index: 0, op: "SCMP_CMP_EQ", value: 1 }, { index: 0, op: "SCMP_CMP_EQ", value: 2 }],
    hold: [[1n], [2n]],
    not: [[3n]],
  },
];

for (const { args, hold, not } of conditions) {
  const name = args.map(({ index, op, value }) => `${index} ${op} ${value}`).join(", ");
  Deno.test(`conditions on arguments: ${name}`, () => {
    const program = compile({
      defaultAction: "SCMP_ACT_ALLOW",
      syscalls: [{ names: ["mkdir"], action: "SCMP_ACT_ERRNO", args }],
    });
    for (const values of hold) assertEquals(runBpf(program, x86_64(MKDIR, ...values)), Return.EPERM, `${values}`);
    for (const values of not) assertEquals(runBpf(program, x86_64(MKDIR, ...values)), Return.ALLOW, `${values}`);
  });
}

Deno.test("an architecture that the profile does not name is killed; this machine's is always there", () => {
  const seccomp: Seccomp = {
    defaultAction: "SCMP_ACT_ALLOW",
    syscalls: [{ names: ["mkdir"], action: "SCMP_ACT_ERRNO" }],
  };
  const only = compile(seccomp);
  assertEquals(runBpf(only, { arch: AuditArch.I386, nr: 39 }), Return.KILL_THREAD);
  const both = compile({ ...seccomp, architectures: ["SCMP_ARCH_X86", "SCMP_ARCH_AARCH64"] });
  // mkdir is 39 on i386; aarch64 has none.
  assertEquals(runBpf(both, { arch: AuditArch.I386, nr: 39 }), Return.EPERM);
  assertEquals(runBpf(both, { arch: AuditArch.AARCH64, nr: 83 }), Return.ALLOW);
  assertEquals(runBpf(both, x86_64(MKDIR)), Return.EPERM);
});

Deno.test("a call with a number of its own on one architecture alone is filtered there", () => {
  // On i386 the socket calls go through one, which x86_64 does not have.
  const program = compile({
    defaultAction: "SCMP_ACT_ALLOW",
    architectures: ["SCMP_ARCH_X86"],
    syscalls: [{ names: ["socketcall", "waitpid"], action: "SCMP_ACT_ERRNO" }],
  });
  assertEquals(runBpf(program, { arch: AuditArch.I386, nr: 102 }), Return.EPERM);
  assertEquals(runBpf(program, { arch: AuditArch.I386, nr: 7 }), Return.EPERM);
  assertEquals([102, 7].map((nr) => runBpf(program, x86_64(nr))), [Return.ALLOW, Return.ALLOW]);
});

Deno.test("names that nobody knows are left out, with a word in the debug log", () => {
  const log: string[] = [];
  compile({ defaultAction: "SCMP_ACT_ALLOW", syscalls: [{ names: ["nope"], action: "SCMP_ACT_ERRNO" }] }, log);
  assertEquals(log, ['unknown seccomp syscall "nope" ignored']);
});

Deno.test("a rule that says what is done anyway is no error", () => {
  const program = compile({
    defaultAction: "SCMP_ACT_ERRNO",
    syscalls: [{ names: ["mkdir"], action: "SCMP_ACT_ERRNO", errnoRet: 1 }, {
      names: ["read"],
      action: "SCMP_ACT_ALLOW",
    }],
  });
  assertEquals([MKDIR, READ].map((nr) => runBpf(program, x86_64(nr))), [Return.EPERM, Return.ALLOW]);
});

Deno.test("calls newer than the profile answer ENOSYS where the default would refuse them, and only there", () => {
  const syscalls = [{ names: ["read", "mkdir"], action: "SCMP_ACT_ALLOW" }];
  const beyond = (seccomp: Partial<Seccomp>) =>
    runBpf(compile({ defaultAction: "SCMP_ACT_ERRNO", syscalls, ...seccomp }), x86_64(MKDIR + 1));
  assertEquals(beyond({}), Return.ENOSYS);
  assertEquals(beyond({ defaultErrnoRet: 6 }), Return.ENOSYS);
  assertEquals(beyond({ defaultAction: "SCMP_ACT_KILL_PROCESS" }), Return.ENOSYS);
  // An errno that the default action has no use for says nothing.
  assertEquals(beyond({ defaultAction: "SCMP_ACT_KILL_PROCESS", defaultErrnoRet: 38 }), Return.ENOSYS);
  assertEquals(beyond({ defaultErrnoRet: 38 }), Return.ENOSYS);
  assertEquals(beyond({ defaultAction: "SCMP_ACT_TRACE" }), Return.TRACE | 1);
  assertEquals(beyond({ defaultAction: "SCMP_ACT_LOG" }), Return.LOG);
});

Deno.test("an engine's profile: calls, arguments, x32 and i386", () => {
  const program = compile(engineProfile);
  const X32_BIT = 0x40000000;
  const cases: readonly [what: string, call: Call, answer: number][] = [
    ["read", x86_64(READ), Return.ALLOW],
    ["read of x32", x86_64(X32_BIT + READ), Return.ALLOW],
    ["read of i386", { arch: AuditArch.I386, nr: 3 }, Return.ALLOW],
    ["mount", x86_64(165), Return.EPERM],
    ["mount of x32", x86_64(X32_BIT + 165), Return.EPERM],
    ["mount of i386", { arch: AuditArch.I386, nr: 21 }, Return.EPERM],
    ["personality of LINUX32", x86_64(135, 8n), Return.ALLOW],
    ["personality of ADDR_NO_RANDOMIZE", x86_64(135, 0x40000n), Return.EPERM],
    ["clone of a thread", x86_64(CLONE, 0x3d0f00n), Return.ALLOW],
    ["clone of a user namespace", x86_64(CLONE, 0x10000000n), Return.EPERM],
    ["clone3", x86_64(435), Return.ENOSYS],
    ["an AF_UNIX socket", x86_64(SOCKET, 1n), Return.ALLOW],
    ["an AF_VSOCK socket", x86_64(SOCKET, 40n), Return.EPERM],
    ["a call that is not invented yet", x86_64(999), Return.ENOSYS],
    ["aarch64", { arch: AuditArch.AARCH64, nr: 63 }, Return.KILL_THREAD],
  ];
  for (const [what, call, answer] of cases) assertEquals(runBpf(program, call), answer, what);
});

Deno.test("what libseccomp cannot compile is refused by name", () => {
  const rule = (args: SeccompArg[]): Seccomp => ({
    defaultAction: "SCMP_ACT_ALLOW",
    syscalls: [{ names: ["mkdir"], action: "SCMP_ACT_ERRNO", args }],
  });
  const cases: readonly [seccomp: Seccomp, message: string][] = [
    [rule([{ index: 6, op: "SCMP_CMP_EQ", value: 0 }]), "syscalls only have up to 6 arguments (6 given)"],
    [{ defaultAction: "SCMP_ACT_ALLOW", architectures: ["SCMP_ARCH_S390X"] }, "error adding architecture"],
    [{ ...rule([]), syscalls: [{ names: [""], action: "SCMP_ACT_ERRNO" }] }, "empty string is not a valid syscall"],
  ];
  for (const [seccomp, message] of cases) assertThrows(() => compile(seccomp), RuncError, message);
});
