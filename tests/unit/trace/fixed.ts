/** A recorder whose clock and random numbers are the same each time. */

import { Recorder, type RecorderOptions } from "../../../lib/trace/recorder.ts";

/** A clock that is moved by hand, in ms. */
export class Clock {
  nowMs = 1000;
}

/** Ids that count up. */
export function recorder(clock: Clock, options: Partial<RecorderOptions> = {}): Recorder {
  let count = 0;
  const world = {
    now: () => clock.nowMs,
    unixNs: () => 1_700_000_000_000_000_000n,
    randomBytes: (length: number) => {
      count++;
      return Uint8Array.from({ length }, (_, index) => index === length - 1 ? count : 0);
    },
  };
  return new Recorder(world, { name: "runc create", pid: 100, ...options });
}
