import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { Bpf, type BpfInstruction, encodeBpf } from "../../../../lib/libcontainer/seccomp/enosys_stub.ts";
import { instructionText, simulate } from "../../../../lib/libcontainer/seccomp/simulate.ts";
import { AuditArch, runBpf } from "../../bpf_machine.ts";

const op = (code: number, k: number, jt = 0, jf = 0): BpfInstruction => ({ code, k, jt, jf });
const call = (number: number, ...args: readonly bigint[]) => ({ auditArch: AuditArch.X86_64, number, args });

/** One jump on the number: 1 where it holds, 0 where not. */
const jumpOn = (code: number, k: number) =>
  encodeBpf([op(Bpf.LD_W_ABS, 0), op(code, k, 0, 1), op(Bpf.RET_K, 1), op(Bpf.RET_K, 0)]);

Deno.test("simulate() compares numbers without a sign", () => {
  const big = 0xffff_fff0;
  const cases: readonly [code: number, k: number, yes: readonly number[], no: readonly number[]][] = [
    [Bpf.JMP_JEQ_K, big, [big], [0, big - 1]],
    [Bpf.JMP_JGT_K, big, [big + 1], [0, 1, big]],
    [Bpf.JMP_JGE_K, big, [big, big + 1], [0, big - 1]],
    [Bpf.JMP_JSET_K, 0x8000_0001, [big, 1], [2, 0x7fff_fffe]],
  ];
  for (const [code, k, yes, no] of cases) {
    for (const number of yes) assertEquals(simulate(jumpOn(code, k), call(number)).result, 1, `${code} ${number}`);
    for (const number of no) assertEquals(simulate(jumpOn(code, k), call(number)).result, 0, `${code} ${number}`);
  }
});

Deno.test("simulate() reads arguments as 64 bits, the lower half first, and negative ones as two's complement", () => {
  const half = (offset: number, k: number) =>
    encodeBpf([op(Bpf.LD_W_ABS, offset), op(Bpf.JMP_JEQ_K, k, 0, 1), op(Bpf.RET_K, 1), op(Bpf.RET_K, 0)]);
  assertEquals(simulate(half(24, 5), call(0, 0n, 0x7_0000_0005n)).result, 1);
  assertEquals(simulate(half(28, 7), call(0, 0n, 0x7_0000_0005n)).result, 1);
  assertEquals(simulate(half(16, 0xffff_ffff), call(0, -1n)).result, 1);
  assertEquals(simulate(half(56, 0), call(0)).result, 1, "an argument that is not given is 0");
  assertEquals(simulate(half(4, AuditArch.X86_64), call(0)).result, 1);
});

Deno.test("simulate() tells which instructions ran, and masks and jumps as the machine of the tests", () => {
  const program = encodeBpf([
    op(Bpf.LD_W_ABS, 16),
    op(Bpf.ALU_AND_K, 0xf000_0000),
    op(Bpf.JMP_JEQ_K, 0xf000_0000, 1, 0),
    op(Bpf.JMP_JA, 1),
    op(Bpf.RET_K, 0x8000_0000),
    op(Bpf.RET_K, 0x7fff_0000),
  ]);
  assertEquals(simulate(program, call(1, 0xf123_4567n)), { result: 0x8000_0000, path: [0, 1, 2, 4] });
  assertEquals(simulate(program, call(1, 0x7123_4567n)), { result: 0x7fff_0000, path: [0, 1, 2, 3, 5] });
  for (const value of [0n, 0xf000_0000n, 0xffff_ffffn]) {
    const other = runBpf(program, { arch: AuditArch.X86_64, nr: 1, args: [value] });
    assertEquals(simulate(program, call(1, value)).result, other);
  }
});

Deno.test("simulate() refuses what the kernel would not load", () => {
  for (
    const [program, message] of [
      [[op(Bpf.LD_W_ABS, 0)], /no instruction 1/],
      [[op(Bpf.JMP_JA, 7), op(Bpf.RET_K, 0)], /no instruction 8/],
      [[op(Bpf.LD_W_ABS, 64), op(Bpf.RET_K, 0)], /offset 64/],
      [[op(Bpf.LD_W_ABS, 2), op(Bpf.RET_K, 0)], /offset 2/],
      [[op(0x28, 0), op(Bpf.RET_K, 0)], /unknown code 0x28/],
    ] as const
  ) {
    const error = assertThrows(() => simulate(encodeBpf(program), call(0)), RuncError);
    assertEquals(error.code, "internal");
    assertEquals(message.test(error.message), true, error.message);
  }
});

Deno.test("instructionText() names the targets of jumps", () => {
  const program = encodeBpf([
    op(Bpf.LD_W_ABS, 4),
    op(Bpf.JMP_JEQ_K, 0xc000_003e, 1, 0),
    op(Bpf.JMP_JA, 0),
    op(Bpf.ALU_AND_K, 0xff),
    op(Bpf.RET_K, 0x7fff_0000),
  ]);
  assertEquals([0, 1, 2, 3, 4].map((index) => instructionText(program, index)), [
    "0: ld [4]",
    "1: jeq #0xc000003e, 3, 2",
    "2: ja 3",
    "3: and #0xff",
    "4: ret #0x7fff0000",
  ]);
});
