/**
 * Standard input of a sandbox's process, as a web stream.
 *
 * @module
 */

import { type Ending, endTimeout, sawEnd, watchEnd } from "../../ffi/ending.ts";
import { Errno } from "../../ffi/errno.ts";
import type { Fd } from "../../ffi/fd.ts";
import { pipe, setNonblocking } from "../../ffi/files.ts";
import { type Kernel, syscallError } from "../../ffi/kernel.ts";
import { POLLOUT } from "../../ffi/poll.ts";
import { type Hold, pollAsync } from "../../ffi/poller.ts";
import { allowReopening } from "./output_pipe.ts";

/** The writing end of a pipe, and its stream. A write fails with EPIPE when the process has ended or closed its end. */
export class InputPipe implements Disposable {
  readonly #kernel: Kernel;
  readonly #read: Fd;
  readonly #write: Fd;
  #process?: Ending;
  #hold?: Hold;
  /** The write that waits for the pipe. */
  #writing?: Promise<void>;
  #hasEnded = false;
  readonly writable: WritableStream<Uint8Array>;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
    const { read, write } = pipe(kernel, "stdin");
    this.#read = read;
    this.#write = write;
    setNonblocking(kernel, write.number, true);
    allowReopening(kernel, read);
    this.writable = new WritableStream({
      write: (chunk) => this.#writing = this.#writeAll(chunk),
      close: () => this.#write.close(),
      abort: () => this.#write.close(),
    });
  }

  /** The process's end. */
  get theirs(): number {
    return this.#read.number;
  }

  /** `process` has its end now. `hold`: whether waits for it keep the program running. */
  attach(process: Ending, hold: Hold): void {
    this.#process = process;
    this.#hold = hold;
    this.#read.close();
  }

  async #writeAll(chunk: Uint8Array): Promise<void> {
    const process = this.#process!;
    for (let rest = new Uint8Array(chunk); rest.length > 0;) {
      if (this.#hasEnded) throw syscallError("write(stdin)", Errno.EPIPE);
      const length = this.#kernel.retry("write", this.#write.number, rest, rest.length);
      if (length >= 0) rest = rest.subarray(length);
      else if (length !== -Errno.EAGAIN) throw syscallError("write(stdin)", -length);
      else await this.#room(process);
    }
  }

  async #room(process: Ending): Promise<void> {
    const watches = [watchEnd(process), { fd: this.#write.number, events: POLLOUT }];
    const [end] = await pollAsync(this.#kernel, watches, endTimeout(process, -1), this.#hold);
    if (sawEnd(process, end)) this.#hasEnded = true;
  }

  /** The process has ended: closes the pipe. */
  async finish(): Promise<void> {
    this.#hasEnded = true;
    await this.#writing?.catch(() => {});
    this.#write.close();
  }

  [Symbol.dispose](): void {
    this.#read.close();
    this.#write.close();
  }
}
