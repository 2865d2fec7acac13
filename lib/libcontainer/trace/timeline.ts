/**
 * The timeline of one operation, for {@link Runtime.trace}. Runs in: parent.
 *
 * @module
 */

import { monotonicMs, realTime } from "../../ffi/clock.ts";
import type { Kernel } from "../../ffi/kernel.ts";
import { randomBytes } from "../../ffi/random.ts";
import { parseTraceparent } from "../../trace/context.ts";
import { Recorder, type Trace } from "../../trace/recorder.ts";
import type { Attributes, OpenSpan, RunningSpan, SpanDetails } from "../../trace/tracer.ts";
import type { LaunchTrace, RuntimeTrace, TracedLaunch } from "../runtime_trace.ts";
import { StepTimes } from "./step_times.ts";

/** The operation that a timeline records. */
export interface TimelineOptions {
  /** The operation's name: `runc create`. */
  readonly name: string;
  /** Attributes of the whole operation. */
  readonly attributes?: Attributes;
  /** W3C Trace Context of the caller, in the format of TRACEPARENT. Without a valid one, a new trace begins. */
  readonly traceparent?: string;
}

/**
 * Records everything done with its {@link Runtime}: by this process, by stage and init for each step, and by hooks.
 *
 * It is for one operation, or for several in sequence: an operation that begins during another one counts as a part of
 * it.
 */
export class Timeline implements RuntimeTrace {
  readonly #recorder: Recorder;

  /** Starts the operation. */
  constructor(kernel: Kernel, { name, attributes, traceparent = "" }: TimelineOptions) {
    this.#recorder = new Recorder({
      now: () => monotonicMs(kernel),
      unixNs: () => {
        const { seconds, nanoseconds } = realTime(kernel);
        return BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds);
      },
      randomBytes: (length) => randomBytes(kernel, length),
    }, { name, attributes, pid: kernel.pid, parent: parseTraceparent(traceparent) });
  }

  /** W3C Trace Context for a program that is part of the current span. */
  get traceparent(): string {
    return this.#recorder.traceparent;
  }

  /** Runs `action` as a part of the operation, until it returns or its promise is settled. */
  span<Result>(name: string, action: (span: OpenSpan) => Result, details?: SpanDetails): Result {
    return this.#recorder.span(name, action, details);
  }

  /** Begins a part of the operation, which its owner ends. */
  begin(name: string, details?: SpanDetails): RunningSpan {
    return this.#recorder.begin(name, details);
  }

  /** Adds attributes to the whole operation. */
  set(attributes: Attributes): void {
    this.#recorder.set(attributes);
  }

  /** The times of a launch, and the plan that sends them. */
  steps(launch: TracedLaunch): LaunchTrace {
    return new StepTimes(this.#recorder, launch);
  }

  /** Ends the operation. `error`: the error that it ended with. */
  finish(error?: unknown): Trace {
    return this.#recorder.finish(error);
  }
}
