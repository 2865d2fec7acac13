/**
 * The interface by which code reports what it does and how long that takes. Code that is traced depends on nothing
 * else.
 *
 * @module
 */

import type { Answer, Wait } from "../ffi/waits.ts";

/** Further facts about a span. */
export type Attributes = Readonly<Record<string, string | number | boolean>>;

/** Options of a span. */
export interface SpanDetails {
  /** `client`: the span waits for another program or service. The default is `internal`. */
  readonly kind?: "internal" | "client";
  /** The attributes that are known when it begins. */
  readonly attributes?: Attributes;
}

/** A span that has not ended. */
export interface OpenSpan {
  /** Adds attributes that became known later. */
  set(attributes: Attributes): void;
  /** Changes the name, if the right one is only known at the end. */
  rename(name: string): void;
}

/** A span that ends when its owner says so. */
export interface RunningSpan extends OpenSpan {
  /** Ends the span. `error`: what ended it. */
  end(error?: unknown): void;
}

/**
 * Receives spans. It handles one operation at a time: a span that begins while another is open becomes a part of it.
 */
export interface Tracer {
  /** W3C Trace Context of the innermost open span, for a program that is started in it. */
  readonly traceparent: string;
  /**
   * Runs `action` as a span. The span ends when `action` returns or when its promise settles. An exception is recorded
   * and rethrown.
   *
   * `name`: what is done, in words: `read config.json`.
   */
  span<Result>(name: string, action: (span: OpenSpan) => Result, details?: SpanDetails): Result;
  /** Begins a span for work that is not one function call. The caller ends it. */
  begin(name: string, details?: SpanDetails): RunningSpan;
}

/** Runs `action`, as a span if there is a tracer. */
export function inSpan<Result>(
  tracer: Tracer | undefined,
  name: string,
  action: (span?: OpenSpan) => Result,
  details?: SpanDetails,
): Result {
  return tracer === undefined ? action() : tracer.span(name, action, details);
}

/** Like {@link inSpan}, for work that waits. */
export function* inSpanWaits<Result>(
  tracer: Tracer | undefined,
  name: string,
  action: (span?: OpenSpan) => Generator<Wait, Result, Answer>,
  details?: SpanDetails,
): Generator<Wait, Result, Answer> {
  const span = tracer?.begin(name, details);
  try {
    const result = yield* action(span);
    span?.end();
    return result;
  } catch (error) {
    span?.end(error);
    throw error;
  }
}
