/**
 * Gives targets their inputs, on a thread that can be ended.
 *
 * @module
 */

import { fuzz, type Range, type Tally } from "./pure.ts";
import { targetNamed } from "./targets/targets.ts";

/** What the thread is asked for. */
export interface Job extends Range {
  readonly target: string;
  /** performance.timeOrigin-based time after which no further input begins. */
  readonly deadlineMs: number;
  /** The number of the input that is at work goes here. */
  readonly progress: Int32Array<SharedArrayBuffer>;
}

const nowMs = () => performance.timeOrigin + performance.now();

/** A worker's global scope, which the library of a window does not have. */
const scope = self as unknown as { onmessage: (event: MessageEvent<Job>) => void; postMessage(tally: Tally): void };

scope.onmessage = async ({ data: job }) => {
  const target = targetNamed(job.target)!;
  const tally = await fuzz(target, job, (index) => {
    Atomics.store(job.progress, 0, index);
    return nowMs() < job.deadlineMs;
  });
  scope.postMessage(tally);
};
