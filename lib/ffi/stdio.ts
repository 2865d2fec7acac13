/**
 * Standard input, output and error by their descriptors.
 *
 * Not `Deno.stdout`: that is a copy of the descriptor, made when Deno started, and a program that was frozen (see freeze.ts) has
 * no descriptor from before.
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
 * Makes each of the three that our caller has closed /dev/null, lest a file that is opened later gets its number. Deno does so when it starts.
 */
export function openStandardStreams(kernel: Kernel): void {
  const { O_RDWR } = openFlag(kernel.arch);
  for (const fd of [0, 1, 2]) {
    // The lowest number that is free: those below are open by now.
    if (!isOpen(kernel, fd)) kernel.must('open("/dev/null")', "open", cString("/dev/null"), O_RDWR);
  }
}

/** One of the three. */
export class StandardStream {
  readonly #kernel: Kernel;
  readonly #fd: number;

  /** `fd`: 0, 1 or 2, or what is taken for it. */
  constructor(kernel: Kernel, fd: number) {
    this.#kernel = kernel;
    this.#fd = fd;
  }

  /** Whether a person is at the other end. */
  isTerminal(): boolean {
    return isTerminal(this.#kernel, this.#fd);
  }

  /** The terminal's size. @throws {RuncError} ENOTTY where it is none. */
  windowSize(): WindowSize {
    return getWindowSize(this.#kernel, this.#fd);
  }

  /** Writes all of `text`. @throws {RuncError} with `errnoName` EPIPE where nobody reads any more. */
  write(text: string): void {
    // Three bytes of UTF-8 at most for each UTF-16 unit.
    const buffer = alloc(text.length * 3);
    let rest = buffer.subarray(0, new TextEncoder().encodeInto(text, buffer).written);
    while (rest.length > 0) {
      const result = this.#kernel.retry("write", this.#fd, rest, rest.length);
      if (result >= 0) rest = rest.subarray(result);
      // Somebody made the descriptor non-blocking, and its pipe is full.
      else if (result === -Errno.EAGAIN) poll(this.#kernel, [{ fd: this.#fd, events: POLLOUT }]);
      else throw syscallError(`write(${this.#fd})`, -result);
    }
  }

  /** As {@link write}, but a failure is none. */
  tryWrite(text: string): void {
    try {
      this.write(text);
    } catch (error) {
      if (!(error instanceof RuncError)) throw error;
    }
  }

  /** Reads everything up to its end, as UTF-8. @throws {RuncError} */
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
