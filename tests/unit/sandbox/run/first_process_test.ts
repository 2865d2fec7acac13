import { assert, assertEquals } from "@std/assert";
import { firstProcess, firstProcessCode } from "../../../../lib/sandbox/run/first_process.ts";

Deno.test("the first process is a small static program whose only segment is not writable", () => {
  for (const [arch, machine] of [["x86_64", 62], ["aarch64", 183]] as const) {
    const file = firstProcess(arch);
    const view = new DataView(file.buffer);
    assertEquals([view.getUint32(0), view.getUint16(18, true)], [0x7f454c46, machine]);
    // p_flags of the first program header: PF_R | PF_X.
    assertEquals(view.getUint32(68, true), 5);
    assert(file.length < 512);
    assertEquals(file.subarray(-firstProcessCode(arch).code.length), firstProcessCode(arch).code);
  }
});

Deno.test("the first process ignores SIGCHLD, says that it runs, reads to the end and exits", () => {
  const numbers = firstProcessCode("aarch64").lines.map(({ text }) => /^mov x8, #(.*)$/.exec(text)?.[1])
    .filter((number) => number !== undefined);
  assertEquals(numbers.map(Number), [134, 167, 64, 63, 94]);
});
