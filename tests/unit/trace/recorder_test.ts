import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { RuncError } from "../../../lib/errors.ts";
import type { Span } from "../../../lib/trace/recorder.ts";
import { inSpan } from "../../../lib/trace/tracer.ts";
import { Clock, recorder } from "./fixed.ts";

const id = (number: number) => number.toString(16).padStart(16, "0");
const times = ({ name, startMs, endMs }: Span) => [name, startMs, endMs];

Deno.test("a span is a part of the one that was open when it began", () => {
  const clock = new Clock();
  const trace = recorder(clock);
  trace.span("outer", () => {
    clock.nowMs += 1;
    trace.span("inner", () => clock.nowMs += 2);
    trace.span("next", () => clock.nowMs += 4);
  });
  clock.nowMs += 8;
  const { spans, traceId, parentId, flags } = trace.finish();
  assertEquals(spans.map(times), [
    ["runc create", 1000, 1015],
    ["outer", 1000, 1007],
    ["inner", 1001, 1003],
    ["next", 1003, 1007],
  ]);
  assertEquals(spans.map(({ parentId }) => parentId), [undefined, id(2), id(3), id(3)]);
  assertEquals([traceId, parentId, flags], ["1".padStart(32, "0"), undefined, 1]);
});

Deno.test("a span returns what its action returns, or throws it, and tells what went wrong", () => {
  const trace = recorder(new Clock());
  assertEquals(trace.span("works", () => 7), 7);
  const error = new RuncError("cgroup-failed", "no room", { errno: 28, errnoName: "ENOSPC", field: "/linux" });
  const thrown = assertThrows(() =>
    trace.span("fails", () => {
      throw error;
    })
  );
  assertEquals(thrown, error);
  const [, works, fails] = trace.finish(error).spans;
  assertEquals([works!.error, fails!.error], [undefined, "no room"]);
  assertEquals(fails!.attributes, {
    "runc.error.code": "cgroup-failed",
    "runc.error.errno": "ENOSPC",
    "runc.error.field": "/linux",
  });
  assertEquals(trace.root.error, "no room");
});

Deno.test("a span of a promise ends when that is settled", async () => {
  const clock = new Clock();
  const trace = recorder(clock);
  const result = trace.span("waits", async () => {
    await Promise.resolve();
    clock.nowMs += 5;
    return 7;
  });
  assertEquals(await result, 7);
  const failed = trace.span("waits in vain", () => Promise.reject(new Error("late")));
  await assertRejects(() => failed, Error, "late");
  assertEquals(trace.finish().spans.slice(1).map((span) => [...times(span), span.error]), [
    ["waits", 1000, 1005, undefined],
    ["waits in vain", 1005, 1005, "late"],
  ]);
});

Deno.test("an open span can be renamed, and say more", () => {
  const trace = recorder(new Clock(), { attributes: { a: 1 } });
  trace.span("wait", (span) => {
    span.rename("wait for init");
    span.set({ late: true });
  }, { kind: "client", attributes: { how: "poll" } });
  trace.set({ b: "2" });
  const [root, span] = trace.finish().spans;
  assertEquals([span!.name, span!.kind, span!.attributes], ["wait for init", "client", { how: "poll", late: true }]);
  assertEquals(root!.attributes, { a: 1, b: "2" });
});

Deno.test("TRACEPARENT names the innermost open span, in the caller's trace where there is one", () => {
  const parent = { traceId: "0af7651916cd43dd8448eb211c80319c", spanId: "b7ad6b7169203331", flags: 0 };
  const trace = recorder(new Clock(), { parent });
  assertEquals(trace.traceparent, `00-${parent.traceId}-${id(1)}-00`);
  trace.span("hook", () => assertEquals(trace.traceparent, `00-${parent.traceId}-${id(2)}-00`));
  assertEquals(trace.traceparent, `00-${parent.traceId}-${id(1)}-00`);
  const { traceId, parentId, flags } = trace.finish();
  assertEquals([traceId, parentId, flags], [parent.traceId, parent.spanId, 0]);
});

Deno.test("inSpan() does the same without anybody who wants to know", () => {
  assertEquals(inSpan(undefined, "alone", (span) => span), undefined);
  const trace = recorder(new Clock());
  assertEquals(inSpan(trace, "told", (span) => span !== undefined), true);
  assertEquals(trace.finish().spans.map(({ name }) => name), ["runc create", "told"]);
});
