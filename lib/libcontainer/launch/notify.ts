/**
 * The sd_notify proxy: tells the service manager that started the runtime when the container is ready. Runs in: parent.
 *
 *     container ──READY=1──▶ <state directory>/notify/notify.sock
 *     proxy     ──READY=1, MAINPID=<pid>, BARRIER=1 with a pipe's write end──▶ the manager's $NOTIFY_SOCKET
 *     manager   ──closes the pipe: everything before is done──▶ proxy
 *
 * The container does not get the manager's own socket, so READY is the only thing that it can send.
 *
 * @see sd_notify(3), sd_notify_barrier(3)
 * @module
 */

import { monotonicMs } from "../../ffi/clock.ts";
import { RuncError } from "../../errors.ts";
import { errnoText } from "../../ffi/errno.ts";
import { type Ending, endTimeout, sawEnd, watchEnd } from "../../ffi/ending.ts";
import type { Fd } from "../../ffi/fd.ts";
import { pipe } from "../../ffi/files.ts";
import { alloc, cString, type Kernel, syscallError } from "../../ffi/kernel.ts";
import { poll, POLLIN, type Watch } from "../../ffi/poll.ts";
import { bindDatagram, connectUnix, receive, send, sendFd } from "../../ffi/sockets.ts";
import { inSpan, type Tracer } from "../../trace/tracer.ts";
import { BARRIER_TIMEOUT_MS, DATAGRAM_LIMIT } from "../plans/monitor/notify.ts";
import type { Log } from "../runtime.ts";

/** Messages read at once: a container that keeps sending must not block the rest. */
const BATCH = 64;

/** The two ends of a proxy. */
export interface NotifyProxyOptions {
  /** `<state directory>/notify`: an existing directory, bound into the container. */
  readonly directory: string;
  /** The manager's socket: an absolute path, or `@` and an abstract name. */
  readonly hostSocket: string;
  readonly log: Log;
  /** Records how long the container takes to get ready. */
  readonly tracer?: Tracer;
}

/**
 * Receives the container's messages. Passes on its first READY; reads and drops the rest, so that the container does
 * not block.
 */
export class NotifyProxy implements Disposable {
  readonly #kernel: Kernel;
  readonly #options: NotifyProxyOptions;
  /** The socket that the container sends to. */
  readonly socket: Fd;
  #manager: Fd | undefined;
  #isReady = false;
  /** The pipe that the manager closes, and the deadline for it (monotonicMs). */
  #barrier: { readonly pipe: Fd; readonly deadline: number } | undefined;

  /** Binds `<directory>/notify.sock`, writable for every user. @throws {RuncError} EADDRINUSE if it exists. */
  constructor(kernel: Kernel, options: NotifyProxyOptions) {
    this.#kernel = kernel;
    this.#options = options;
    const path = `${options.directory}/notify.sock`;
    this.socket = bindDatagram(kernel, path);
    try {
      kernel.must(`chmod(${JSON.stringify(path)}, 0777)`, "chmod", cString(path), 0o777);
    } catch (error) {
      this.socket.close();
      throw error;
    }
  }

  /** The manager's socket. */
  get hostSocket(): string {
    return this.#options.hostSocket;
  }

  /** Whether the manager has got the message and not confirmed it yet. */
  get awaitsManager(): boolean {
    return this.#barrier !== undefined;
  }

  /** The descriptors to poll before {@link advance}: the container's first. */
  get watches(): readonly Watch[] {
    const fds = this.#barrier === undefined ? [this.socket] : [this.socket, this.#barrier.pipe];
    return fds.map(({ number }) => ({ fd: number, events: POLLIN }));
  }

  /** The longest time to wait before {@link advance}, in ms; negative: no limit. */
  get timeoutMs(): number {
    return this.#barrier === undefined ? -1 : Math.max(0, this.#barrier.deadline - monotonicMs(this.#kernel));
  }

  /**
   * Handles received messages, without blocking. `mainPid`: the process that the manager supervises from READY on.
   *
   * @throws {RuncError} if the message to the manager fails. It is not sent again.
   */
  advance(mainPid: number): void {
    if (this.#barrier !== undefined) this.#checkBarrier();
    for (let count = 0; count < BATCH && this.#hasMessage(); count++) this.#takeMessage(mainPid);
  }

  /**
   * Waits until the manager knows that the container is ready, or `process` has ended. Returns whether it is ready.
   * @throws {RuncError} if the message to the manager fails.
   */
  runUntilReady(options: { process: Ending; mainPid: number }): boolean {
    return inSpan(this.#options.tracer, "wait until the container is ready", () => this.#runUntilReady(options));
  }

  #runUntilReady(options: { process: Ending; mainPid: number }): boolean {
    // Report an unreachable manager at once, not when the container gets ready.
    this.#connect();
    const { process } = options;
    for (;;) {
      const timeoutMs = endTimeout(process, this.timeoutMs);
      const ready = poll(this.#kernel, [watchEnd(process), ...this.watches], timeoutMs);
      this.advance(options.mainPid);
      if (this.#isReady && !this.awaitsManager) return true;
      // Only after reading all that it has sent.
      if (!this.#isReady && ready[1] === 0 && sawEnd(process, ready[0])) return false;
    }
  }

  /** Like {@link runUntilReady}, but an unreachable manager is only logged: the container works without it. */
  awaitReady(options: { process: Ending; mainPid: number }): void {
    try {
      this.runUntilReady(options);
    } catch (error) {
      if (!(error instanceof RuncError)) throw error;
      this.#options.log("warning", `cannot tell the service manager: ${error.message}`);
    }
  }

  #connect(): Fd {
    return this.#manager ??= connectUnix(this.#kernel, this.#options.hostSocket, "dgram");
  }

  #hasMessage(): boolean {
    return poll(this.#kernel, [{ fd: this.socket.number, events: POLLIN }], 0)[0] !== 0;
  }

  #takeMessage(mainPid: number): void {
    const { bytes, fds } = receive(this.#kernel, this.socket, DATAGRAM_LIMIT);
    // The container's own barrier: closing it confirms that all earlier messages are read.
    for (const fd of fds) fd.close();
    const line = readyLine(new TextDecoder().decode(bytes));
    if (line === undefined || this.#isReady) return;
    this.#isReady = true;
    const manager = this.#connect();
    this.#tell(manager, `${line}\n`);
    this.#tell(manager, `MAINPID=${mainPid}\n`);
    this.#barrier = this.#raiseBarrier(manager);
  }

  #tell(manager: Fd, text: string): void {
    const sent = send(this.#kernel, manager.number, bytesOf(text));
    if (sent < 0) throw syscallError(`send(${manager.label}, ${JSON.stringify(text)})`, -sent);
  }

  #raiseBarrier(manager: Fd): { pipe: Fd; deadline: number } {
    const { read, write } = pipe(this.#kernel, "notify barrier");
    using end = write;
    try {
      sendFd(this.#kernel, manager, bytesOf("BARRIER=1"), end.number);
      return { pipe: read, deadline: monotonicMs(this.#kernel) + BARRIER_TIMEOUT_MS };
    } catch (error) {
      read.close();
      throw error;
    }
  }

  #checkBarrier(): void {
    const { pipe, deadline } = this.#barrier!;
    const hasEnded = poll(this.#kernel, [{ fd: pipe.number, events: POLLIN }], 0)[0] !== 0;
    if (!hasEnded && monotonicMs(this.#kernel) < deadline) return;
    const { log } = this.#options;
    if (!hasEnded) log("warning", "Timeout after waiting 30s for barrier. Ignored.");
    else this.#readEnd(pipe);
    pipe.close();
    this.#barrier = undefined;
  }

  #readEnd(pipe: Fd): void {
    const count = this.#kernel.retry("read", pipe.number, alloc(1), 1);
    if (count > 0) this.#options.log("warning", "unexpected read from synchronization pipe");
    if (count < 0) this.#options.log("warning", `cannot read the synchronization pipe: ${errnoText(-count)}`);
  }

  [Symbol.dispose](): void {
    this.#barrier?.pipe.close();
    this.#manager?.close();
    this.socket.close();
  }
}

/**
 * The first READY in a datagram of at most {@link DATAGRAM_LIMIT} bytes. Pure. Assignments are lines in any order
 * (sd_notify(3)); runc accepts READY only as the first one.
 */
export function readyLine(message: string): string | undefined {
  return message.split("\n").find((line) => line.startsWith("READY="));
}

function bytesOf(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}
