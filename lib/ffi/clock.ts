/**
 * The system's clocks.
 *
 * @see clock_gettime(2)
 * @module
 */

import { Clock } from "./constants.ts";
import { alloc, type Kernel } from "./kernel.ts";

/** `struct timespec` */
interface Time {
  readonly seconds: number;
  /** Less than 10⁹. */
  readonly nanoseconds: number;
}

/** `struct timespec`. The call fills it, and nothing else runs before it is read. */
const time = alloc(16);
const view = new DataView(time.buffer);

function now(kernel: Kernel, clock: number): Time {
  kernel.call("clock_gettime", clock, time);
  return { seconds: Number(view.getBigInt64(0, true)), nanoseconds: Number(view.getBigInt64(8, true)) };
}

/** RFC 3339 as Go prints it, without trailing zeros in the fraction: `2026-01-02T03:04:05.00678Z`. */
export function formatUtc({ seconds, nanoseconds }: Time): string {
  const fraction = String(nanoseconds).padStart(9, "0").replace(/0+$/, "");
  return new Date(seconds * 1000).toISOString().replace(/\.000Z$/, fraction === "" ? "Z" : `.${fraction}Z`);
}

/** Time since 1970, in UTC. JavaScript's clock only has milliseconds. */
export const realTime = (kernel: Kernel): Time => now(kernel, Clock.CLOCK_REALTIME);

/**
 * CLOCK_MONOTONIC in milliseconds, with a fraction. It starts at zero at boot and never goes back. `performance.now()`
 * does not work here: it counts from Deno's start, and in a resumed snapshot (freeze.ts) that was at build time,
 * perhaps before the last boot.
 */
export function monotonicMs(kernel: Kernel): number {
  const { seconds, nanoseconds } = now(kernel, Clock.CLOCK_MONOTONIC);
  return seconds * 1000 + nanoseconds / 1e6;
}

/**
 * Offset of local time from UTC at `date`, in minutes, from TZ or /etc/localtime. `Date` does not work here: it keeps
 * the time zone from Deno's start, which in a resumed snapshot is the build host's. tzset(3), localtime(3)
 */
export function utcOffsetMinutes(kernel: Kernel, date: Date): number {
  const time = alloc(8), parts = alloc(56);
  new DataView(time.buffer).setBigInt64(0, BigInt(Math.floor(date.getTime() / 1000)), true);
  kernel.call("tzset");
  kernel.call("localtime_r", time, parts);
  // `struct tm`: nine ints, then tm_gmtoff, a long in seconds.
  return Number(new DataView(parts.buffer).getBigInt64(40, true)) / 60;
}
