import { assertEquals } from "@std/assert";
import { buffer, call, fail, load, slot, step, store, when } from "../../../lib/plan/build.ts";
import { type Instruction, type Label, lower } from "../../../lib/plan/lower.ts";
import type { Op, Operand } from "../../../lib/plan/op.ts";
import { structHex } from "../plan_reader.ts";

const a = slot("a");
const memory = buffer("memory", 8);
const getpid = call("getpid", []);
const umask = (mode: number) => call("umask", [mode]);

function isLabel(arg: Operand | Label): arg is Label {
  return typeof arg === "object" && !("slot" in arg) && !("fd" in arg) && !("data" in arg);
}

/** `1 umask 7 ENOENT→5`: number, code, arguments (a label as →index, data by its kind), out, handlers. */
function show(instruction: Instruction, index: number): string {
  const { code, args, out, handlers, retryAgain } = instruction;
  const shown = args.map((arg) => {
    if (typeof arg === "number") return String(arg);
    if (isLabel(arg)) return `→${arg.at}`;
    return "slot" in arg ? `$${arg.slot}` : "data" in arg ? arg.data : `<${arg.fd}>`;
  });
  const result = out === undefined ? [] : [`=$${out.slot}`];
  const handled = handlers.map(({ errno, target }) => `${errno}${target === undefined ? "" : `→${target.at}`}`);
  return [index, code, ...shown, ...result, ...handled, ...(retryAgain ? ["again"] : [])].join(" ");
}

const flat = (...ops: readonly Op[]) => lower({ stage: [], init: [step("", "", ops)] }).instructions.map(show);

Deno.test("lower() turns each op into these instructions", () => {
  const cases: readonly [name: string, ops: readonly Op[], instructions: readonly string[]][] = [
    ["nothing", [], []],
    ["a call", [call("umask", [7], { out: a, retryAgain: true })], ["0 umask 7 =$a again"]],
    ["a tolerated errno goes to the next instruction", [call("setsid", [], { tolerate: ["EPERM", "*"] })], [
      "0 setsid 1 255",
    ]],
    ["memory and arithmetic", [
      load(memory, 4, a),
      store(memory, 2, a),
      { op: "and", left: a, right: 7, out: a },
      { op: "add", left: 1, right: a, out: a },
      { op: "shr", left: a, right: 3, out: a },
      { op: "sub", left: a, right: 3, out: a },
    ], [
      "0 load buffer 4 =$a",
      "1 store buffer 2 $a",
      "2 and $a 7 =$a",
      "3 add 1 $a =$a",
      "4 shr $a 3 =$a",
      "5 sub $a 3 =$a",
    ]],
    ["reports", [fail(a, ""), { op: "warn", value: 3, why: "" }], ["0 fail $a", "1 warn 3"]],
    ["if ==", [when(a, "==", 1, [umask(1)]), umask(2)], ["0 jumpNotEqual $a 1 →2", "1 umask 1", "2 umask 2"]],
    ["if != with else", [when(a, "!=", 1, [umask(1)], [umask(2)]), umask(3)], [
      "0 jumpEqual $a 1 →3",
      "1 umask 1",
      "2 jump →4",
      "3 umask 2",
      "4 umask 3",
    ]],
    ["if with nothing in it", [when(a, "==", 1, []), umask(3)], ["0 jumpNotEqual $a 1 →1", "1 umask 3"]],
    ["repeat runs once at least", [{ op: "repeat", body: [getpid], until: { left: a, right: 0 } }, umask(1)], [
      "0 getpid",
      "1 jumpNotEqual $a 0 →0",
      "2 umask 1",
    ]],
    ["the end of the step", [when(a, "==", 1, [{ op: "endStep" }]), umask(1)], [
      "0 jumpNotEqual $a 1 →2",
      "1 jump →3",
      "2 umask 1",
    ]],
  ];
  for (const [name, ops, instructions] of cases) assertEquals(flat(...ops), instructions, name);
});

Deno.test("errors go to their branch and come back after the call", () => {
  const failing = call("umask", [0], {
    tolerate: ["EEXIST"],
    endStepOn: ["ENOENT"],
    onError: [
      { errnos: ["EPERM", "EACCES"], ops: [umask(1)] },
      { errnos: ["*"], ops: [umask(2), umask(3)] },
    ],
  });
  assertEquals(flat(failing, umask(4)), [
    // Tolerated ones first, then those that end the step, then branches: the first that fits wins.
    "0 umask 0 17 2→7 1→2 13→2 255→4",
    "1 jump →6",
    "2 umask 1",
    "3 jump →6",
    "4 umask 2",
    "5 umask 3",
    "6 umask 4",
  ]);
});

Deno.test("the end of a step is the next step's first instruction, in the same process", () => {
  const skip = call("umask", [0], { endStepOn: ["*"] });
  const { instructions, initEntry } = lower({
    stage: [step("one", "/1", [skip, umask(1)]), step("empty", "", []), step("two", "", [skip])],
    init: [step("three", "/3", [skip])],
  });
  assertEquals(instructions.map(show), ["0 umask 0 255→2", "1 umask 1", "2 umask 0 255→3", "3 umask 0 255→4"]);
  assertEquals(initEntry, 3);
  assertEquals(instructions.map((instruction) => instruction.step.label), ["one", "one", "two", "three"]);
});

Deno.test("instructions know the op that they come from", () => {
  const op = when(a, "==", 1, [umask(1)], [umask(2)]);
  const { instructions } = lower({ stage: [], init: [step("", "", [op])] });
  assertEquals(instructions.map((instruction) => instruction.op.op), ["if", "call", "if", "call"]);
});

Deno.test("fork jumps to the child's ops where clone returned 0, and both go on after it", () => {
  const fork: Op = { op: "fork", flags: 17, out: a, child: [umask(1)], parent: [umask(2)] };
  assertEquals(flat(fork, umask(3)), [
    "0 clone 17 0 0 0 0 =$a",
    "1 jumpEqual $a 0 →4",
    "2 umask 2",
    "3 jump →5",
    "4 umask 1",
    "5 umask 3",
  ]);
  assertEquals(flat({ ...fork, pidfd: memory })[0], "0 clone 17 0 buffer 0 0 =$a");
});

Deno.test("fork into a cgroup is clone3 with the descriptor stored in its struct, and no exit signal; without one, clone", () => {
  const CLONE_PARENT = 0x8000, SIGCHLD = 17;
  const { instructions } = lower({
    stage: [],
    init: [step("", "", [
      { op: "fork", flags: CLONE_PARENT | SIGCHLD, intoCgroup: slot("cgroup"), out: a, child: [], parent: [] },
    ])],
  });
  assertEquals(instructions.map(show), [
    "0 jumpEqual $cgroup -1 →4",
    "1 store at 8 $cgroup",
    "2 clone3 struct 88 =$a",
    "3 jump →5",
    "4 clone 32785 =$a",
    "5 jumpEqual $a 0 →7",
    "6 jump →7",
  ]);
  const [place] = instructions[1]!.args;
  const [args] = instructions[2]!.args;
  if (typeof args !== "object" || !("data" in args) || args.data !== "struct") throw new Error("no struct");
  // struct clone_args, include/uapi/linux/sched.h: flags (CLONE_INTO_CGROUP is bit 33), …, exit_signal, …, cgroup at 80.
  assertEquals(structHex(args), ["00800000 02000000", ...Array(10).fill("00000000 00000000")].join(" "));
  assertEquals(place, { data: "at", base: args, offset: 80 });
});
