/**
 * An operation as a list of acts: what is done, in order, and how each is taken back if a later one fails.
 *
 * @module
 */

import type { Log } from "../runtime.ts";
import type { Waits } from "../../ffi/waits.ts";

/** Work that may wait. */
export type Work = () => Waits<void> | void;

/** One thing that is done. */
export interface Act {
  /** What is done, in words. */
  readonly label: string;
  /** Absent: there is only something to take back, at this place of the order. */
  readonly does?: Work;
  /** Takes it back. It may find that only a part was done, or nothing. */
  readonly undo?: Work;
}

/**
 * Does the acts in order. If one fails, takes that one and those before it back, last first. A failure of an undo is
 * logged and does not stop the others.
 *
 * @throws what the act has thrown.
 */
export function* perform(acts: readonly Act[], log: Log): Waits<void> {
  const done: Act[] = [];
  try {
    for (const act of acts) {
      done.push(act);
      log("debug", act.label);
      yield* work(act.does);
    }
  } catch (error) {
    for (const act of done.toReversed()) yield* takeBack(act, log);
    throw error;
  }
}

function* takeBack({ label, undo }: Act, log: Log): Waits<void> {
  try {
    yield* work(undo);
  } catch (error) {
    log("warning", `while cleaning up after "${label}": ${(error as Error).message}`);
  }
}

/** Does work that may wait. */
export function* work(action: Work | undefined): Waits<void> {
  const waits = action?.();
  if (waits !== undefined) yield* waits;
}
