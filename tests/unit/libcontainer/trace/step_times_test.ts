/** From what stage and init tell to spans, whatever they tell. */

import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { MessageKind } from "../../../../lib/libcontainer/steps/protocol.ts";
import { StepTimes } from "../../../../lib/libcontainer/trace/step_times.ts";
import { call, fixedFd, slot, step, stringPointers } from "../../../../lib/plan/build.ts";
import type { Plan } from "../../../../lib/plan/op.ts";
import { chromeTrace } from "../../../../lib/trace/chrome.ts";
import { pointedTo } from "../../plan_reader.ts";
import { Clock, recorder } from "../../trace/fixed.ts";
import { checkTrace, readChrome } from "../../trace_reader.ts";

const environment = stringPointers([], "");
const plan: Plan = {
  stage: [
    step("enter", "/linux/cgroupsPath", []),
    step("fork", "", [{
      op: "fork",
      flags: 0,
      out: slot("pid"),
      parent: [call("exit_group", [0])],
      child: [],
    }]),
  ],
  init: [
    step("mount", "/mounts/0", []),
    step("run hook", "/hooks/createContainer/0", [{
      op: "fork",
      flags: 0,
      out: slot("hook"),
      parent: [],
      child: [call("execve", ["/hook", environment, environment])],
    }]),
    step("become", "/process/args", [call("execve", ["/program", environment, environment])]),
  ],
};

/** Marks in the order in which the plan has them. */
const number = { stage: 0, enter: 1, fork: 2, init: 3, mount: 4, hook: 5, become: 6 };

function message(mark: number, ms = 0, kind: number = MessageKind.time): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(24);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, kind, true);
  view.setUint32(4, mark, true);
  view.setBigInt64(8, BigInt(Math.floor(ms / 1000)), true);
  view.setBigInt64(16, BigInt(Math.round((ms % 1000) * 1e6)), true);
  return bytes;
}

function launched(): {
  clock: Clock;
  times: StepTimes;
  spans: () => unknown[][];
  recorder: ReturnType<typeof recorder>;
} {
  const clock = new Clock();
  const trace = recorder(clock);
  const times = new StepTimes(trace, { plan, numbered: plan, executor: "native" });
  times.started("stage", 101);
  times.started("init", 102);
  const spans = () => {
    const read = readChrome(chromeTrace(trace.finish()));
    checkTrace(read);
    const base = read.spans[0]!.start;
    return read.spans.slice(1).map(({ name, pid, start, end, error }) => [
      name,
      pid,
      Number(start - base) / 1e6,
      Number(end - base) / 1e6,
      ...(error === undefined ? [] : [error]),
    ]);
  };
  return { clock, times, spans, recorder: trace };
}

Deno.test("each step lasts from the one before it to its mark", () => {
  const { clock, times, spans } = launched();
  clock.nowMs = 1100;
  for (const [name, ms] of [["stage", 1001], ["enter", 1002.5], ["fork", 1004], ["init", 1003.75]] as const) {
    assertEquals(times.take(message(number[name], ms)), true);
  }
  times.take(message(number.mount, 1005));
  times.take(message(number.hook, 1006));
  times.ended();
  assertEquals(spans(), [
    ["stage", 101, 1, 4],
    ["enter", 101, 1, 2.5],
    ["fork", 101, 2.5, 4],
    ["init", 102, 3.75, 100],
    ["mount", 102, 3.75, 5],
    ["run hook", 102, 5, 6],
    ["become", 102, 6, 100],
  ]);
});

Deno.test("steps say who did them, which they are, and which field asked for them", () => {
  const { times, recorder } = launched();
  for (const mark of [number.init, number.mount, number.hook]) times.take(message(mark));
  const [, , mount, hook] = recorder.finish().spans;
  const common = { "runc.process": "init", "runc.executor": "native", "runc.clock": "parent" };
  assertEquals(mount!.attributes, { ...common, "runc.step": 3, "runc.config": "/mounts/0" });
  assertEquals(hook!.attributes, {
    ...common,
    "runc.step": 4,
    "runc.config": "/hooks/createContainer/0",
    "process.exit.code": 0,
  });
});

Deno.test("without a time it is the parent's; no time is before the last one or yet to come", () => {
  const { clock, times, spans } = launched();
  times.take(message(number.stage, 5));
  clock.nowMs = 1010;
  times.take(message(number.enter));
  clock.nowMs = 1020;
  times.take(message(number.fork, 1_000_000));
  assertEquals(spans(), [["stage", 101, 0, 20], ["enter", 101, 0, 10], ["fork", 101, 10, 20]]);
});

Deno.test("other messages are left alone, and marks that there are not, or were before, are refused", () => {
  const { times } = launched();
  assertEquals(times.take(message(number.stage, 0, MessageKind.ready)), false);
  assertEquals(times.take(message(number.stage).slice(0, 16)), false);
  assertEquals(times.take(new Uint8Array(0)), false);
  times.take(message(number.stage));
  for (const mark of [number.stage, 7, 0xffffffff]) {
    assertThrows(() => times.take(message(mark)), RuncError, String(mark));
  }
});

Deno.test("the step that an error names has failed, and nothing fails after it", () => {
  const { clock, times, spans } = launched();
  for (const mark of [number.init, number.mount]) times.take(message(mark));
  clock.nowMs = 1007;
  times.failed(new RuncError("hook-failed", "exit status 1"), plan.init[1]);
  times.failed("killed");
  assertEquals(spans(), [["init", 102, 0, 7], ["mount", 102, 0, 0], ["run hook", 102, 0, 7, "exit status 1"]]);
});

Deno.test("without a name it is the step that init was in, or the stage where there is no init", () => {
  const one = launched();
  one.times.take(message(number.stage));
  one.times.failed("dead");
  assertEquals(one.spans(), [["stage", 101, 0, 0], ["enter", 101, 0, 0, "dead"]]);
  const two = launched();
  for (const mark of [number.stage, number.enter, number.init]) two.times.take(message(mark));
  two.times.failed("dead");
  assertEquals(two.spans().at(-1), ["mount", 102, 0, 0, "dead"]);
});

Deno.test("a hook in the container finds the span that its step becomes", () => {
  const { times, recorder } = launched();
  const fork = times.plan.init.find(({ label }) => label === "run hook")!.ops[0]!;
  const exec = fork.op === "fork" && fork.child[0]!;
  const [entry] = pointedTo((exec as { args: readonly unknown[] }).args[2] as never);
  for (const mark of [number.init, number.mount, number.hook]) times.take(message(mark));
  const span = recorder.finish().spans.at(-1)!;
  assertEquals([span.name, entry], ["run hook", `TRACEPARENT=${recorder.traceparentOf(span.id)}`]);
});

Deno.test("what is sent is what is read: no descriptor but the socket's is needed", () => {
  const { times } = launched();
  const sends = times.plan.stage[0]!.ops.filter((op) => op.op === "call" && op.call === "write");
  assertEquals(sends.map((op) => op.op === "call" && op.args[0]), [fixedFd("sync")]);
});
