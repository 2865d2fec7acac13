/**
 * How tests look at traces: either format read back, by what its specification says and with none of the writers' code, and what every
 * trace must be.
 *
 * @module
 */

import { assert, assertEquals, assertMatch } from "@std/assert";

/** A span, as either format has it. */
export interface ReadSpan {
  readonly id: string;
  /** Of the same trace, or the caller's. */
  readonly parentId?: string;
  readonly name: string;
  readonly pid: number;
  /** In ns, by a clock of the format's choice. */
  readonly start: bigint;
  readonly end: bigint;
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly error?: string;
}

/** A trace, as either format has it. */
export interface ReadTrace {
  readonly traceId: string;
  /** In the file's order. */
  readonly spans: readonly ReadSpan[];
}

/** Nanoseconds of a number of microseconds with at most three decimals. */
function nanoseconds(microseconds: unknown): bigint {
  assert(typeof microseconds === "number" && Number.isFinite(microseconds), String(microseconds));
  const rounded = Math.round(microseconds * 1000);
  // A double of a hundred days has this much room behind its third decimal.
  assert(Math.abs(rounded - microseconds * 1000) < 0.1, `${microseconds} is finer than a nanosecond`);
  return BigInt(rounded);
}

type Json = Readonly<Record<string, unknown>>;

/** Reads a file of the Trace Event Format: complete events, and metadata that names each process once. */
export function readChrome(text: string): ReadTrace {
  const { traceEvents, otherData, displayTimeUnit } = JSON.parse(text);
  assertEquals(displayTimeUnit, "ms");
  const named: number[] = [];
  const spans: ReadSpan[] = [];
  for (const event of traceEvents as Json[]) {
    assert(Number.isInteger(event.pid) && Number.isInteger(event.tid) && typeof event.name === "string");
    const { args } = event as { args: Json };
    if (event.ph === "M") {
      if (event.name === "process_name") named.push(event.pid as number);
      continue;
    }
    assertEquals(event.ph, "X");
    assert(typeof event.cat === "string");
    const { span, parent, error, ...attributes } = args;
    const start = nanoseconds(event.ts);
    const common = { id: String(span), name: event.name, pid: event.pid as number, start, attributes };
    spans.push({
      ...common,
      end: start + nanoseconds(event.dur),
      parentId: parent as string | undefined,
      error: error as string | undefined,
    });
  }
  assertEquals(new Set(named).size, named.length, "a process has one name");
  assertEquals(new Set(spans.map(({ pid }) => pid)), new Set(named), "each process is named");
  return { traceId: otherData.traceId, spans };
}

/** AnyValue, as JSON has it: one field, 64 bits as text. */
function valueOf(value: Json): unknown {
  const entries = Object.entries(value);
  assertEquals(entries.length, 1);
  const [kind, content] = entries[0]!;
  switch (kind) {
    case "stringValue":
      assert(typeof content === "string");
      return content;
    case "boolValue":
      assert(typeof content === "boolean");
      return content;
    case "intValue":
      assertMatch(content as string, /^-?\d+$/);
      return Number(content);
    case "doubleValue":
      assert(typeof content === "number");
      return content;
    default:
      throw new Error(`AnyValue has no ${kind} here`);
  }
}

function attributesOf(list: unknown): Json {
  const pairs = (list as { key: string; value: Json }[]).map(({ key, value }) => [key, valueOf(value)] as const);
  assertEquals(new Set(pairs.map(([key]) => key)).size, pairs.length, "keys are unique");
  return Object.fromEntries(pairs);
}

/** Reads an ExportTraceServiceRequest: opentelemetry/proto/trace/v1/trace.proto, and how OTLP writes it as JSON. */
export function readOtlp(text: string): ReadTrace {
  const { resourceSpans, ...others } = JSON.parse(text);
  assertEquals(others, {});
  const traceIds = new Set<string>();
  const spans: ReadSpan[] = [];
  for (const { resource, scopeSpans } of resourceSpans) {
    const { "process.pid": pid = 0, "service.name": service } = attributesOf(resource.attributes);
    assert(typeof service === "string" && service !== "");
    for (const span of scopeSpans.flatMap(({ spans }: { spans: unknown }) => spans)) {
      assertMatch(span.traceId, /^[0-9a-f]{32}$/);
      assertMatch(span.startTimeUnixNano, /^\d{19}$/);
      assertMatch(span.endTimeUnixNano, /^\d{19}$/);
      assert(span.kind === 1 || span.kind === 3, `SpanKind ${span.kind}`);
      // W3C flags in the low byte; whether the parent is another program's, and that this is known.
      assertEquals(span.flags & 0x100, 0x100);
      const { code, message, ...rest } = span.status;
      assert((code === undefined && message === undefined) || (code === 2 && typeof message === "string"));
      assertEquals(rest, {});
      traceIds.add(span.traceId);
      spans.push({
        id: span.spanId,
        parentId: span.parentSpanId,
        name: span.name,
        pid: pid as number,
        start: BigInt(span.startTimeUnixNano),
        end: BigInt(span.endTimeUnixNano),
        attributes: attributesOf(span.attributes),
        error: message,
      });
    }
  }
  assertEquals(traceIds.size, 1, "all spans are of one trace");
  return { traceId: [...traceIds][0]!, spans };
}

/** Checks what holds for every trace: ids, times, parents. Returns the span of the operation as a whole. */
export function checkTrace({ traceId, spans }: ReadTrace): ReadSpan {
  assertMatch(traceId, /^(?!0+$)[0-9a-f]{32}$/);
  const byId = new Map(spans.map((span) => [span.id, span]));
  assertEquals(byId.size, spans.length, "ids are unique");
  const roots = spans.filter(({ parentId }) => parentId === undefined || !byId.has(parentId));
  assertEquals(roots.map(({ name }) => name), [spans[0]?.name], "one span has no parent, and it comes first");
  for (const span of spans) {
    assertMatch(span.id, /^(?!0+$)[0-9a-f]{16}$/);
    assert(span.name !== "");
    assert(span.end >= span.start, `${span.name} ends before it begins`);
    const parent = span.parentId === undefined ? undefined : byId.get(span.parentId);
    if (parent === undefined) continue;
    assert(span.start >= parent.start && span.end <= parent.end, `${span.name} is not within ${parent.name}`);
  }
  return roots[0]!;
}
