/** What the second executor computes, in this process: a plan's init, its output in a pipe. The native one: interpreter_programs.ts. */

import { assertEquals } from "@std/assert";
import { pipe } from "../../lib/ffi/files.ts";
import { alloc, Kernel } from "../../lib/ffi/kernel.ts";
import { Executor } from "../../lib/libcontainer/launch/executor.ts";
import { buffer, call, fixedFd, slot, step, store } from "../../lib/plan/build.ts";
import { encode } from "../../lib/plan/native/encode.ts";
import type { Op, Operand } from "../../lib/plan/op.ts";

const result = slot("result");
const top: Op = { op: "add", left: -2, right: 0, out: slot("top") };
const shr = (left: Operand, right: Operand): readonly Op[] => [top, { op: "shr", left, right, out: result }];

/** `result` after these ops, unsigned. No forks: they need the host's /proc. */
function resultOf(ops: readonly Op[]): bigint {
  const kernel = new Kernel();
  try {
    const output = pipe(kernel, "result");
    using read = output.read;
    using write = output.write;
    const shown = buffer("shown", 8);
    const show = [store(shown, 8, result), call("write", [fixedFd("out"), shown, 8])];
    const plan = { stage: [], init: [step("compute", "", [...ops, ...show])] };
    const { image } = encode(plan, { arch: kernel.arch, fds: { out: write.number, sync: write.number } });
    new Executor(kernel, image, -1).run();
    const bytes = alloc(8);
    assertEquals(kernel.retry("read", read.number, bytes, bytes.length), 8);
    return new DataView(bytes.buffer).getBigUint64(0, true);
  } finally {
    kernel.close();
  }
}

const cases: readonly [name: string, ops: readonly Op[], result: bigint][] = [
  ["by 0", shr(slot("top"), 0), 0xfffffffffffffffen],
  ["fills with 0", shr(slot("top"), 1), 0x7fffffffffffffffn],
  ["by 63", shr(slot("top"), 63), 1n],
  ["of the count the low 6 bits matter", shr(slot("top"), 0x104), 0x0fffffffffffffffn],
  ["a negative count is one of 6 bits", shr(slot("top"), slot("top")), 3n],
  ["a small number", shr(0x1234, 8), 0x12n],
];

for (const [name, ops, expected] of cases) {
  Deno.test(`the second executor's shr: ${name}`, () => assertEquals(resultOf(ops), expected));
}
