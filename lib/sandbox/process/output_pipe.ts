/**
 * Standard output or standard error of a sandbox's process, as a web stream.
 *
 * The process gets a pipe, never a descriptor of the host's: what it does with that reaches nobody else. The stream ends
 * when all have closed the pipe, or when the process has ended: what other processes write afterwards is lost.
 *
 * @module
 */

import { Ioctl } from "../../ffi/constants.ts";
import { type Ending, endTimeout, sawEnd, watchEnd } from "../../ffi/ending.ts";
import { Errno } from "../../ffi/errno.ts";
import type { Fd } from "../../ffi/fd.ts";
import { pipe, setNonblocking } from "../../ffi/files.ts";
import { alloc, type Kernel, syscallError } from "../../ffi/kernel.ts";
import { POLLIN } from "../../ffi/poll.ts";
import { type Hold, pollAsync } from "../../ffi/poller.ts";
import { collect, type Collected } from "./collect.ts";

/** The default capacity of a pipe. pipe(7) */
const CHUNK_SIZE = 64 * 1024;
/** F_SETPIPE_SZ lets a process of the sandbox enlarge the pipe; this is the default limit of that. pipe(7) */
const LARGEST_PIPE = 1024 * 1024;

const NOTHING = new Uint8Array();

/** The reading end of a pipe, and its stream. */
export class OutputPipe implements Disposable {
  readonly #kernel: Kernel;
  readonly #read: Fd;
  readonly #write: Fd;
  #process?: Ending;
  #hold?: Hold;
  #controller!: ReadableByteStreamController;
  #readable?: ReadableStream<Uint8Array<ArrayBuffer>>;
  /** The pull that waits for the pipe. */
  #pull?: Promise<void>;
  /** What was in the pipe when the process had ended. */
  #rest?: Uint8Array<ArrayBuffer>;
  #isCancelled = false;
  #isCollected = false;

  constructor(kernel: Kernel, label: string) {
    this.#kernel = kernel;
    const { read, write } = pipe(kernel, label);
    this.#read = read;
    this.#write = write;
    setNonblocking(kernel, read.number, true);
    allowReopening(kernel, write);
  }

  /** What it writes, as a stream: one for all callers. */
  get readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return this.#readable ??= this.#isCollected ? readElsewhere() : new ReadableStream({
      type: "bytes",
      start: (controller) => void (this.#controller = controller),
      pull: () => this.#pull = this.#pullOnce(),
      cancel: () => this.#cancel(),
    }, { highWaterMark: 0 });
  }

  /** Reads it to its end, as {@link collect}. Without a stream, if nobody has asked for it. */
  async collect(limit: number): Promise<Collected> {
    if (this.#readable !== undefined) return await collect(this.#readable, limit);
    this.#isCollected = true;
    return await collect(this.#pieces(), limit);
  }

  async *#pieces(): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    for (;;) {
      const next = this.#next();
      // The end of the process waits for what reads the pipe.
      this.#pull = next.then(() => {});
      const bytes = await next;
      if (bytes.length === 0) return this.#read.close();
      yield bytes;
    }
  }

  /** The process's end. */
  get theirs(): number {
    return this.#write.number;
  }

  /** `process` has its end now. `hold`: whether waits for it keep the program running. */
  attach(process: Ending, hold: Hold): void {
    this.#process = process;
    this.#hold = hold;
    this.#write.close();
  }

  async #pullOnce(): Promise<void> {
    const bytes = await this.#next();
    if (this.#isCancelled) return this.#read.close();
    this.#pass(bytes);
  }

  /** What it has written next; empty at the end, or after a cancellation. */
  async #next(): Promise<Uint8Array<ArrayBuffer>> {
    const process = this.#process!;
    for (let hasEnded = false; !hasEnded && this.#rest === undefined;) {
      const watches = [watchEnd(process), { fd: this.#read.number, events: POLLIN }];
      const [end, ready] = await pollAsync(this.#kernel, watches, endTimeout(process, -1), this.#hold);
      if (this.#isCancelled) return NOTHING;
      if (this.#rest !== undefined) break;
      if (ready !== 0) return readPipe(this.#kernel, this.#read, CHUNK_SIZE);
      hasEnded = sawEnd(process, end);
    }
    this.#drain();
    const rest = this.#rest!;
    this.#rest = new Uint8Array();
    return rest;
  }

  #pass(bytes: Uint8Array<ArrayBuffer>): void {
    if (bytes.length > 0) return this.#controller.enqueue(bytes);
    this.#controller.close();
    // A request that brings its own buffer is answered separately.
    this.#controller.byobRequest?.respond(0);
    this.#read.close();
  }

  #cancel(): void {
    this.#isCancelled = true;
    // A pull that waits closes it: until then, poll(2) uses it.
    if (this.#pull === undefined) this.#read.close();
    else this.#pull = this.#pull.finally(() => this.#read.close());
  }

  /** Takes what is in the pipe, and nothing that is written later. */
  #drain(): void {
    if (this.#rest !== undefined) return;
    this.#rest = new Uint8Array();
    if (this.#isCancelled) return;
    const count = alloc(4);
    // The end has been read already.
    if (!isUsable(this.#read)) return;
    this.#kernel.must(`ioctl(${this.#read.label}, FIONREAD)`, "ioctl", this.#read.number, Ioctl.FIONREAD, count);
    const size = Math.min(new DataView(count.buffer).getInt32(0, true), LARGEST_PIPE);
    if (size > 0) this.#rest = readPipe(this.#kernel, this.#read, size);
    this.#read.close();
  }

  /** The process has ended. Keeps what the pipe has for readers, and closes it. */
  async finish(): Promise<void> {
    await this.#pull?.catch(() => {});
    this.#drain();
  }

  [Symbol.dispose](): void {
    this.#read.close();
    this.#write.close();
  }
}

/** A stream that has a reader already. */
function readElsewhere(): ReadableStream<Uint8Array<ArrayBuffer>> {
  const stream = new ReadableStream<Uint8Array<ArrayBuffer>>();
  stream.getReader();
  return stream;
}

function isUsable(fd: Fd): boolean {
  try {
    return fd.number >= 0;
  } catch (error) {
    if (error instanceof TypeError) return false;
    throw error;
  }
}

/** What is read next comes here first: new memory for each read costs more than the copy. */
const chunk = alloc(CHUNK_SIZE);

/** Reads at most `size` bytes; empty at the end. */
function readPipe(kernel: Kernel, fd: Fd, size: number): Uint8Array<ArrayBuffer> {
  const bytes = size <= CHUNK_SIZE ? chunk : alloc(size);
  const length = kernel.retry("read", fd.number, bytes, size);
  if (length < 0 && length !== -Errno.EAGAIN) throw syscallError(`read(${fd.label})`, -length);
  return bytes.slice(0, Math.max(length, 0));
}

/** Lets any user of the sandbox open it again, as /dev/stdout: only processes that may trace the holder reach it. */
export function allowReopening(kernel: Kernel, end: Fd): void {
  kernel.must(`fchmod(${end.label}, 0666)`, "fchmod", end.number, 0o666);
}
