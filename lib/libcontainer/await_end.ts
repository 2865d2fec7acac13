/**
 * Waiting for a child that is to end, as long as one wants. Runs in: parent.
 *
 * @module
 */

import type { Child } from "../ffi/child.ts";
import { monotonicMs } from "../ffi/clock.ts";
import { awaitReadable } from "../ffi/poll.ts";
import type { Runtime } from "./runtime.ts";

/** How often a child without a pidfd is looked at. */
const LOOK_AGAIN_MS = 10;

/** Returns whether `child` has ended within `limitMs`; it is not reaped. @throws what the runtime's interrupts throw. */
export function awaitEnd({ kernel, interrupts }: Runtime, child: Child, limitMs?: number): boolean {
  const deadline = limitMs === undefined ? undefined : monotonicMs(kernel) + limitMs;
  const { pidfd } = child;
  while (!child.hasEnded) {
    const left = deadline === undefined ? Infinity : deadline - monotonicMs(kernel);
    if (left <= 0) return false;
    const most = pidfd === undefined ? LOOK_AGAIN_MS : Infinity;
    const timeoutMs = Math.min(left, most);
    const fds = pidfd === undefined ? [] : [pidfd.number];
    awaitReadable(kernel, fds, { interrupts, timeoutMs: timeoutMs === Infinity ? -1 : timeoutMs });
  }
  return true;
}
