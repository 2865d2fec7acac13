/**
 * Standard input, output and error by their descriptors.
 *
 * `Deno.stdout` does not work here: it is a copy of the descriptor from Deno's start, and a resumed snapshot
 * (freeze.ts) has none of the descriptors from that time.
 *
 * @module
 */

import { RuncError } from "../errors.ts";
import { Errno } from "./errno.ts";
import { openFlag } from "./constants.ts";
import { isOpen } from "./files.ts";
import { alloc, cString, type Kernel, syscallError } from "./kernel.ts";
import { poll, POLLOUT } from "./poll.ts";
import { getWindowSize, isTerminal, type WindowSize } from "./terminal.ts";

/**
 * Opens /dev/null on each standard stream that our caller has closed, so that a file opened later does not get its
 * number. Deno does the same when it starts.
 */
export function openStandardStreams(kernel: Kernel): void {
  const { O_RDWR } = openFlag(kernel.arch);
  for (const fd of [0, 1, 2]) {
    // open(2) returns the lowest free number, which is `fd`: those below are open by now.
    if (!isOpen(kernel, fd)) kernel.must('open("/dev/null")', "open", cString("/dev/null"), O_RDWR);
  }
}

/** One standard stream. */
export class StandardStream {
  readonly #kernel: Kernel;
  readonly #fd: number;

  /** `fd`: 0, 1 or 2, or a descriptor used in their place. */
  constructor(kernel: Kernel, fd: number) {
    this.#kernel = kernel;
    this.#fd = fd;
  }

  /** Whether the stream is a terminal. */
  isTerminal(): boolean {
    return isTerminal(this.#kernel, this.#fd);
  }

  /** The terminal's size. @throws {RuncError} ENOTTY if it is not a terminal. */
  windowSize(): WindowSize {
    return getWindowSize(this.#kernel, this.#fd);
  }

  /** Writes all of `text`. @throws {RuncError} with `errnoName` EPIPE if there is no reader. */
  write(text: string): void {
    // At most three bytes of UTF-8 per UTF-16 unit.
    const buffer = alloc(text.length * 3);
    let rest = buffer.subarray(0, new TextEncoder().encodeInto(text, buffer).written);
    while (rest.length > 0) {
      const result = this.#kernel.retry("write", this.#fd, rest, rest.length);
      if (result >= 0) rest = rest.subarray(result);
      // Another process made the descriptor non-blocking, and its pipe is full.
      else if (result === -Errno.EAGAIN) poll(this.#kernel, [{ fd: this.#fd, events: POLLOUT }]);
      else throw syscallError(`write(${this.#fd})`, -result);
    }
  }

  /** Like {@link write}, but ignores failures. */
  tryWrite(text: string): void {
    try {
      this.write(text);
    } catch (error) {
      if (!(error instanceof RuncError)) throw error;
    }
  }

  /** Reads to the end, as UTF-8. @throws {RuncError} */
  readText(): string {
    const decoder = new TextDecoder();
    const buffer = alloc(65536);
    let text = "";
    for (;;) {
      const size = this.#kernel.retry("read", this.#fd, buffer, buffer.length);
      if (size < 0) throw syscallError(`read(${this.#fd})`, -size);
      if (size === 0) return text + decoder.decode();
      text += decoder.decode(buffer.subarray(0, size), { stream: true });
    }
  }
}
