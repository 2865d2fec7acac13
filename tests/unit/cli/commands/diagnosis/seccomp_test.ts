import { assertEquals, assertThrows } from "@std/assert";
import { parseArgument } from "../../../../../lib/cli/commands/diagnosis/seccomp.ts";
import { type CallExplanation, explanationObject, formatExplanation } from "../../../../../lib/cli/output/seccomp.ts";
import { RuncError } from "../../../../../lib/errors.ts";

Deno.test("parseArgument() reads numbers, negative ones, flags, and several with |", () => {
  const cases: readonly [text: string, value: bigint][] = [
    ["0", 0n],
    ["0x10", 16n],
    ["0o17", 15n],
    ["0b11", 3n],
    ["-1", 0xffff_ffff_ffff_ffffn],
    ["18446744073709551615", 0xffff_ffff_ffff_ffffn],
    ["CLONE_NEWUSER", 0x1000_0000n],
    ["CLONE_NEWUSER|CLONE_NEWNS|17", 0x1002_0011n],
    ["MS_UNBINDABLE", 0x20000n],
  ];
  for (const [text, value] of cases) assertEquals(parseArgument(text), value, text);
  for (const text of ["", "x", "1|", "0x", "NO_SUCH_FLAG", "toString", "1.5"]) {
    assertEquals(assertThrows(() => parseArgument(text), RuncError).code, "usage", text);
  }
});

const explanation: CallExplanation = {
  syscall: "clone",
  number: 56,
  args: [0x1000_0000n, 0n],
  architecture: "SCMP_ARCH_X86_64",
  decision: "SCMP_ACT_ERRNO (EPERM)",
  reason: "rule",
  rules: [
    {
      index: 3,
      action: "SCMP_ACT_ALLOW",
      conditions: ["arg0 == 0", "arg0 == 8"],
      anyHolds: true,
      applies: false,
      decides: false,
    },
    {
      index: 4,
      field: "/linux/seccomp/syscalls/2",
      action: "SCMP_ACT_ERRNO (EPERM)",
      conditions: [],
      anyHolds: false,
      applies: true,
      decides: true,
    },
  ],
  path: [0, 1],
};

Deno.test("formatExplanation() says what, why, and which rules there are", () => {
  assertEquals(
    formatExplanation({ ...explanation, instructions: ["0: ld [4]"] }),
    `clone(0x10000000, 0): SCMP_ACT_ERRNO (EPERM)
   a rule of the profile applies
   number 56 of SCMP_ARCH_X86_64

rules for clone (* decides):
   SCMP_ACT_ALLOW if arg0 == 0 or arg0 == 8  (rule 3 of state.json, does not apply)
 * SCMP_ACT_ERRNO (EPERM)  (/linux/seccomp/syscalls/2)

instructions that ran:
   0: ld [4]
`,
  );
  assertEquals(
    formatExplanation({ ...explanation, args: [], rules: [], reason: "newer" }),
    `clone(): SCMP_ACT_ERRNO (EPERM)
   the number is larger than all in the profile: such calls get ENOSYS instead of defaultAction
   number 56 of SCMP_ARCH_X86_64

no rule for clone
`,
  );
});

Deno.test("explanationObject() keeps arguments exact, as texts", () => {
  const { args, instructions, path } = explanationObject({ ...explanation, args: [0xffff_ffff_ffff_ffffn] });
  assertEquals([args, instructions, path], [["0xffffffffffffffff"], undefined, undefined]);
});
