/**
 * Waiting for a child to end, with a time limit. Runs in: parent.
 *
 * @module
 */

import type { Child } from "../../ffi/process/child.ts";
import { monotonicMs } from "../../ffi/clock.ts";
import { endTimeout } from "../../ffi/ending.ts";
import { awaitReadable } from "../../ffi/poll.ts";
import type { Runtime } from "../runtime.ts";

/** Returns whether `child` has ended within `limitMs`; it is not reaped. @throws what the runtime's interrupts throw. */
export function awaitEnd({ kernel, interrupts }: Runtime, child: Child, limitMs?: number): boolean {
  const deadline = limitMs === undefined ? undefined : monotonicMs(kernel) + limitMs;
  const { pidfd } = child;
  while (!child.hasEnded) {
    const left = deadline === undefined ? -1 : deadline - monotonicMs(kernel);
    if (deadline !== undefined && left <= 0) return false;
    const fds = pidfd === undefined ? [] : [pidfd.number];
    awaitReadable(kernel, fds, { interrupts, timeoutMs: endTimeout(child, left) });
  }
  return true;
}
