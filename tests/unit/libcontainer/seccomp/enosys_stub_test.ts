import { assertEquals } from "@std/assert";
import { Bpf, encodeBpf, enosysStub, type LastSyscall } from "../../../../lib/libcontainer/seccomp/enosys_stub.ts";
import { AuditArch, runBpf } from "../../bpf_machine.ts";

const X32 = 0x4000003e;
const X32_BIT = 0x40000000;
const ENOSYS = 0x00050026;
const FILTER = 0x7fff0000;

/** The stub with a filter behind it that says FILTER of everything. */
function answer(lasts: readonly LastSyscall[], arch: number, nr: number): number {
  const program = [...enosysStub(lasts), { code: Bpf.RET_K, jt: 0, jf: 0, k: FILTER }];
  return runBpf(encodeBpf(program), { arch, nr });
}

const x86 = { arch: AuditArch.X86_64, last: 300 };
const x32 = { arch: X32, last: X32_BIT + 200 };
const i386 = { arch: AuditArch.I386, last: 400 };
const arm = { arch: AuditArch.AARCH64, last: 100 };

/** What is asked of the stub: which numbers reach the filter, and which are beyond. */
const cases: readonly {
  readonly name: string;
  readonly lasts: readonly LastSyscall[];
  readonly arch: number;
  readonly filter: readonly number[];
  readonly enosys: readonly number[];
}[] = [
  { name: "x86_64 alone", lasts: [x86], arch: x86.arch, filter: [0, 300], enosys: [301, 0x3fffffff] },
  {
    name: "x32 calls where only x86_64 is named",
    lasts: [x86],
    arch: x86.arch,
    filter: [X32_BIT, X32_BIT + 999],
    enosys: [],
  },
  {
    name: "x32 alone",
    lasts: [x32],
    arch: x86.arch,
    filter: [0, 999, X32_BIT, X32_BIT + 200],
    enosys: [X32_BIT + 201, 0xffffffff],
  },
  {
    name: "x32 beside x86_64",
    lasts: [x86, x32],
    arch: x86.arch,
    filter: [0, 300, X32_BIT, X32_BIT + 200],
    enosys: [301, X32_BIT + 201],
  },
  { name: "the first of three", lasts: [i386, x86, arm], arch: i386.arch, filter: [0, 400], enosys: [401] },
  { name: "the second of three", lasts: [i386, x86, arm], arch: x86.arch, filter: [0, 300], enosys: [301] },
  { name: "the last of three", lasts: [i386, x86, arm], arch: arm.arch, filter: [0, 100], enosys: [101] },
  { name: "one that is not named", lasts: [i386, x86], arch: arm.arch, filter: [0, 9999], enosys: [] },
  {
    name: "one of which the profile knows no call",
    lasts: [{ ...arm, last: 0 }, x86],
    arch: arm.arch,
    filter: [0, 9999],
    enosys: [],
  },
  {
    name: "s390x, whose unknown calls come as number 0",
    lasts: [{ arch: AuditArch.S390X, last: 10 }],
    arch: AuditArch.S390X,
    filter: [1, 10],
    enosys: [0, 11],
  },
];

for (const { name, lasts, arch, filter, enosys } of cases) {
  Deno.test(`numbers beyond the profile's answer ENOSYS: ${name}`, () => {
    for (const nr of filter) assertEquals(answer(lasts, arch, nr), FILTER, `${nr}`);
    for (const nr of enosys) assertEquals(answer(lasts, arch, nr), ENOSYS, `${nr}`);
  });
}

Deno.test("a profile that names no system call has no stub", () => {
  assertEquals(enosysStub([]), []);
  assertEquals(enosysStub([{ ...x86, last: 0 }]), []);
});

Deno.test("the stub reaches over all architectures there are", () => {
  const many = Array.from({ length: 40 }, (_, index) => ({ arch: 0x1000 + index, last: index + 1 }));
  for (const { arch, last } of many) {
    assertEquals([answer(many, arch, last), answer(many, arch, last + 1)], [FILTER, ENOSYS]);
  }
});

Deno.test("an instruction is struct sock_filter", () => {
  assertEquals([...encodeBpf([{ code: 0x15, jt: 1, jf: 2, k: 0xc000003e }])], [0x15, 0, 1, 2, 0x3e, 0, 0, 0xc0]);
});
