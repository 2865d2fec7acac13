/** What compiled plans do: machine code of ops, executed as a program of its own. */

import { assertEquals, assertThrows } from "@std/assert";
import { Errno } from "../../lib/ffi/errno.ts";
import { mov, movImm, syscall } from "../../lib/plan/native/asm_x86_64.ts";
import { assemble, type Row } from "../../lib/plan/native/assembler.ts";
import { at, buffer, bytes, call, fail, load, set, slot, store, struct, text, when } from "../../lib/plan/build.ts";
import type { Op, Operand, Slot } from "../../lib/plan/op.ts";
import { BASE, CODE_AT, executableHead, ZEROED } from "../../tools/snapshot/elf.ts";
import { compileSteps } from "../../tools/snapshot/front/compile_x86_64.ts";
import { execute } from "./harness.ts";

/** The status of a program whose plan leaves what follows to the code after it. */
const LEFT = 99;
const DUP = 32, EXIT_GROUP = 231;

/** What follows a plan. */
const exitLeft: readonly Row[] = [movImm("edi", LEFT), movImm("eax", EXIT_GROUP), syscall()];

/** Duplicates standard input, and exits with the descriptor's number: the lowest that is free. */
const exitWithNext: readonly Row[] = [
  movImm("edi", 0),
  movImm("eax", DUP),
  syscall(),
  mov("edi", "eax"),
  movImm("eax", EXIT_GROUP),
  syscall(),
];

/** A program of steps. `opened`: the slots of the descriptors that are closed where the plan leaves. */
function programOf(
  steps: readonly (readonly Op[])[],
  opened: readonly Slot[] = [],
  after: readonly Row[] = exitLeft,
): Uint8Array {
  const compile = (constants: number) => {
    const named = steps.map((ops, index) => ({ label: `step ${index}`, from: "", ops }));
    const plan = compileSteps(named, { steps: [], opened }, { constants, zeroed: ZEROED });
    return { ...plan, code: assemble([...plan.rows, ...after]).code };
  };
  const length = Math.ceil(compile(BASE).code.length / 8) * 8;
  const { code, constants, zeroLength } = compile(BASE + CODE_AT + length);
  const content = new Uint8Array(length + constants.length);
  content.set(code);
  content.set(constants, length);
  return executableHead(content, zeroLength);
}

const exit = (status: Operand): Op => call("exit_group", [status]);
const value = slot("value"), other = slot("other");

interface Case {
  readonly name: string;
  readonly steps: readonly (readonly Op[])[];
  readonly code: number;
  readonly stdout?: string;
}

const word = buffer("word", 16);
const missing = [-100, "/no/such/file", 0] as const;

const cases: readonly Case[] = [
  { name: "a plan that ends goes on with what follows", steps: [[]], code: LEFT },
  { name: "a failed op goes on with what follows", steps: [[fail(0, "no"), exit(1)]], code: LEFT },
  { name: "a failed call does, too", steps: [[call("openat", missing), exit(1)]], code: LEFT },
  {
    name: "a call has its arguments, and constants have an address",
    steps: [[call("write", [1, text("hello\n"), 6], { out: value }), exit(value)]],
    code: 6,
    stdout: "hello\n",
  },
  {
    name: "a negative number is one of 64 bits",
    steps: [[set(value, -3), { op: "add", left: value, right: 10, out: value }, exit(value)]],
    code: 7,
  },
  {
    name: "numbers are calculated with",
    steps: [[
      { op: "sub", left: 100, right: 58, out: value },
      { op: "and", left: value, right: 0x2b, out: value },
      { op: "shr", left: value, right: 1, out: value },
      exit(value),
    ]],
    code: 21,
  },
  {
    name: "a shift has 64 bits",
    steps: [[set(value, -1), { op: "shr", left: value, right: 60, out: value }, exit(value)]],
    code: 15,
  },
  ...([1, 4, 8] as const).map((size): Case => ({
    name: `${size} bytes are stored, and no others`,
    steps: [[
      store(word, 8, -1),
      store(word, size, 0),
      load(word, 8, value),
      // The next byte.
      { op: "shr", left: value, right: 8 * (size % 8), out: value },
      exit(value),
    ]],
    code: size === 8 ? 0 : 255,
  })),
  ...([[1, 0x84], [2, 0x83], [4, 0x81]] as const).map(([size, code]): Case => ({
    name: `${size} bytes are loaded, and the others are zero`,
    steps: [[
      load(bytes(Uint8Array.of(0x84, 0x83, 0x82, 0x81, 0xff, 0xff, 0xff, 0xff), "bytes"), size, value),
      { op: "shr", left: value, right: 8 * (size - 1), out: value },
      exit(value),
    ]],
    code,
  })),
  {
    name: "a slot can be an address, also one within a buffer",
    steps: [[
      set(value, at(word, 8)),
      store(value, 1, 17),
      load(at(word, 8), 1, other),
      exit(other),
    ]],
    code: 17,
  },
  {
    name: "a struct has its words, and addresses",
    steps: [[
      load(struct("s", 16, [{ at: 0, size: 2, value: 0x1234 }, { at: 8, size: 8, value: text("A") }]), 8, value),
      when(value, "!=", 0x1234, [exit(1)]),
      load(at(struct("s", 16, [{ at: 8, size: 8, value: text("A") }]), 8), 8, value),
      load(value, 1, value),
      exit(value),
    ]],
    code: 65,
  },
  {
    name: "branches and loops",
    steps: [[
      set(value, 0),
      {
        op: "repeat",
        body: [{ op: "add", left: value, right: 3, out: value }],
        until: { left: value, right: 30 },
      },
      when(value, "==", 30, [when(value, "!=", 30, [exit(1)], [exit(value)])], [exit(2)]),
    ]],
    code: 30,
  },
  {
    name: "the end of a step is not the end of the plan",
    steps: [[{ op: "endStep" }, exit(1)], [exit(5)]],
    code: 5,
  },
  {
    name: "a tolerated errno is the result",
    steps: [[
      call("openat", missing, { out: value, tolerate: ["EPERM", "ENOENT"] }),
      { op: "sub", left: 0, right: value, out: value },
      exit(value),
    ]],
    code: Errno.ENOENT,
  },
  {
    name: "an errno that is not listed leaves",
    steps: [[call("openat", missing, { tolerate: ["EPERM"], endStepOn: ["EACCES"] }), exit(1)]],
    code: LEFT,
  },
  {
    name: "an errno ends the step",
    steps: [[call("openat", missing, { endStepOn: ["ENOENT"] }), exit(1)], [exit(4)]],
    code: 4,
  },
  {
    name: "an errno has ops, and the plan goes on after them",
    steps: [[
      set(other, 1),
      call("openat", missing, {
        onError: [{ errnos: ["EPERM"], ops: [exit(1)] }, { errnos: ["*"], ops: [set(other, 9)] }],
      }),
      exit(other),
    ]],
    code: 9,
  },
  {
    name: "ops for an errno do not run after a success",
    steps: [[call("getpid", [], { onError: [{ errnos: ["*"], ops: [exit(1)] }] }), exit(3)]],
    code: 3,
  },
  {
    name: "the initial stack is known",
    steps: [[load(slot("stack"), 8, value), exit(value)]],
    code: 3,
  },
];

function runProgram(image: Uint8Array, args: readonly string[] = []) {
  const path = Deno.makeTempFileSync({ prefix: "compiled-plan-" });
  try {
    Deno.writeFileSync(path, image);
    Deno.chmodSync(path, 0o755);
    return execute([path, ...args]);
  } finally {
    Deno.removeSync(path);
  }
}

for (const { name, steps, code, stdout = "" } of cases) {
  Deno.test({
    name: `compiled: ${name}`,
    ignore: Deno.build.arch !== "x86_64",
    fn: () => assertEquals(runProgram(programOf(steps), ["a", "b"]), { code, stdout, stderr: "" }),
  });
}

Deno.test({
  name: "compiled: descriptors that were opened are closed where the plan leaves",
  ignore: Deno.build.arch !== "x86_64",
  fn: () => {
    const open = (out: Slot) => call("openat", [-100, "/dev/null", 0], { out });
    const [first, second, never] = [slot("first"), slot("second"), slot("never")];
    const steps = [[open(first), open(second), call("openat", missing, { out: value, tolerate: ["ENOENT"] })]];
    assertEquals(runProgram(programOf(steps, [second, value, never, first], exitWithNext)).code, 3);
    assertEquals(runProgram(programOf(steps, [second], exitWithNext)).code, 4);
    assertEquals(runProgram(programOf(steps, [], exitWithNext)).code, 5);
  },
});

Deno.test("what a compiled plan cannot do is an error when it is compiled", () => {
  const wrong: readonly Op[] = [
    { op: "warn", value: 0, why: "nobody listens" },
    store(word, 2, 0),
    call("read", [{ fd: "sync" }, word, 8]),
    call("openat", missing, { retryAgain: true }),
  ];
  for (const op of wrong) assertThrows(() => programOf([[op]]), RangeError);
});
