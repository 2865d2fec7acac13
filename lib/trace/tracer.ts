/**
 * The interface by which code reports what it does and how long that takes. Code that is traced depends on nothing
 * else.
 *
 * @module
 */

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
