import { assertEquals } from "@std/assert";
import type { ExitStatus } from "../../../../lib/ffi/process/process.ts";
import { deathError, isTrap, stepFailure, stepWarning } from "../../../../lib/libcontainer/launch/failure.ts";
import { call, fail, step } from "../../../../lib/plan/build.ts";
import { type Instruction, lower } from "../../../../lib/plan/lower.ts";
import type { Op } from "../../../../lib/plan/op.ts";

/** The first instruction of a step with this op. */
function instruction(op: Op, from = "/field"): Instruction {
  return lower({ stage: [], init: [step("do it", from, [op])] }).instructions[0]!;
}

const failed = (op: Op, value: number, from?: string) => stepFailure(instruction(op, from), value, () => "stdout: x");

Deno.test("a failed call tells the step, the field, the call and the errno", () => {
  const { code, message, field, step: label, call: text, errno, errnoName } = failed(call("sethostname", [0, 1]), 1);
  assertEquals(
    { code, message, field, label, text, errno, errnoName },
    {
      code: "step-failed",
      message: "cannot do it: sethostname: operation not permitted",
      field: "/field",
      label: "do it",
      text: "sethostname(NULL, 1)",
      errno: 1,
      errnoName: "EPERM",
    },
  );
});

Deno.test("a call's own text and hint for an errno come first", () => {
  const op = call("sethostname", [0, 1], {
    meaning: { ENOENT: "gone", "*": "no host name" },
    hint: { ENOENT: "look", "*": "try" },
  });
  const seen = [2, 13].map((errno) => failed(op, errno)).map(({ message, hint }) => [message, hint]);
  assertEquals(seen, [["gone", "look"], ["no host name: permission denied", "try"]]);
});

Deno.test("the code tells hooks and the command from other steps", () => {
  const codes = ["/hooks/prestart/0", "/process/args/0", "/mounts/1", ""].map((from) =>
    failed(fail(3, "no {}"), 3, from)
  );
  assertEquals(codes.map(({ code }) => code), ["hook-failed", "command-failed", "step-failed", "step-failed"]);
  assertEquals(codes.map(({ message, field }) => [message, field]), [
    ["no 3", "/hooks/prestart/0"],
    ["no 3", "/process/args/0"],
    ["no 3", "/mounts/1"],
    ["no 3", undefined],
  ]);
  assertEquals(failed(call("execve", [0, 0, 0]), 2, "/process/args").code, "command-failed");
});

Deno.test("a declared error with a wait status says how the hook ended, and what it printed", () => {
  const op = fail(0, "hook: {wait}", "try again");
  const [exit, signal] = [3 << 8, 9].map((status) => failed(op, status, "/hooks/startContainer/0"));
  assertEquals([exit!.message, exit!.hint], ["hook: exit status 3, stdout: x", "try again"]);
  assertEquals(signal!.message, "hook: signal: killed, stdout: x");
});

Deno.test("a warning has its reason and, unless it is 0, the errno", () => {
  const warn: Op = { op: "warn", value: 0, why: "careful" };
  assertEquals([0, 13, -13].map((value) => stepWarning(instruction(warn), value)), [
    "careful",
    "careful: permission denied",
    "careful: permission denied",
  ]);
  assertEquals(stepWarning(instruction(fail(0, "no")), 1), undefined);
});

Deno.test("a death says who died and how", () => {
  const statuses: readonly (ExitStatus | undefined)[] = [undefined, { code: 2 }, { signal: 9 }, { signal: 4 }];
  assertEquals(statuses.map((status) => deathError("stage", status).message), [
    "stage ended before it was ready: ended",
    "stage ended before it was ready: exit status 2",
    "stage was killed: was it out of memory? (memory limit too low?)",
    "stage ended before it was ready: signal: illegal instruction",
  ]);
  assertEquals(statuses.map(isTrap), [false, false, false, true]);
});
