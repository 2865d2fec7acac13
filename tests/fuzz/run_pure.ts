/**
 * Fuzzes one target on a thread, and watches that it goes on.
 *
 * @module
 */

import type { Fault, Range, Tally } from "./pure.ts";
import { randomFor } from "./random.ts";
import { targetNamed } from "./targets/targets.ts";
import type { Job } from "./worker.ts";

/** No input takes that long, on any machine. */
const HANG_MS = 60_000;
/** How often it is looked at. */
const LOOK_MS = 500;
/** What this process may use: the programs themselves need a tenth. */
const MEMORY_LIMIT = 3 * 1024 ** 3;

/** How far a target may go. */
export interface PureRun extends Range {
  readonly target: string;
  /** No input begins after this time. */
  readonly limitMs: number;
}

/** What is wrong with the input that is at work; undefined if nothing is yet. */
function stuck(sinceMs: number): string | undefined {
  if (performance.now() - sinceMs > HANG_MS) return `takes more than ${HANG_MS / 1000} s`;
  const { rss } = Deno.memoryUsage();
  return rss > MEMORY_LIMIT ? `takes ${Math.round(rss / 1024 ** 2)} MiB of memory` : undefined;
}

/** Runs a target. An input that does not end is a fault, and the target ends there. */
export async function runPure({ target, seed, from, to, limitMs }: PureRun): Promise<Tally> {
  const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  const progress = new Int32Array(new SharedArrayBuffer(4));
  Atomics.store(progress, 0, -1);
  try {
    const done = new Promise<Tally>((resolve, reject) => {
      worker.onmessage = ({ data }: MessageEvent<Tally>) => resolve(data);
      worker.onerror = (event) => {
        event.preventDefault();
        reject(new Error(`input ${Atomics.load(progress, 0)} of ${target}, seed ${seed}: ${event.message}`));
      };
    });
    const deadlineMs = performance.timeOrigin + performance.now() + limitMs;
    worker.postMessage({ target, seed, from, to, deadlineMs, progress } satisfies Job);
    return await Promise.race([done, watched(progress, { target, seed, from }, done)]);
  } finally {
    worker.terminate();
  }
}

/** Resolves only if an input does not end. */
async function watched(
  progress: Int32Array,
  { target, seed, from }: { target: string; seed: number; from: number },
  done: Promise<unknown>,
): Promise<Tally> {
  let isOver = false;
  const over = () => void (isOver = true);
  done.then(over, over);
  let [last, sinceMs] = [-1, performance.now()];
  while (!isOver) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    const index = Atomics.load(progress, 0);
    if (index !== last) [last, sinceMs] = [index, performance.now()];
    const what = index < 0 ? undefined : stuck(sinceMs);
    if (what === undefined) continue;
    const input = targetNamed(target)!.make(randomFor(seed, target, index));
    const fault: Fault = { target, seed, index, input, what };
    return { taken: index - from, refused: 0, faults: [fault], slowestMs: HANG_MS };
  }
  return new Promise(() => {});
}
