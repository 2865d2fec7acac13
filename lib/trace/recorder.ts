/**
 * Keeps the spans of one operation until they are written. Pure except for the clock and the random numbers that it is
 * given.
 *
 * @module
 */

import { errorFields, RuncError } from "../errors.ts";
import { formatTraceparent, type TraceContext, TraceFlag } from "./context.ts";
import type { Attributes, OpenSpan, RunningSpan, SpanDetails, Tracer } from "./tracer.ts";

/** A process that takes part in the operation. */
export interface TracedProcess {
  /** `runc create`, `stage`. */
  readonly name: string;
  /** The pid on the host; 0 until it is known. */
  pid: number;
}

/** A part of the operation, with its times. */
export interface Span {
  /** 16 hexadecimal digits. */
  readonly id: string;
  /** The enclosing span. Absent if there is none or if it is our caller's. */
  readonly parentId?: string;
  /** What was done. */
  readonly name: string;
  /** `client`: the span waits for another program or service. */
  readonly kind: "internal" | "client";
  /** The process that did it. */
  readonly process: TracedProcess;
  /** Milliseconds of CLOCK_MONOTONIC. */
  readonly startMs: number;
  /** Like {@link startMs}. */
  readonly endMs: number;
  /** Further facts. */
  readonly attributes: Attributes;
  /** The error message, if it failed. */
  readonly error?: string;
}

/** A finished operation. */
export interface Trace {
  /** 32 hexadecimal digits. */
  readonly traceId: string;
  /** Our caller's span, if any. */
  readonly parentId?: string;
  /** Flags of W3C Trace Context; 1 is sampled. */
  readonly flags: number;
  /** The same moment on both clocks: nanoseconds since 1970, and milliseconds of CLOCK_MONOTONIC. */
  readonly clock: { readonly unixNs: bigint; readonly monotonicMs: number };
  /** The first span is the whole operation. Every other span comes after the span that contains it. */
  readonly spans: readonly Span[];
}

/** The clocks and the random numbers that a recorder uses. */
export interface RecorderWorld {
  /** Milliseconds of CLOCK_MONOTONIC. */
  readonly now: () => number;
  /** Nanoseconds since 1970. */
  readonly unixNs: () => bigint;
  readonly randomBytes: (length: number) => Uint8Array;
}

/** The operation to record. */
export interface RecorderOptions {
  /** The operation: `runc create`. */
  readonly name: string;
  /** This process's id. */
  readonly pid: number;
  /** Attributes of the whole operation. */
  readonly attributes?: Attributes;
  /** The caller's trace. The operation becomes a part of it. */
  readonly parent?: TraceContext;
}

/** A span that can still change. */
type Draft<Type> = { -readonly [Key in keyof Type]: Type[Key] };

/** A span that another process has timed. */
export type TimedSpan = Omit<Span, "id" | "kind"> & { readonly id?: string };

/** The recorder. {@link Tracer} documents the rest. */
export class Recorder implements Tracer {
  readonly #world: RecorderWorld;
  readonly #traceId: string;
  readonly #parentId?: string;
  readonly #flags: number;
  readonly #clock: Trace["clock"];
  readonly #process: TracedProcess;
  readonly #spans: Draft<Span>[] = [];
  /** The open spans, from the whole operation to the innermost. */
  readonly #open: Draft<Span>[] = [];

  /** Starts the operation now. */
  constructor(world: RecorderWorld, { name, pid, attributes, parent }: RecorderOptions) {
    this.#world = world;
    this.#traceId = parent?.traceId ?? this.#randomId(16);
    this.#parentId = parent?.spanId;
    this.#flags = parent?.flags ?? TraceFlag.sampled;
    this.#process = { name, pid };
    this.#clock = { unixNs: world.unixNs(), monotonicMs: world.now() };
    this.#begin(name, { attributes });
  }

  get traceparent(): string {
    const [innermost = this.root] = this.#open.slice(-1);
    return this.traceparentOf(innermost.id);
  }

  /** The span of the whole operation. */
  get root(): Span {
    return this.#spans[0]!;
  }

  /** Milliseconds of CLOCK_MONOTONIC. */
  now(): number {
    return this.#world.now();
  }

  /** An id for a span that others must know before it is recorded. */
  newSpanId(): string {
    return this.#randomId(8);
  }

  /** TRACEPARENT for a program whose spans belong to the span with this id. */
  traceparentOf(spanId: string): string {
    return formatTraceparent({ traceId: this.#traceId, spanId, flags: this.#flags });
  }

  span<Result>(name: string, action: (span: OpenSpan) => Result, details: SpanDetails = {}): Result {
    const span = this.#begin(name, details);
    const failed = (error: unknown): never => {
      this.#end(span, error);
      throw error;
    };
    let result: Result;
    try {
      result = action(openSpan(span));
    } catch (error) {
      return failed(error);
    }
    if (!(result instanceof Promise)) {
      this.#end(span);
      return result;
    }
    const settled = result.then((value) => {
      this.#end(span);
      return value;
    }, failed);
    return settled as Result;
  }

  begin(name: string, details: SpanDetails = {}): RunningSpan {
    const span = this.#begin(name, details);
    return { ...openSpan(span), end: (error) => this.#end(span, error) };
  }

  /** Adds a span of another process. Returns it, because its end and its error may still change. */
  add(span: TimedSpan): Draft<Span> {
    const added: Draft<Span> = { ...span, id: span.id ?? this.newSpanId(), kind: "internal" };
    this.#spans.push(added);
    return added;
  }

  /** Adds attributes to the whole operation. */
  set(attributes: Attributes): void {
    openSpan(this.#spans[0]!).set(attributes);
  }

  /** Ends the operation. `error`: the error that ended it, if any. */
  finish(error?: unknown): Trace {
    this.#end(this.#spans[0]!, error);
    return {
      traceId: this.#traceId,
      parentId: this.#parentId,
      flags: this.#flags,
      clock: this.#clock,
      spans: this.#spans,
    };
  }

  #begin(name: string, { kind = "internal", attributes = {} }: SpanDetails): Draft<Span> {
    const now = this.now();
    const span: Draft<Span> = {
      id: this.newSpanId(),
      parentId: this.#open.at(-1)?.id,
      name,
      kind,
      process: this.#process,
      startMs: now,
      endMs: now,
      attributes,
    };
    this.#spans.push(span);
    this.#open.push(span);
    return span;
  }

  /** Ends a span and all open spans in it. */
  #end(span: Draft<Span>, error?: unknown): void {
    const place = this.#open.indexOf(span);
    const ended = place < 0 ? [span] : this.#open.splice(place);
    const now = this.now();
    for (const each of ended) each.endMs = now;
    if (error !== undefined) fail(span, error);
  }

  /** An id of zeros only is invalid. */
  #randomId(length: number): string {
    const id = Array.from(this.#world.randomBytes(length), (byte) => byte.toString(16).padStart(2, "0")).join("");
    return /[1-9a-f]/.test(id) ? id : this.#randomId(length);
  }
}

function openSpan(span: Draft<Span>): OpenSpan {
  return {
    set(attributes) {
      span.attributes = { ...span.attributes, ...attributes };
    },
    rename(name) {
      span.name = name;
    },
  };
}

/** Marks a span as failed, with all fields of the error. */
export function fail(span: Draft<Span>, error: unknown): void {
  span.error = error instanceof Error ? error.message : String(error);
  const fields = error instanceof RuncError ? Object.entries(errorFields(error)) : [];
  span.attributes = {
    ...span.attributes,
    ...Object.fromEntries(fields.map(([name, value]) => [`runc.error.${name}`, value])),
  };
}
