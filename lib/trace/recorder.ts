/**
 * Keeps the spans of one operation until they are written. Pure but for the clock and the random numbers that it is given.
 *
 * @module
 */

import { errorFields, RuncError } from "../errors.ts";
import { formatTraceparent, type TraceContext, TraceFlag } from "./context.ts";
import type { Attributes, OpenSpan, SpanDetails, Tracer } from "./tracer.ts";

/** A process that does a part of the operation. */
export interface TracedProcess {
  /** `runc create`, `stage`. */
  readonly name: string;
  /** On the host; 0 as long as it is not known. */
  pid: number;
}

/** A part of the operation, and its times. */
export interface Span {
  /** 16 hexadecimal digits. */
  readonly id: string;
  /** The span that it is a part of. Absent: none, or one of our caller's. */
  readonly parentId?: string;
  /** What was done. */
  readonly name: string;
  /** `client`: another program or service was asked. */
  readonly kind: "internal" | "client";
  /** Who did it. */
  readonly process: TracedProcess;
  /** Milliseconds of CLOCK_MONOTONIC. */
  readonly startMs: number;
  /** As {@link startMs}. */
  readonly endMs: number;
  /** What else is known. */
  readonly attributes: Attributes;
  /** What went wrong. */
  readonly error?: string;
}

/** An operation that is over. */
export interface Trace {
  /** 32 hexadecimal digits. */
  readonly traceId: string;
  /** Our caller's span, where there is one. */
  readonly parentId?: string;
  /** Of W3C Trace Context: 1 is sampled. */
  readonly flags: number;
  /** One moment by both clocks: nanoseconds since 1970, and milliseconds of CLOCK_MONOTONIC. */
  readonly clock: { readonly unixNs: bigint; readonly monotonicMs: number };
  /** The first is the operation as a whole; others come after the one that they are a part of. */
  readonly spans: readonly Span[];
}

/** What a recorder needs of the world. */
export interface RecorderWorld {
  /** Milliseconds of CLOCK_MONOTONIC. */
  readonly now: () => number;
  /** Nanoseconds since 1970. */
  readonly unixNs: () => bigint;
  readonly randomBytes: (length: number) => Uint8Array;
}

/** What is recorded. */
export interface RecorderOptions {
  /** The operation: `runc create`. */
  readonly name: string;
  /** This process's id. */
  readonly pid: number;
  /** Of the operation as a whole. */
  readonly attributes?: Attributes;
  /** The caller's trace, which this one then is a part of. */
  readonly parent?: TraceContext;
}

/** A span as long as it can change. */
type Draft<Type> = { -readonly [Key in keyof Type]: Type[Key] };

/** A span that somebody else has timed. */
export type TimedSpan = Omit<Span, "id" | "kind"> & { readonly id?: string };

/** The recorder. See {@link Tracer} for what is not told here. */
export class Recorder implements Tracer {
  readonly #world: RecorderWorld;
  readonly #traceId: string;
  readonly #parentId?: string;
  readonly #flags: number;
  readonly #clock: Trace["clock"];
  readonly #process: TracedProcess;
  readonly #spans: Draft<Span>[] = [];
  /** From the whole operation to the innermost span. */
  readonly #open: Draft<Span>[] = [];

  /** The operation begins now. */
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

  /** The operation as a whole. */
  get root(): Span {
    return this.#spans[0]!;
  }

  /** Milliseconds of CLOCK_MONOTONIC. */
  now(): number {
    return this.#world.now();
  }

  /** An id for a span that is told to somebody before it is recorded. */
  newSpanId(): string {
    return this.#randomId(8);
  }

  /** TRACEPARENT for whoever is to be a part of the span with this id. */
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

  /** Adds a span of another process, and returns it: its end and its error may still change. */
  add(span: TimedSpan): Draft<Span> {
    const added: Draft<Span> = { ...span, id: span.id ?? this.newSpanId(), kind: "internal" };
    this.#spans.push(added);
    return added;
  }

  /** Says more of the operation as a whole. */
  set(attributes: Attributes): void {
    openSpan(this.#spans[0]!).set(attributes);
  }

  /** Ends the operation. `error`: what it ended with. */
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

  /** With it ends whatever is open in it. */
  #end(span: Draft<Span>, error?: unknown): void {
    const place = this.#open.indexOf(span);
    const ended = place < 0 ? [span] : this.#open.splice(place);
    const now = this.now();
    for (const each of ended) each.endMs = now;
    if (error !== undefined) fail(span, error);
  }

  /** Ids of zeros alone are none. */
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

/** Marks a span as failed, with all that the error knows. */
export function fail(span: Draft<Span>, error: unknown): void {
  span.error = error instanceof Error ? error.message : String(error);
  const fields = error instanceof RuncError ? Object.entries(errorFields(error)) : [];
  span.attributes = {
    ...span.attributes,
    ...Object.fromEntries(fields.map(([name, value]) => [`runc.error.${name}`, value])),
  };
}
