/**
 * The steps of one launch as spans, from the times that stage, helper and init send. Runs in: parent.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import type { Plan, Step } from "../../plan/op.ts";
import { fail, type Recorder, type TracedProcess } from "../../trace/recorder.ts";
import type { Attributes } from "../../trace/tracer.ts";
import { containerHookNames } from "../steps/container_hooks.ts";
import { MessageKind, TIME_SIZE } from "../steps/protocol.ts";
import type { Actor, LaunchTrace, TracedLaunch } from "../runtime_trace.ts";
import { type Mark, tracePlan } from "./traced_plan.ts";

/** The timeline of one of the processes, from its first mark on. */
interface Course {
  readonly process: TracedProcess;
  readonly span: ReturnType<Recorder["add"]>;
  /** The time at which its last step was done. */
  lastMs: number;
}

/** Hooks whose environment is part of the plan. */
const INSIDE = containerHookNames.map((name) => `/hooks/${name}/`);

/** The times of one launch. {@link LaunchTrace} documents the methods. */
export class StepTimes implements LaunchTrace {
  readonly plan: Plan;
  readonly #recorder: Recorder;
  readonly #marks: readonly Mark[];
  readonly #launch: TracedLaunch;
  readonly #numbers: ReadonlyMap<Step, number>;
  readonly #hookSpans = new Map<Step, string>();
  readonly #processes: Readonly<Record<Actor, TracedProcess>>;
  readonly #courses = new Map<Actor, Course>();
  /** Numbers of marks already received. */
  readonly #told = new Set<number>();
  #isOver = false;

  constructor(recorder: Recorder, launch: TracedLaunch) {
    this.#recorder = recorder;
    this.#launch = launch;
    const { stage, init } = launch.numbered;
    this.#numbers = new Map([...stage, ...init].map((step, index) => [step, index + 1]));
    for (const step of init) {
      if (INSIDE.some((hooks) => step.from.startsWith(hooks))) this.#hookSpans.set(step, recorder.newSpanId());
    }
    const { plan, marks } = tracePlan(launch.plan, (step) => {
      const span = this.#hookSpans.get(step);
      return span === undefined ? undefined : recorder.traceparentOf(span);
    });
    this.plan = plan;
    this.#marks = marks;
    this.#processes = {
      stage: { name: "stage", pid: 0 },
      helper: { name: "helper", pid: 0 },
      init: { name: "init", pid: 0 },
    };
  }

  started(actor: Actor, pid: number): void {
    this.#processes[actor].pid = pid;
  }

  take(message: Uint8Array<ArrayBuffer>): boolean {
    const view = new DataView(message.buffer, message.byteOffset, message.length);
    if (message.length < TIME_SIZE || view.getUint32(0, true) !== MessageKind.time) return false;
    const number = view.getUint32(4, true);
    const mark = this.#marks[number];
    if (mark === undefined || this.#told.has(number)) {
      throw new RuncError("protocol", `init sent an unexpected time mark: ${number}`);
    }
    const seconds = Number(view.getBigInt64(8, true));
    const nanoseconds = Number(view.getBigInt64(16, true));
    this.#reach(number, mark, seconds === 0 ? undefined : seconds * 1000 + nanoseconds / 1e6);
    return true;
  }

  failed(error: unknown, step?: Step): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const isIts = (mark: Mark) =>
      step === undefined
        ? mark.actor === this.#latest
        : mark.step?.label === step.label && mark.step.from === step.from;
    const number = this.#marks.findIndex((mark, index) => !this.#told.has(index) && isIts(mark));
    const mark = this.#marks[number];
    if (mark !== undefined) this.#reach(number, mark, undefined, { error });
  }

  ended(): void {
    this.#isOver = true;
    const number = this.#marks.findIndex((mark, index) => !this.#told.has(index) && mark.actor === "init");
    const mark = this.#marks[number];
    if (mark !== undefined) this.#reach(number, mark, undefined);
  }

  /** The latest process: init if it has started. */
  get #latest(): Actor {
    return this.#courses.has("init") ? "init" : "stage";
  }

  /** `toldMs`: by the sender's clock; absent: the sender has sent no time, and our clock is used. */
  #reach(number: number, mark: Mark, toldMs: number | undefined, failure?: { readonly error: unknown }): void {
    this.#told.add(number);
    const nowMs = this.#recorder.now();
    const course = this.#courses.get(mark.actor);
    // The sender is not trusted: a step cannot end before the previous one, or in the future.
    const earliest = course?.lastMs ?? this.#recorder.root.startMs;
    const atMs = Math.min(Math.max(toldMs ?? nowMs, earliest), nowMs);
    if (course === undefined || mark.step === undefined) return this.#begin(mark, atMs);
    const span = this.#recorder.add({
      id: this.#hookSpans.get(mark.step),
      parentId: course.span.id,
      name: mark.step.label,
      process: course.process,
      startMs: course.lastMs,
      endMs: atMs,
      attributes: this.#attributesOf(mark.actor, mark.step, toldMs === undefined),
    });
    course.lastMs = atMs;
    course.span.endMs = atMs;
    if (failure !== undefined) fail(span, failure.error);
  }

  #begin({ actor }: Mark, atMs: number): void {
    const process = this.#processes[actor];
    const span = this.#recorder.add({
      parentId: this.#recorder.root.id,
      name: actor,
      process,
      startMs: atMs,
      endMs: atMs,
      attributes: {},
    });
    this.#courses.set(actor, { process, span, lastMs: atMs });
  }

  #attributesOf(actor: Actor, step: Step, byParent: boolean): Attributes {
    const { executor, plan } = this.#launch;
    const number = this.#numbers.get(step);
    return {
      "runc.process": actor,
      "runc.executor": plan.init.includes(step) ? executor : "native",
      ...(number === undefined ? {} : { "runc.step": number }),
      ...(step.from === "" ? {} : { "runc.config": step.from }),
      ...(byParent ? { "runc.clock": "parent" } : {}),
      // Init continues after a hook only if the hook exits with 0.
      ...(this.#hookSpans.has(step) ? { "process.exit.code": 0 } : {}),
    };
  }
}
