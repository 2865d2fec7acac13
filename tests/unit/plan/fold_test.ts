/** Repeated steps become loops; nothing but the size of the plan may show it. */

import { assert, assertEquals } from "@std/assert";
import { buffer, bytes, call, fail, fixedFd, slot, step, store, struct, when } from "../../../lib/plan/build.ts";
import { encode } from "../../../lib/plan/native/encode.ts";
import type { Op, Operand, Plan } from "../../../lib/plan/op.ts";
import { lockstep } from "./lockstep.ts";

const fds = { sync: 250, proc: 251 };

const plan = (count: number, ops: (index: number) => readonly Op[]): Plan => ({
  stage: [step("before", "", [call("getpid", [])])],
  init: [
    ...Array.from({ length: count }, (_, index) => step(`step ${index}`, `/${index}`, ops(index))),
    step("after", "", [call("getppid", [])]),
  ],
});

const tableSize = (of: Plan) => {
  const { image } = encode(of, { arch: "x86_64", fds });
  const elf = new DataView(image.buffer);
  // e_phoff, the second program header's p_offset (elf(5)); then tableLength and dataLength of the program's header.
  const program = Number(elf.getBigUint64(Number(elf.getBigUint64(32, true)) + 56 + 8, true));
  return elf.getUint32(program + 24, true) + elf.getUint32(program + 32, true);
};

/** Runs it to the end, and then once for each call with that call failing. */
function runAll(of: Plan): void {
  const options = { arch: "x86_64", fds, from: "stage" } as const;
  const { calls, end } = lockstep(of, { ...options, answer: () => ({ result: 3 }) });
  assertEquals(end, "table ends");
  for (const failing of calls.keys()) {
    let number = 0;
    lockstep(of, { ...options, answer: () => ({ result: number++ === failing ? -5 : 3 }) });
  }
}

const values: readonly (readonly [name: string, value: (index: number) => Operand | string])[] = [
  ["small numbers", (index) => index],
  ["16 bits", (index) => 250 + index],
  ["32 bits", (index) => 65530 + index],
  ["the sign bit", (index) => 0x7ffffff8 + index],
  ["negative numbers", (index) => -index],
  ["texts", (index) => `/path/${index}`],
  ["texts and NULL", (index) => index === 3 ? 0 : `${index}`],
  ["descriptors and numbers", (index) => index === 3 ? fixedFd("proc") : index],
  ["structs", (index) => struct("", 8, [{ at: 0, size: 4, value: index }])],
  ["bytes", (index) => bytes(Uint8Array.of(index), "")],
  ["buffers", (index) => buffer(`${index}`, 4)],
];

for (const [name, value] of values) {
  Deno.test(`steps that differ in an argument are a loop: ${name}`, () => {
    const ops = (index: number) => [
      call("openat", [-100, value(index), 5, 6], { out: slot("fd") }),
      call("close", [slot("fd")]),
    ];
    runAll(plan(12, ops));
    // A row takes 8 bytes at most; each of the calls alone would take 24 and 12.
    const [one, two] = [tableSize(plan(12, ops)), tableSize(plan(13, ops))];
    assert(two - one < 36, `${two - one} bytes a step`);
  });
}

Deno.test("conditions, handlers and the end of the step stay those of each turn", () => {
  runAll(plan(10, (index) => [
    call("openat", [-100, `/${index}`, 0, 0], { out: slot("fd"), endStepOn: ["ENOENT"], tolerate: ["EIO"] }),
    when(slot("fd"), "==", index, [{ op: "endStep" }], [call("umask", [index])]),
    call("fchdir", [slot("fd")], {
      onError: [{ errnos: ["*"], ops: [call("chdir", [`/${index}`]), fail(index, `${index}`)] }],
    }),
    { op: "repeat", body: [call("getpid", [])], until: { left: slot("fd"), right: slot("fd") } },
  ]));
});

Deno.test("several loops follow each other, with steps of other shapes between them", () => {
  const shapes: readonly ((index: number) => readonly Op[])[] = [
    (index) => [call("umask", [index])],
    (index) => [call("chdir", [`/${index}`])],
    (index) => [call("umask", [index]), call("chdir", ["/"])],
  ];
  runAll(plan(30, (index) => shapes[Math.floor(index / 6) % 3]!(index)));
});

Deno.test("steps that are all the same are not folded into nothing", () => {
  const { calls } = lockstep(plan(5, () => [call("umask", [1])]), {
    arch: "x86_64",
    fds,
    from: "init",
    answer: () => ({ result: 0 }),
  });
  assertEquals(calls.length, 6);
});

Deno.test("memory that is written in one turn is not another turn's", () => {
  runAll(plan(8, (index) => {
    const data = struct("", 16, [{ at: 0, size: 8, value: 7 }]);
    return [store(data, 4, index), call("chdir", [data])];
  }));
});

Deno.test("init is entered at its first turn, also where the stage ends with steps of the same shape", () => {
  const umask = (index: number) => step(`${index}`, "", [call("umask", [index])]);
  const numbers = [...Array(12).keys()];
  const both: Plan = { stage: numbers.map(umask), init: numbers.map((index) => umask(index + 50)) };
  const { calls } = lockstep(both, { arch: "aarch64", fds, from: "init", answer: () => ({ result: 0 }) });
  assertEquals(calls.length, 12);
  runAll(both);
});

Deno.test("a plan that has no slots left for loops is encoded without them", () => {
  const many = Array.from({ length: 54 }, (_, index) => call("getpid", [], { out: slot(`${index}`) }));
  const crowded = plan(8, (index) => [call("mkdirat", [index, `/${index}`, index + 300])]);
  runAll({ ...crowded, stage: [step("many", "", many)] });
});
