/**
 * All actors of a command in one list, in the order of time. Pure.
 *
 * Actors work at the same time. The list shows one order that they may have: what a message needs comes before the
 * message, and what waits for it comes after it.
 *
 * @module
 */

import { formatOp, stepsByProcess } from "../../plan/explain.ts";
import type { Op, Plan, Step } from "../../plan/op.ts";
import type { Act } from "./parent/act.ts";
import { showAct } from "./parent/show.ts";

/** Who does something. */
export type Actor = "parent" | "stage" | "init" | "monitor";

/** What a command does: the acts of the parent, and the steps of the processes that it starts. */
export interface WholePlan {
  /** The parent, which is the runtime. */
  readonly parent: readonly Act[];
  /** Stage and init; absent: the command starts none. */
  readonly plan?: Plan;
  /** Replaces the parent in the foreground. */
  readonly monitor?: Plan;
}

/** One act or step. */
export interface ExplainedStep {
  /**
   * Counts from 1: acts of the parent, steps of the monitor, and steps of stage and init, which share their numbers as
   * they do in a trace.
   */
  readonly number: number;
  /** Who does it. */
  readonly actor: Actor;
  /** What is done, in words. */
  readonly label: string;
  /** JSON pointer into config.json; empty if no field asked for it. */
  readonly from: string;
  /** The system calls and conditions, one per line. */
  readonly calls: readonly string[];
}

type Unnumbered = Omit<ExplainedStep, "number">;

/** The whole plan for programs. */
export function explainSteps({ parent, plan = { stage: [], init: [] }, monitor }: WholePlan): readonly ExplainedStep[] {
  const { stage, init } = stepsByProcess(plan);
  const others = [...stage.map(stepOf("stage")), ...init.map(stepOf("init"))];
  const steps: Unnumbered[] = [];
  for (const act of parent) {
    const { does } = act;
    // Everything that the message needs.
    if (does.verb === "await") steps.push(...takeUntil(others, does.kind).map(({ told: _, ...step }) => step));
    steps.push({ actor: "parent", label: act.label, from: act.from, calls: showAct(act) });
  }
  steps.push(...others.map(({ told: _, ...step }) => step));
  steps.push(...monitor?.stage.map(stepOf("monitor")).map(({ told: _, ...step }) => step) ?? []);
  const counts = { parent: 0, plan: 0, monitor: 0 };
  return steps.map((step) => {
    const list = step.actor === "parent" || step.actor === "monitor" ? step.actor : "plan";
    return { number: ++counts[list], ...step };
  });
}

/** The steps up to the one that sends this message. Without it, all: the process closes its socket at its end. */
function takeUntil(steps: (Unnumbered & { told: readonly string[] })[], kind: string): typeof steps {
  const index = steps.findIndex(({ told }) => told.includes(kind));
  return steps.splice(0, index < 0 ? (kind === "end" ? steps.length : 0) : index + 1);
}

function stepOf(actor: Actor): (step: Step) => Unnumbered & { told: readonly string[] } {
  return ({ label, from, ops }) => ({
    actor,
    label,
    from,
    calls: ops.flatMap((op) => formatOp(op)),
    told: ops.flatMap(toldBy),
  });
}

/** The kinds of the messages that an op sends: write(2) of `{kind}` or `{kind, value}` to the parent's socket. */
function toldBy(op: Op): readonly string[] {
  switch (op.op) {
    case "call": {
      const [fd, message] = op.args;
      if (op.call !== "write" || typeof fd !== "object" || !("fd" in fd) || fd.fd !== "sync") return [];
      if (typeof message !== "object" || !("data" in message) || message.data !== "struct") return [];
      return [/^\{(\w+)/.exec(message.show)?.[1] ?? ""];
    }
    case "if":
      return [...op.then, ...op.otherwise ?? []].flatMap(toldBy);
    case "fork":
      return [...op.parent, ...op.child].flatMap(toldBy);
    case "repeat":
      return op.body.flatMap(toldBy);
    default:
      return [];
  }
}

const roles: Readonly<Record<Actor, string>> = {
  parent: "the runtime, in the host's namespaces",
  stage: "a process that joins or creates the container's namespaces, and forks",
  init: "the stage's child, which becomes the container's process",
  monitor: "replaces the parent in the foreground, until the process has ended",
};

/** The whole plan as text. Ends with a newline. */
export function explainWhole(plan: WholePlan): string {
  const steps = explainSteps(plan);
  const present = (Object.keys(roles) as Actor[]).filter((actor) => steps.some((step) => step.actor === actor));
  const lines = present.map((actor) => `${actor}: ${roles[actor]}`);
  let last: Actor | undefined;
  for (const { number, actor, label, from, calls } of steps) {
    if (actor !== last) lines.push("", `${actor}:`);
    last = actor;
    lines.push(`${String(number).padStart(3)}. ${label}${from === "" ? "" : `  (${from})`}`);
    lines.push(...calls.map((call) => `       ${call}`));
  }
  return lines.join("\n") + "\n";
}
