/**
 * Writes a trace in OpenTelemetry's protocol: the JSON form of ExportTraceServiceRequest, which collectors accept over
 * HTTP at /v1/traces. Pure.
 *
 * @see https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
 * @see https://github.com/open-telemetry/opentelemetry-proto/blob/v1.5.0/opentelemetry/proto/trace/v1/trace.proto
 * @module
 */

import type { Span, Trace, TracedProcess } from "./recorder.ts";
import type { Attributes } from "./tracer.ts";

/** SpanKind of trace.proto. The JSON form has enums as numbers. */
const spanKinds = { internal: 1, client: 3 } as const;

/** StatusCode of trace.proto. On success the code stays unset, as the specification asks. */
const STATUS_ERROR = 2;

/**
 * SpanFlags of trace.proto, above the flags of W3C Trace Context: whether the parent belongs to another program, and
 * that this is known.
 */
const HAS_IS_REMOTE = 0x100, IS_REMOTE = 0x200;

/** `service`: the program's name and version, by which its traces are found. */
export function otlpTrace(trace: Trace, service: { readonly name: string; readonly version: string }): string {
  const processes = [...new Set(trace.spans.map(({ process }) => process))];
  const resourceSpans = processes.map((process) => ({
    resource: { attributes: keyValues(resource(process, service)) },
    scopeSpans: [{
      scope: service,
      spans: trace.spans.filter((span) => span.process === process).map((span) => spanOf(span, trace)),
    }],
  }));
  return textOf(resourceSpans);
}

const textOf = (resourceSpans: readonly unknown[]) => JSON.stringify({ resourceSpans }, undefined, 1) + "\n";

/** Appends the trace `later`, which is a part of a span of `earlier`. That span then ends where `later` ends. */
export function continueOtlp(earlier: string, later: string): string {
  const [before, added] = [earlier, later].map((text) => JSON.parse(text).resourceSpans as Resources[]) as [
    Resources[],
    Resources[],
  ];
  const part = spansIn(added)[0]!;
  const whole = spansIn(before).find(({ spanId }) => spanId === part.parentSpanId);
  if (whole !== undefined) whole.endTimeUnixNano = part.endTimeUnixNano;
  return textOf([...before, ...added]);
}

/** ResourceSpans of trace.proto. */
interface Resources {
  readonly scopeSpans: readonly { readonly spans: readonly ReturnType<typeof spanOf>[] }[];
}

const spansIn = (resources: readonly Resources[]) =>
  resources.flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans));

function resource({ name, pid }: TracedProcess, service: { readonly name: string; readonly version: string }) {
  return {
    "service.name": service.name,
    "service.version": service.version,
    "process.title": name,
    ...(pid === 0 ? {} : { "process.pid": pid }),
  };
}

function spanOf({ id, parentId, name, kind, startMs, endMs, attributes, error }: Span, trace: Trace) {
  const parent = parentId ?? trace.parentId;
  const isRemote = parentId === undefined && parent !== undefined;
  return {
    traceId: trace.traceId,
    spanId: id,
    ...(parent === undefined ? {} : { parentSpanId: parent }),
    flags: trace.flags | HAS_IS_REMOTE | (isRemote ? IS_REMOTE : 0),
    name,
    kind: spanKinds[kind],
    startTimeUnixNano: unixNano(startMs, trace),
    endTimeUnixNano: unixNano(endMs, trace),
    attributes: keyValues(attributes),
    status: error === undefined ? {} : { code: STATUS_ERROR, message: error },
  };
}

/** The JSON form has 64-bit numbers as text. */
function unixNano(monotonicMs: number, { clock }: Trace): string {
  return String(clock.unixNs + BigInt(Math.round((monotonicMs - clock.monotonicMs) * 1e6)));
}

function keyValues(attributes: Attributes) {
  return Object.entries(attributes).map(([key, value]) => ({ key, value: anyValue(value) }));
}

/** AnyValue of common.proto. */
function anyValue(value: string | number | boolean) {
  if (typeof value === "string") return { stringValue: value };
  if (typeof value === "boolean") return { boolValue: value };
  return Number.isInteger(value) ? { intValue: String(value) } : { doubleValue: value };
}
