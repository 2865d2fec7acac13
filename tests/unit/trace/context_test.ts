import { assertEquals } from "@std/assert";
import { formatTraceparent, parseTraceparent, type TraceContext, withTraceparent } from "../../../lib/trace/context.ts";

const traceId = "0af7651916cd43dd8448eb211c80319c";
const spanId = "b7ad6b7169203331";

// https://www.w3.org/TR/trace-context/#versioning-of-traceparent, and its test suite's cases.
const valid: readonly [text: string, wanted: TraceContext][] = [
  [`00-${traceId}-${spanId}-01`, { traceId, spanId, flags: 1 }],
  [`00-${traceId}-${spanId}-00`, { traceId, spanId, flags: 0 }],
  // Bits that nobody has defined are not passed on.
  [`00-${traceId}-${spanId}-ff`, { traceId, spanId, flags: 3 }],
  [`00-${traceId}-${spanId}-08`, { traceId, spanId, flags: 0 }],
  // Versions to come.
  [`cc-${traceId}-${spanId}-01`, { traceId, spanId, flags: 1 }],
  [`cc-${traceId}-${spanId}-01-what-the-future-brings`, { traceId, spanId, flags: 1 }],
];
for (const [text, wanted] of valid) {
  Deno.test(`parseTraceparent() reads ${text}`, () => assertEquals(parseTraceparent(text), wanted));
}

const invalid: readonly string[] = [
  "",
  "00",
  `00-${traceId}-${spanId}`,
  `00-${traceId}-${spanId}-1`,
  `00-${traceId}-${spanId}-01-`,
  `00-${traceId}-${spanId}-01-more`,
  `00-${traceId}-${spanId}-0x`,
  `00-${traceId.toUpperCase()}-${spanId}-01`,
  `00-${traceId}-${spanId.toUpperCase()}-01`,
  `00-${traceId.slice(1)}-${spanId}-01`,
  `00-${traceId}0-${spanId}-01`,
  `00-${traceId}-${spanId.slice(1)}-01`,
  `00-${"0".repeat(32)}-${spanId}-01`,
  `00-${traceId}-${"0".repeat(16)}-01`,
  `ff-${traceId}-${spanId}-01`,
  `0-${traceId}-${spanId}-01`,
  `FE-${traceId}-${spanId}-01`,
  `cc-${traceId}-${spanId}-01.more`,
  ` 00-${traceId}-${spanId}-01`,
  `00-${traceId}-${spanId}-01\n`,
  `00_${traceId}_${spanId}_01`,
];
Deno.test("parseTraceparent() refuses what is not valid, and a new trace is begun", () => {
  for (const text of invalid) assertEquals(parseTraceparent(text), undefined, JSON.stringify(text));
});

Deno.test("formatTraceparent() writes version 00", () => {
  assertEquals(formatTraceparent({ traceId, spanId, flags: 1 }), `00-${traceId}-${spanId}-01`);
  assertEquals(formatTraceparent({ traceId, spanId, flags: 0 }), `00-${traceId}-${spanId}-00`);
});

Deno.test("withTraceparent() takes the place of another one, and leaves the rest", () => {
  assertEquals(withTraceparent(["A=1", "TRACEPARENT=old", "TRACESTATE=x", "TRACEPARENTS=y"], "new"), [
    "A=1",
    "TRACESTATE=x",
    "TRACEPARENTS=y",
    "TRACEPARENT=new",
  ]);
});
