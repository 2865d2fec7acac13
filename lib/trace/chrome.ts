/**
 * Writes a trace in the format of chrome://tracing and Perfetto. Pure.
 *
 * @see https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU (Trace Event Format)
 * @module
 */

import type { Span, Trace, TracedProcess } from "./recorder.ts";

/** PID_MAX_LIMIT of Linux. No process has this number or a higher one. */
const NO_PID = 1 << 22;

/** Whole nanoseconds as microseconds. Rounding happens once, to nanoseconds, so spans still nest. */
const microseconds = (nanoseconds: number): number => nanoseconds / 1000;

/** Milliseconds as whole nanoseconds. */
const nanosecondsOf = (milliseconds: number): number => Math.round(milliseconds * 1e6);

/**
 * The trace, with one event per line so that it is readable and searchable as text. Times are CLOCK_MONOTONIC's, so
 * traces from the same boot of a machine can be compared.
 */
export function chromeTrace(trace: Trace): string {
  const processes = [...new Set(trace.spans.map(({ process }) => process))];
  const numberOf = (process: TracedProcess) => process.pid || NO_PID + processes.indexOf(process);
  const place = (process: TracedProcess) => ({ pid: numberOf(process), tid: numberOf(process) });
  const events = [
    ...processes.flatMap((process, index) => [
      { name: "process_name", ph: "M", ...place(process), args: { name: process.name } },
      { name: "process_sort_index", ph: "M", ...place(process), args: { sort_index: index } },
    ]),
    ...trace.spans.map((span) => ({ ...complete(span, trace), ...place(span.process) })),
  ];
  return textOf({ traceId: trace.traceId }, events);
}

function textOf(otherData: unknown, events: readonly unknown[]): string {
  const lines = events.map((event) => JSON.stringify(event)).join(",\n");
  return `{"displayTimeUnit":"ms","otherData":${JSON.stringify(otherData)},"traceEvents":[\n${lines}\n]}\n`;
}

/** Appends the trace `later`, which is a part of a span of `earlier`. That span then ends where `later` ends. */
export function continueChrome(earlier: string, later: string): string {
  const { otherData, traceEvents } = JSON.parse(earlier);
  const added = JSON.parse(later).traceEvents as ReturnType<typeof complete>[];
  const part = added.find(({ ph }) => ph === "X")!;
  const whole = traceEvents.find((event: typeof part) => event.args.span === part.args.parent);
  if (whole !== undefined) whole.dur = microseconds(Math.round((part.ts + part.dur - whole.ts) * 1000));
  return textOf(otherData, [...traceEvents, ...added]);
}

function complete({ name, id, parentId, kind, startMs, endMs, attributes, error }: Span, trace: Trace) {
  const start = nanosecondsOf(startMs);
  return {
    name,
    ph: "X",
    cat: kind,
    ts: microseconds(start),
    dur: microseconds(nanosecondsOf(endMs) - start),
    args: { ...attributes, error, span: id, parent: parentId ?? trace.parentId },
  };
}
