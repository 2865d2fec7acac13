/**
 * What a runtime tells of what it does, as interfaces: what carries them out is loaded where somebody wants to know.
 *
 * @module
 */

import type { CgroupManager } from "../cgroups/manager.ts";
import type { Plan, Step } from "../plan/op.ts";
import type { Tracer } from "../trace/tracer.ts";

/** Is told of what is done, for `Runtime.trace`. `Timeline` is one. */
export interface RuntimeTrace extends Tracer {
  /** The same cgroups, each call of which is told. */
  cgroups(manager: CgroupManager): CgroupManager;
  /** The times of a launch, and the plan that tells them. */
  steps(launch: TracedLaunch): LaunchTrace;
}

/** What is launched. */
export interface TracedLaunch {
  /** What is carried out. */
  readonly plan: Plan;
  /** The same without what the executor adds: its steps are numbered. */
  readonly numbered: Plan;
  /** Who carries out init's steps. */
  readonly executor: "native" | "deno";
}

/** Who carries steps out. The helper opens sources of mounts. */
export type Actor = "stage" | "helper" | "init";

/** What is heard of the processes of one launch. */
export interface LaunchTrace {
  /** What is to be encoded: the plan with marks, that tell when a step is done. */
  readonly plan: Plan;
  /** Says which process an actor is. */
  started(actor: Actor, pid: number): void;
  /** Whether a message is a mark's; if so it is taken. @throws {RuncError} `protocol` for one that is not to be told. */
  take(message: Uint8Array<ArrayBuffer>): boolean;
  /** Tells the step that failed: the one that an error names, or the one that whoever is left was in. What follows from it is no failure. */
  failed(error: unknown, step?: Step): void;
  /** The socket's end: init has become its program, unless it is dead. */
  ended(): void;
}
