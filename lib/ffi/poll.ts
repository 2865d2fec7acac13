/**
 * poll(2): waits for several descriptors at once.
 *
 * @module
 */

import { Errno } from "./errno.ts";
import { alloc, type Kernel, syscallError } from "./kernel.ts";

export const POLLIN = 1, POLLOUT = 4, POLLERR = 8, POLLHUP = 16;

/** One descriptor to watch. `events`: POLL* bits. */
export interface Watch {
  readonly fd: number;
  readonly events: number;
}

/** `struct pollfd` for each watch. */
export function encodeWatches(watches: readonly Watch[]): Uint8Array<ArrayBuffer> {
  // int fd, short events, short revents.
  const table = alloc(8 * watches.length);
  const view = new DataView(table.buffer);
  watches.forEach((watch, index) => {
    view.setInt32(8 * index, watch.fd, true);
    view.setInt16(8 * index + 4, watch.events, true);
  });
  return table;
}

/** The ready POLL* bits of each watch. */
export function decodeWatches(table: Uint8Array<ArrayBuffer>): number[] {
  const view = new DataView(table.buffer);
  return Array.from({ length: table.length / 8 }, (_, index) => view.getInt16(8 * index + 6, true));
}

/**
 * Waits until one of `watches` is ready, a signal handler ran, or `timeoutMs` (negative: no limit) has passed.
 *
 * Returns the ready POLL* bits of each watch, in order; all 0 after a timeout or a signal. @see poll(2)
 */
export function poll(kernel: Kernel, watches: readonly Watch[], timeoutMs = -1): number[] {
  const table = encodeWatches(watches);
  const ready = kernel.call("poll", table, watches.length, Math.ceil(timeoutMs));
  if (ready < 0 && ready !== -Errno.EINTR) throw syscallError("poll", -ready);
  return ready <= 0 ? watches.map(() => 0) : decodeWatches(table);
}

/** Ends a wait: a descriptor that becomes readable, and a check that then decides whether the wait is over. */
export interface Interrupts {
  /** Becomes readable when {@link check} must be called. */
  readonly fd: number;
  /** Returns if the wait continues. @throws the error that ends the operation. */
  check(): void;
}

/**
 * Waits until one of `fds` is readable or at its end, or `timeoutMs` (negative: no limit) has passed. Returns whether
 * each is ready, in order. A ready descriptor has precedence over an interrupt. @throws what `interrupts` throws.
 */
export function awaitReadable(
  kernel: Kernel,
  fds: readonly number[],
  { interrupts, timeoutMs = -1 }: { interrupts?: Interrupts; timeoutMs?: number } = {},
): readonly boolean[] {
  const table = encodeWatches(
    [...fds, ...(interrupts === undefined ? [] : [interrupts.fd])].map((fd) => ({ fd, events: POLLIN })),
  );
  for (;;) {
    const ready = kernel.call("poll", table, table.length / 8, Math.ceil(timeoutMs));
    // A signal: its handler has written to the interrupts' pipe.
    if (ready === -Errno.EINTR) continue;
    if (ready < 0) throw syscallError("poll", -ready);
    const each = ready === 0
      ? fds.map(() => false)
      : decodeWatches(table).slice(0, fds.length).map((bits) => bits !== 0);
    if (ready === 0 || each.includes(true)) return each;
    interrupts?.check();
  }
}
