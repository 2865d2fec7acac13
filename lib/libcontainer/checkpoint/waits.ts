/**
 * Work that waits, for callers that block and for callers that must not. It is a generator: it yields what it waits for
 * and is resumed with the answer.
 *
 * @module
 */

import type { Kernel } from "../../ffi/kernel.ts";
import { awaitReadable, type Interrupts } from "../../ffi/poll.ts";

/** Waits until a descriptor is readable or at its end. */
export interface ReadableWait {
  /** Negative ones are ignored. */
  readonly fds: readonly number[];
  /** Negative: without limit. */
  readonly timeoutMs: number;
}

/** Work that waits. The answer is whether each descriptor is ready, in order: none after the timeout. */
export type Waits<Result> = Generator<ReadableWait, Result, readonly boolean[]>;

/** What {@link runWaits} needs. */
export interface Waiter {
  /** libc. */
  readonly kernel: Kernel;
  /** Their errors are thrown at the place of the work where it waits. */
  readonly interrupts?: Interrupts;
}

/** Runs `waits`, and blocks while it waits. @throws what `waits` throws. */
export function runWaits<Result>({ kernel, interrupts }: Waiter, waits: Waits<Result>): Result {
  let step = waits.next();
  while (!step.done) {
    const { fds, timeoutMs } = step.value;
    let ready: readonly boolean[];
    try {
      ready = awaitReadable(kernel, fds, { interrupts, timeoutMs });
    } catch (error) {
      step = waits.throw(error);
      continue;
    }
    step = waits.next(ready);
  }
  return step.value;
}
