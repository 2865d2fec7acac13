/**
 * Gives targets their inputs and judges what they do with them. Pure, but for the clock.
 *
 * @module
 */

import { randomFor } from "./random.ts";
import { type Input, isRefusal, type Target } from "./target.ts";

/** An input that a target does not bear. */
export interface Fault {
  readonly target: string;
  readonly seed: number;
  readonly index: number;
  readonly input: Input;
  /** What happened. */
  readonly what: string;
}

/** What came of the inputs of one target. */
export interface Tally {
  /** Read to the end. */
  readonly taken: number;
  readonly refused: number;
  readonly faults: readonly Fault[];
  /** The longest that one input took, in ms. */
  readonly slowestMs: number;
}

/**
 * The time for an input, in ms. A busy machine takes what takes 1 ms for longer, but not three times in a row for this
 * long; work that grows with the square of an input, or without end, does.
 */
const timeLimit = ({ length }: Input) => 2000 + length / 50;

/** The size of all that is made of an input. What every step repeats makes texts longer than the input. */
const sizeLimit = ({ length }: Input) => 4_000_000 + 500 * length;

/** What an error says, with the first places of its stack. */
function told(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const places = (error.stack ?? "").split("\n").filter((line) => /^\s+at /.test(line)).slice(0, 6);
  return [`${error.name}: ${error.message.slice(0, 300)}`, ...places.map((place) => place.trim())].join("\n    ");
}

/** What is wrong with what a target does with an input; undefined if nothing is. */
export async function judge(
  target: Target,
  input: Input,
): Promise<{ readonly what?: string; readonly isTaken: boolean }> {
  try {
    const size = await target.run(input);
    if (size <= sizeLimit(input)) return { isTaken: true };
    return { what: `${input.length} bytes or characters became ${size}`, isTaken: true };
  } catch (error) {
    return isRefusal(error, target) ? { isTaken: false } : { what: told(error), isTaken: false };
  }
}

/** Whether an input takes too long every time. */
async function isSlow(target: Target, input: Input): Promise<boolean> {
  for (let attempt = 0; attempt < 3; attempt++) {
    const startMs = performance.now();
    await judge(target, input);
    if (performance.now() - startMs < timeLimit(input)) return false;
  }
  return true;
}

/** How inputs are chosen. */
export interface Range {
  readonly seed: number;
  /** The number of the first input. */
  readonly from: number;
  /** The number after the last one. */
  readonly to: number;
}

/** As many faults of one target say what is wrong. */
const ENOUGH = 20;

/**
 * Gives a target the inputs of a range. `onInput` is called before each; if it returns false, there are no more.
 *
 * @throws {Error} if an input cannot be made.
 */
export async function fuzz(
  target: Target,
  range: Range,
  onInput: (index: number) => boolean = () => true,
): Promise<Tally> {
  const { seed, from, to } = range;
  const faults: Fault[] = [];
  let [taken, refused, slowestMs] = [0, 0, 0];
  for (let index = from; index < to && faults.length < ENOUGH && onInput(index); index++) {
    const input = target.make(randomFor(seed, target.name, index));
    const startMs = performance.now();
    const { what, isTaken } = await judge(target, input);
    const ms = performance.now() - startMs;
    slowestMs = Math.max(slowestMs, ms);
    if (isTaken) taken++;
    else refused++;
    const fault = { target: target.name, seed, index, input };
    if (what !== undefined) faults.push({ ...fault, what });
    else if (ms > timeLimit(input) && await isSlow(target, input)) {
      faults.push({ ...fault, what: `takes ${Math.round(ms)} ms for ${input.length} bytes or characters` });
    }
  }
  return { taken, refused, faults, slowestMs };
}

/** The kinds of faults: inputs whose errors come from the same place have the same. */
export const kindOf = ({ target, what }: Fault): string =>
  `${target}: ${what.replaceAll(/(?<=^[^\n]*)("[^"\n]*"|\d+)/g, "…").split("\n").slice(0, 3).join("\n").slice(0, 400)}`;
