/**
 * W3C Trace Context: the trace that an operation belongs to, passed on in the environment variable TRACEPARENT. Pure.
 *
 * @see https://www.w3.org/TR/trace-context/#traceparent-header
 * @see https://opentelemetry.io/docs/specs/otel/context/env-carriers/
 * @module
 */

/** The content of TRACEPARENT. */
export interface TraceContext {
  /** 32 hexadecimal digits. */
  readonly traceId: string;
  /** The caller's span, 16 hexadecimal digits. */
  readonly spanId: string;
  /** Bits of {@link TraceFlag}. */
  readonly flags: number;
}

/** The defined bits. Other bits are not passed on, as the specification requires. */
export const TraceFlag = { sampled: 1, random: 2 } as const;

const KNOWN_FLAGS = TraceFlag.sampled | TraceFlag.random;

/**
 * Parses TRACEPARENT. Undefined if it is invalid; the caller then begins a new trace. Of a future version it reads the
 * part that version 00 defines.
 */
export function parseTraceparent(text: string): TraceContext | undefined {
  const [, version, traceId = "", spanId = "", flags = "", rest] =
    /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/.exec(text) ?? [];
  if (version === undefined || version === "ff" || (version === "00" && rest !== undefined)) return undefined;
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return undefined;
  return { traceId, spanId, flags: parseInt(flags, 16) & KNOWN_FLAGS };
}

/** Formats a value for TRACEPARENT. */
export function formatTraceparent({ traceId, spanId, flags }: TraceContext): string {
  return `00-${traceId}-${spanId}-${flags.toString(16).padStart(2, "0")}`;
}

/** The variable's name and the = after it, as in an environment. */
const PREFIX = "TRACEPARENT=";

/** Whether an entry of an environment is TRACEPARENT. */
export function isTraceparent(entry: string): boolean {
  return entry.startsWith(PREFIX);
}

/** The entry for an environment. */
export function traceparentEntry(traceparent: string): string {
  return PREFIX + traceparent;
}

/** An environment of `NAME=value` entries with this TRACEPARENT instead of any other. Entries may be bytes. */
export function withTraceparent<Other>(
  environment: readonly (string | Other)[],
  traceparent: string,
): readonly (string | Other)[] {
  const isOther = (entry: string | Other) => typeof entry !== "string" || !isTraceparent(entry);
  return [...environment.filter(isOther), traceparentEntry(traceparent)];
}
