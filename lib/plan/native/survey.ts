/**
 * What the encoder must know of a list before it writes the first instruction.
 *
 * @module
 */

import type { Instruction } from "../lower.ts";
import type { Data } from "../op.ts";
import { HEAD_SIZE, HEADER_SIZE } from "./format.ts";

/** What one pass over the instructions finds. */
export interface Survey {
  /** Byte offset of each instruction, and of the table's end. */
  readonly offsets: readonly number[];
  /** The operands that are addresses, in order. */
  readonly data: readonly Data[];
  /** The number of different slot names. */
  readonly slotCount: number;
}

/** Looks at all instructions once: where V8 only interprets, each pass over them takes as long as some system calls. */
export function survey(instructions: readonly Instruction[]): Survey {
  const offsets: number[] = [];
  const data: Data[] = [];
  const slots = new Set<string>();
  let at = HEADER_SIZE;
  for (let index = 0; index < instructions.length; index++) {
    const { args, handlers, out } = instructions[index]!;
    // Zeros at the end are not written.
    let count = 0;
    for (let place = 0; place < args.length; place++) {
      const arg = args[place]!;
      if (arg === 0) continue;
      count = place + 1;
      if (typeof arg === "number") continue;
      if ("data" in arg) data.push(arg);
      else if ("slot" in arg) slots.add(arg.slot);
    }
    if (out !== undefined) slots.add(out.slot);
    offsets.push(at);
    at += HEAD_SIZE + 4 * (count + handlers.length);
  }
  offsets.push(at);
  return { offsets, data, slotCount: slots.size };
}
