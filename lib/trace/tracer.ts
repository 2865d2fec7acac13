/**
 * How what is done tells that it is done, and how long it takes. Who does it needs to know nothing but this.
 *
 * @module
 */

/** What a span says beside its name and its times. */
export type Attributes = Readonly<Record<string, string | number | boolean>>;

/** More about a span. */
export interface SpanDetails {
  /** `client`: another program or service is asked, and waited for. `internal` unless this says otherwise. */
  readonly kind?: "internal" | "client";
  /** What is known when it begins. */
  readonly attributes?: Attributes;
}

/** A span that has not ended. */
export interface OpenSpan {
  /** Adds what is known only now. */
  set(attributes: Attributes): void;
  /** Changes the name, to what only the end has shown. */
  rename(name: string): void;
}

/** Is told what is done. One operation at a time: a span that begins while another is open is a part of that one. */
export interface Tracer {
  /** W3C Trace Context of the innermost span that is open: for a program that is started in it. */
  readonly traceparent: string;
  /**
   * Runs `action` as a span, which ends when it returns, or when the promise that it returns is settled. What it throws is told, and thrown
   * again.
   *
   * `name`: what a person would say, `read config.json`.
   */
  span<Result>(name: string, action: (span: OpenSpan) => Result, details?: SpanDetails): Result;
}

/** Runs `action`, as a span where somebody wants to know. */
export function inSpan<Result>(
  tracer: Tracer | undefined,
  name: string,
  action: (span?: OpenSpan) => Result,
  details?: SpanDetails,
): Result {
  return tracer === undefined ? action() : tracer.span(name, action, details);
}
