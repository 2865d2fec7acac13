/**
 * The interfaces of a runtime's trace. The implementation is used only with a trace.
 *
 * @module
 */

import type { Plan, Step } from "../plan/op.ts";
import type { Tracer } from "../trace/tracer.ts";

/** Records what is done, for `Runtime.trace`. `Timeline` implements it. */
export interface RuntimeTrace extends Tracer {
  /** The times of a launch, and the plan that sends them. */
  steps(launch: TracedLaunch): LaunchTrace;
}

/** The launch to trace. */
export interface TracedLaunch {
  /** The plan that runs. */
  readonly plan: Plan;
  /** The same plan without the executor's own steps: its steps are numbered. */
  readonly numbered: Plan;
  /** What runs init's steps. */
  readonly executor: "native" | "deno";
}

/** The processes that run steps. The helper opens sources of mounts. */
export type Actor = "stage" | "helper" | "init";

/** Records the processes of one launch. */
export interface LaunchTrace {
  /** The plan to encode: with marks, which report when a step is done. */
  readonly plan: Plan;
  /** Sets an actor's pid. */
  started(actor: Actor, pid: number): void;
  /** Takes a mark's message; returns false for all others. @throws {RuncError} `protocol` for an unexpected mark. */
  take(message: Uint8Array<ArrayBuffer>): boolean;
  /**
   * Records the failed step: the step of the error, or the current step of the remaining process. Later failures follow
   * from it and are ignored.
   */
  failed(error: unknown, step?: Step): void;
  /** The socket has ended: init has executed its program, or is dead. */
  ended(): void;
}
