/**
 * Waiting for a child to end, with a time limit. Runs in: parent.
 *
 * @module
 */

import { monotonicMs } from "../../ffi/clock.ts";
import { endTimeout } from "../../ffi/ending.ts";
import type { Kernel } from "../../ffi/kernel.ts";
import type { Child } from "../../ffi/process/child.ts";
import { readable, type ReadableWait, type Waits } from "../../ffi/waits.ts";

/** Returns whether `child` has ended within `limitMs`; it is not reaped. @throws what the runtime's interrupts throw. */
export function* awaitEnd(
  { kernel }: { readonly kernel: Kernel },
  child: Child,
  limitMs?: number,
  how: Pick<ReadableWait, "isDeaf"> = {},
): Waits<boolean> {
  const deadline = limitMs === undefined ? undefined : monotonicMs(kernel) + limitMs;
  const { pidfd } = child;
  while (!child.hasEnded) {
    const left = deadline === undefined ? -1 : deadline - monotonicMs(kernel);
    if (deadline !== undefined && left <= 0) return false;
    yield* readable(pidfd === undefined ? [] : [pidfd.number], endTimeout(child, left), how);
  }
  return true;
}
