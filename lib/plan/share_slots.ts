/**
 * Shares slots in plans that have more names than the format has slots. Most names are used within one step only, so
 * different steps can use the same slot. Everything that people read still shows the names.
 *
 * @module
 */

import { isLabel, type Label, type Lowered } from "./lower.ts";
import type { Op, Operand, Plan, Slot } from "./op.ts";

function isSlot(value: unknown): value is Slot {
  return typeof value === "object" && value !== null && "slot" in value;
}

/** Finds the names that a step reads without having written them itself. */
class Reader {
  readonly carried = new Set<string>();

  /** Goes through ops in order. `known`: the names that the step has certainly written so far; this call adds to it. */
  read(ops: readonly Op[], known: Set<string>): void {
    for (const op of ops) this.#op(op, known);
  }

  #value(value: unknown, known: Set<string>): void {
    if (isSlot(value) && !known.has(value.slot)) this.carried.add(value.slot);
  }

  /** Goes through ops that may not run: what they write is not certain afterwards. */
  #branch(ops: readonly Op[], known: ReadonlySet<string>): Set<string> {
    const inside = new Set(known);
    this.read(ops, inside);
    return inside;
  }

  #op(op: Op, known: Set<string>): void {
    switch (op.op) {
      case "call":
        for (const arg of op.args) this.#value(arg, known);
        if (op.out !== undefined) known.add(op.out.slot);
        for (const { ops } of op.onError ?? []) this.#branch(ops, known);
        return;
      case "if": {
        this.#value(op.left, known);
        this.#value(op.right, known);
        const [one, other] = [this.#branch(op.then, known), this.#branch(op.otherwise ?? [], known)];
        for (const name of one) if (other.has(name)) known.add(name);
        return;
      }
      case "repeat":
        this.read(op.body, known);
        this.#value(op.until.left, known);
        this.#value(op.until.right, known);
        return;
      case "fork":
        this.#value(op.intoCgroup, known);
        known.add(op.out.slot);
        this.#branch(op.child, known);
        this.#branch(op.parent, known);
        return;
      default:
        for (const [field, value] of Object.entries(op)) if (field !== "out") this.#value(value, known);
        if ("out" in op) known.add(op.out.slot);
    }
  }
}

/** The names that carry a value from one step to another. */
export function carriedSlots({ stage, init }: Plan): ReadonlySet<string> {
  const reader = new Reader();
  for (const { ops } of [...stage, ...init]) reader.read(ops, new Set());
  return reader.carried;
}

/** The number of different slot names in a list. */
export function countSlots(instructions: Lowered["instructions"]): number {
  const names = new Set<string>();
  for (let index = 0; index < instructions.length; index++) {
    const { args, out } = instructions[index]!;
    if (out !== undefined) names.add(out.slot);
    for (let place = 0; place < args.length; place++) {
      const arg = args[place]!;
      if (typeof arg === "object" && "slot" in arg) names.add(arg.slot);
    }
  }
  return names.size;
}

/**
 * Replaces the names that stay within a step by numbers, starting at 0 in each step. `plan` is the plan that `lowered`
 * was made from.
 */
export function shareSlots(plan: Plan, { instructions, initEntry }: Lowered): Lowered {
  const carried = carriedSlots(plan);
  let step = instructions[0]?.step;
  let names = new Map<string, Slot>();
  const shared = (one: Slot): Slot => {
    if (carried.has(one.slot)) return one;
    let known = names.get(one.slot);
    if (known === undefined) names.set(one.slot, known = { slot: `shared ${names.size}` });
    return known;
  };
  const argument = (arg: Operand | Label) => isLabel(arg) || !isSlot(arg) ? arg : shared(arg);
  return {
    initEntry,
    instructions: instructions.map((instruction) => {
      if (instruction.step !== step) {
        step = instruction.step;
        names = new Map();
      }
      return { ...instruction, args: instruction.args.map(argument), out: instruction.out && shared(instruction.out) };
    }),
  };
}
