/**
 * Bytes on their way from one channel to another, a bounded number at a time. Runs in: parent.
 *
 * @module
 */

import type { Channel } from "../ffi/channel.ts";
import { Errno } from "../ffi/errno.ts";
import { alloc } from "../ffi/kernel.ts";
import { POLLIN, POLLOUT, type Watch } from "../ffi/poll.ts";

/** As much as a pipe holds by default (pipe(7)); more than this never waits for a slow reader. */
const BUFFER_SIZE = 64 * 1024;

/** Where from, where to, and what happens at either end's end. */
export interface ByteStreamOptions {
  readonly source: Channel;
  readonly sink: Channel;
  /**
   * What is closed when the source is at its end or the sink refuses bytes, so that the process behind it learns of it:
   * the pipe that was its stdin ends, or its next write to stdout raises SIGPIPE.
   */
  readonly closes: "source" | "sink" | "nothing";
  /**
   * What is still to come after the process has ended. `until EOF`: whoever holds the other end of the pipe may write
   * on, for ever. `until empty`: what it has written. `nothing`: bytes for the process, which nobody reads any more.
   */
  readonly afterExit: "until EOF" | "until empty" | "nothing";
}

/** One direction of a process's stdio. It neither loses bytes nor waits: a blocked sink stops the reading. */
export class ByteStream {
  readonly #options: ByteStreamOptions;
  readonly #buffer = alloc(BUFFER_SIZE);
  #start = 0;
  #end = 0;
  #hasEnded = false;
  #isLast = false;

  constructor(options: ByteStreamOptions) {
    this.#options = options;
  }

  /** Whether no byte will pass any more. */
  get hasEnded(): boolean {
    const { source, sink } = this.#options;
    // The terminal's master belongs to two streams, and the other one may have closed it.
    return this.#hasEnded || !source.isOpen || !sink.isOpen;
  }

  /** Whether {@link advance} has something to do without anything happening before. */
  get isDue(): boolean {
    return this.#isLast && !this.hasEnded && !this.#isBlocked;
  }

  /** Whether bytes wait for the sink. */
  get #isBlocked(): boolean {
    return this.#start < this.#end;
  }

  /** What to poll for before the next {@link advance}. Undefined at the end. */
  get watch(): Watch | undefined {
    const { source, sink } = this.#options;
    if (this.hasEnded) return undefined;
    return this.#isBlocked ? sink.watch(POLLOUT) : source.watch(POLLIN);
  }

  /** Reads or writes what is possible now. */
  advance(): void {
    if (this.hasEnded) return;
    if (!this.#isBlocked) this.#fill();
    if (this.#isBlocked) this.#flush();
  }

  #fill(): void {
    const count = this.#options.source.read(this.#buffer);
    if (count > 0) {
      this.#start = 0;
      this.#end = count;
    } else if (count !== -Errno.EAGAIN || this.#isLast) {
      // 0 is the end. An error is too, as it is to whoever reads a file: nothing more will come from there.
      this.#finish();
    }
  }

  #flush(): void {
    while (this.#isBlocked) {
      const count = this.#options.sink.write(this.#buffer.subarray(this.#start, this.#end));
      if (count === -Errno.EAGAIN || count === 0) return;
      // EPIPE: nobody reads it any more.
      if (count < 0) return this.#finish();
      this.#start += count;
    }
  }

  #finish(): void {
    const { source, sink, closes } = this.#options;
    this.#hasEnded = true;
    this.#start = this.#end;
    if (closes === "source") source.close();
    if (closes === "sink") sink.close();
  }

  /** The process has ended. */
  processExited(): void {
    if (this.#options.afterExit === "nothing") this.#finish();
    if (this.#options.afterExit === "until empty") this.#isLast = true;
  }
}
