/**
 * The timeline of one operation, for {@link Runtime.trace}. Runs in: parent.
 *
 * @module
 */

import type { CgroupManager } from "../../cgroups/manager.ts";
import { monotonicMs, realTime } from "../../ffi/clock.ts";
import type { Kernel } from "../../ffi/kernel.ts";
import { randomBytes } from "../../ffi/random.ts";
import { parseTraceparent } from "../../trace/context.ts";
import { Recorder, type Trace } from "../../trace/recorder.ts";
import type { Attributes, OpenSpan, SpanDetails } from "../../trace/tracer.ts";
import type { LaunchTrace, RuntimeTrace, TracedLaunch } from "../runtime_trace.ts";
import { StepTimes } from "./step_times.ts";
import { TracedCgroups } from "./traced_cgroups.ts";

/** What a timeline is about. */
export interface TimelineOptions {
  /** The operation: `runc create`. */
  readonly name: string;
  /** What the operation as a whole says of itself. */
  readonly attributes?: Attributes;
  /** W3C Trace Context of the caller, as TRACEPARENT has it. One that is not valid begins a new trace, as none does. */
  readonly traceparent?: string;
}

/**
 * Everything that is done with a {@link Runtime} that has it: by this process, by stage and init step by step, by hooks.
 *
 * For one operation, or several of which none begins while another one waits: what begins meanwhile counts as a part of it.
 */
export class Timeline implements RuntimeTrace {
  readonly #recorder: Recorder;

  /** The operation begins now. */
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

  /** W3C Trace Context for a program that is a part of what is done now. */
  get traceparent(): string {
    return this.#recorder.traceparent;
  }

  /** Runs `action` as a part of the operation, until it returns or its promise is settled. */
  span<Result>(name: string, action: (span: OpenSpan) => Result, details?: SpanDetails): Result {
    return this.#recorder.span(name, action, details);
  }

  /** Says more of the operation as a whole. */
  set(attributes: Attributes): void {
    this.#recorder.set(attributes);
  }

  /** The same cgroups, each call of which is told. */
  cgroups(manager: CgroupManager): CgroupManager {
    return new TracedCgroups(manager, this.#recorder);
  }

  /** The times of a launch, and the plan that tells them. */
  steps(launch: TracedLaunch): LaunchTrace {
    return new StepTimes(this.#recorder, launch);
  }

  /** Ends the operation. `error`: what it ended with. */
  finish(error?: unknown): Trace {
    return this.#recorder.finish(error);
  }
}
