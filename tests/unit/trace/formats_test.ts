/** Both formats, read back by their specifications. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { chromeTrace } from "../../../lib/trace/chrome.ts";
import { otlpTrace } from "../../../lib/trace/otlp.ts";
import type { Trace } from "../../../lib/trace/recorder.ts";
import { checkTrace, readChrome, readOtlp, type ReadTrace } from "../trace_reader.ts";
import { Clock, recorder } from "./fixed.ts";

const parent = { traceId: "0af7651916cd43dd8448eb211c80319c", spanId: "b7ad6b7169203331", flags: 1 };

/** One operation with two other processes, one of which has not told its pid; an odd number of days after boot. */
function example(): Trace {
  const clock = new Clock();
  clock.nowMs = 123_456_789.123456;
  const trace = recorder(clock, { parent, attributes: { "runc.command": "create" } });
  trace.span("ask systemd", (span) => {
    clock.nowMs += 0.000001;
    span.set({ text: 'a "quoted"\nline', whole: 3, part: 0.5, flag: true });
  }, { kind: "client" });
  for (const process of [{ name: "stage", pid: 101 }, { name: "init", pid: 0 }]) {
    const startMs = clock.nowMs;
    clock.nowMs += 1.25;
    const course = trace.add({
      name: process.name,
      process,
      parentId: trace.root.id,
      startMs,
      endMs: clock.nowMs,
      attributes: {},
    });
    const step = trace.add({ ...course, id: undefined, name: "step", parentId: course.id, attributes: {} });
    if (process.pid === 0) step.error = "no such file";
  }
  return trace.finish();
}

const texts: Readonly<Record<string, () => ReadTrace>> = {
  Chrome: () => readChrome(chromeTrace(example())),
  OTLP: () => readOtlp(otlpTrace(example(), { name: "runc", version: "1.2.3" })),
};

for (const [format, read] of Object.entries(texts)) {
  Deno.test(`${format}: ids, times and parents are as they are to be`, () => {
    const trace = read();
    const root = checkTrace(trace);
    assertEquals([trace.traceId, root.parentId], [parent.traceId, parent.spanId]);
    assertEquals([root.name, root.pid], ["runc create", 100]);
    assertEquals(trace.spans.map(({ name }) => name), [
      "runc create",
      "ask systemd",
      "stage",
      "step",
      "init",
      "step",
    ]);
  });

  Deno.test(`${format}: times are exact to the nanosecond`, () => {
    const lengths = read().spans.map(({ start, end }) => end - start);
    assertEquals(lengths, [2_500_001n, 1n, 1_250_000n, 1_250_000n, 1_250_000n, 1_250_000n]);
  });

  Deno.test(`${format}: attributes keep their types, and errors their words`, () => {
    const { spans } = read();
    assertEquals(spans[1]!.attributes, { text: 'a "quoted"\nline', whole: 3, part: 0.5, flag: true });
    assertEquals(spans.map(({ error }) => error), [...Array(5), "no such file"]);
  });
}

Deno.test("Chrome: a process that nobody knows has a number that no process has", () => {
  const { spans } = readChrome(chromeTrace(example()));
  assertEquals(spans.map(({ pid }) => pid), [100, 100, 101, 101, 4194306, 4194306]);
});

Deno.test("Chrome: an event is a line", () => {
  const lines = chromeTrace(example()).trimEnd().split("\n");
  for (const line of lines.slice(1, -1)) JSON.parse(line.replace(/,$/, ""));
  assertEquals(lines.length, 2 + 6 + 6);
});

Deno.test("OTLP: the whole operation is a part of the caller's span, which is another program's", () => {
  const text = otlpTrace(example(), { name: "runc", version: "1.2.3" });
  const [root, call] = JSON.parse(text).resourceSpans[0].scopeSpans[0].spans;
  assertEquals([root.parentSpanId, root.flags, call.parentSpanId, call.flags], [
    parent.spanId,
    0x301,
    root.spanId,
    0x101,
  ]);
  assertEquals([root.kind, call.kind], [1, 3]);
  assertEquals(root.startTimeUnixNano, "1700000000000000000");
  assertStringIncludes(text, '"process.pid"');
});
