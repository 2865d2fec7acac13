/**
 * A plan that reports when each of its steps is done: the same steps in the same order, with marks between them. Pure.
 *
 * A mark reads CLOCK_MONOTONIC and sends it to the parent on the socket for all messages:
 *
 *     stage or init  ------ time, number of the mark, struct timespec ------>  parent
 *
 * In these cases a mark sends no time, and the parent uses its own clock:
 *
 * - after a seccomp filter is loaded: of the calls needed here, only write(2) is in every profile;
 * - after a time namespace is joined or created, because its clock may differ.
 *
 * No marks are sent once the socket is closed: the trace does not show init while it waits for `start`, and after that.
 *
 * @module
 */

import { Clock, CloneFlag, Prctl } from "../../ffi/constants.ts";
import { at, call, fixedFd, step, stringPointers, struct } from "../../plan/build.ts";
import type { CallOp, Data, ForkOp, IfOp, Op, Operand, Plan, Slot, Step, Struct } from "../../plan/op.ts";
import { isTraceparent, traceparentEntry } from "../../trace/context.ts";
import { MessageKind, TIME_SIZE } from "../steps/protocol.ts";
import type { Actor } from "../runtime_trace.ts";

/** The meaning of a mark. Its number is its index in the list. */
export interface Mark {
  readonly actor: Actor;
  /** The step that is done; absent: the actor begins. */
  readonly step?: Step;
}

/** A plan with marks. */
export interface TracedPlan {
  readonly plan: Plan;
  /**
   * The marks of one actor are in the order in which they are sent. The last mark of a plan that ends in execve is
   * never sent; the socket's end replaces it.
   */
  readonly marks: readonly Mark[];
}

/**
 * Adds the marks. `traceparentOf`: the TRACEPARENT for the program that a step starts; undefined: the environment
 * stays.
 */
export function tracePlan(plan: Plan, traceparentOf: (step: Step) => string | undefined = () => undefined): TracedPlan {
  const marking = new Marking(traceparentOf);
  const stage = marking.stage(plan.stage);
  const init = marking.init(plan.init);
  return { plan: { stage, init }, marks: marking.marks };
}

class Marking {
  readonly marks: Mark[] = [];
  readonly #traceparentOf: (step: Step) => string | undefined;
  #actor: Actor = "stage";
  /** The slot with the helper's pid; 0 in the helper. */
  #helper: Slot | undefined;
  #hasClock = true;
  #isFiltered = false;
  #isOpen = true;
  /** A step of the stage that executes another program, which continues as init. */
  #replaced: Step | undefined;

  constructor(traceparentOf: (step: Step) => string | undefined) {
    this.#traceparentOf = traceparentOf;
  }

  stage(steps: readonly Step[]): readonly Step[] {
    return [this.#markStep("stage"), ...steps.flatMap((step) => this.#stageStep(step))];
  }

  init(steps: readonly Step[]): readonly Step[] {
    this.#actor = "init";
    const first = this.#replaced === undefined ? [] : [this.#markStep("init", this.#replaced)];
    return [...first, ...steps.flatMap((step) => this.#step(step))];
  }

  #stageStep(step: Step): readonly Step[] {
    const fork = step.ops.find((op) => op.op === "fork");
    if (fork !== undefined) return [this.#forkStep(step, fork)];
    const [first] = step.ops;
    if (first?.op === "if" && this.#isHelpers(first)) return [this.#helperStep(step, first)];
    if (!isExec(step.ops.at(-1))) return this.#step(step);
    this.#replaced = step;
    return [step];
  }

  /** The fork step: afterwards there are two processes. The helper continues with the next steps, init with its own. */
  #forkStep(step: Step, fork: ForkOp): Step {
    const next = ends(fork.parent) ? "init" : "helper";
    if (next === "init") this.#actor = "init";
    else this.#helper = fork.out;
    const done = this.#mark("stage", step);
    const marked: ForkOp = {
      ...fork,
      parent: ends(fork.parent) ? [...done, ...fork.parent] : [...fork.parent, ...done],
      child: [...fork.child, ...this.#mark(next)],
    };
    return { ...step, ops: step.ops.map((op) => op === fork ? marked : op) };
  }

  #isHelpers({ left, right }: IfOp): boolean {
    return this.#helper !== undefined && right === 0 && typeof left === "object" && "slot" in left &&
      left.slot === this.#helper.slot;
  }

  #helperStep(step: Step, only: IfOp): Step {
    const done = this.#mark("helper", step);
    const then = ends(only.then) ? [...done, ...only.then] : [...only.then, ...done];
    return { ...step, ops: [{ ...only, then }] };
  }

  #step(step: Step): readonly Step[] {
    if (!this.#isOpen) return [step];
    const ops = this.#withTraceparent(step);
    if (closesSocket(ops)) {
      const marked = [...this.#mark(this.#actor, step), ...ops];
      this.#isOpen = false;
      return [{ ...step, ops: marked }];
    }
    if (loadsFilter(ops)) this.#isFiltered = true;
    if (changesClock(ops)) this.#hasClock = false;
    if (!isExec(ops.at(-1))) return [ops === step.ops ? step : { ...step, ops }, this.#markStep(this.#actor, step)];
    this.marks.push({ actor: this.#actor, step });
    return [step];
  }

  #withTraceparent(step: Step): readonly Op[] {
    const traceparent = this.#traceparentOf(step);
    return traceparent === undefined ? step.ops : withEntry(step.ops, traceparentEntry(traceparent));
  }

  #markStep(actor: Actor, done?: Step): Step {
    return step(`tell the time of "${done?.label ?? actor}"`, done?.from ?? "", this.#mark(actor, done));
  }

  #mark(actor: Actor, done?: Step): readonly Op[] {
    const number = this.marks.push({ actor, step: done }) - 1;
    const message = struct(`{time, ${number}}`, TIME_SIZE, [
      { at: 0, size: 4, value: MessageKind.time },
      { at: 4, size: 4, value: number },
    ]);
    const send = call("write", [fixedFd("sync"), message, TIME_SIZE]);
    if (this.#isFiltered) return [{ ...send, tolerate: ["*"] }];
    if (!this.#hasClock) return [send];
    // A filter around the caller may refuse it: then the mark has no time.
    return [call("clock_gettime", [Clock.CLOCK_MONOTONIC, at(message, 8)], { tolerate: ["*"] }), send];
  }
}

/** Whether the process exits with these ops. */
function ends(ops: readonly Op[]): boolean {
  return isCall(ops.at(-1), "exit_group");
}

function isExec(op: Op | undefined): op is CallOp {
  return isCall(op, "execve") || isCall(op, "execveat");
}

function isCall(op: Op | undefined, name: CallOp["call"]): op is CallOp {
  return op?.op === "call" && op.call === name;
}

function closesSocket(ops: readonly Op[]): boolean {
  return ops.some((op) => isCall(op, "close") && isFd(op.args[0], "sync"));
}

function isFd(operand: Operand | undefined, name: string): boolean {
  return typeof operand === "object" && "fd" in operand && !("data" in operand) && operand.fd === name;
}

function loadsFilter(ops: readonly Op[]): boolean {
  return ops.some((op) =>
    op.op === "call" &&
    (op.call === "seccomp" || (op.call === "prctl" && op.args[0] === Prctl.PR_SET_SECCOMP))
  );
}

/** time_namespaces(7) */
function changesClock(ops: readonly Op[]): boolean {
  return ops.some((op) => {
    if (op.op === "if") return changesClock(op.then);
    if (op.op !== "call") return false;
    return (op.call === "unshare" && hasTime(op.args[0])) || (op.call === "setns" && hasTime(op.args[1]));
  });
}

function hasTime(flags: Operand | undefined): boolean {
  return typeof flags === "number" && (flags & CloneFlag.CLONE_NEWTIME) !== 0;
}

/** Adds an entry to the environment of the program that a fork executes. */
function withEntry(ops: readonly Op[], entry: string): readonly Op[] {
  return ops.map((op) => op.op === "fork" ? { ...op, child: op.child.map((inner) => intoExec(inner, entry)) } : op);
}

function intoExec(op: Op, entry: string): Op {
  if (!isCall(op, "execve")) return op;
  const [path, argv, environment] = op.args as [Operand, Operand, Struct];
  return { ...op, args: [path, argv, addEntry(environment, entry)] };
}

/** A `char *[]` with this TRACEPARENT in the place of any other one. */
function addEntry({ words }: Struct, entry: string): Struct {
  const items = words.map(({ value }) => value as Data);
  const kept = items.filter((item) => !(item.data === "text" && isTraceparent(item.text)));
  return stringPointers([...kept, entry], `/* ${kept.length + 1} vars */`);
}
