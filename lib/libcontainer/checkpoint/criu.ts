/**
 * The conversation with CRIU: `criu swrk` is started with one end of a socket pair, which carries its RPC messages.
 * Runs in: parent.
 *
 *     this program                       criu swrk 3
 *       | VERSION, keep_open ---------------> |
 *       | <-------------------------- VERSION |
 *       | FEATURE_CHECK, keep_open ---------> |   only where a feature is needed
 *       | <-------------------- FEATURE_CHECK |
 *       | DUMP, PRE_DUMP or RESTORE --------> |   opens the directories as /proc/PID/fd of this program
 *       | <--------------------------- NOTIFY |   script, pid, a descriptor; CRIU waits for the answer
 *       | NOTIFY, notify_success -----------> |   false: CRIU undoes its work and fails
 *       | <------- DUMP, PRE_DUMP or RESTORE |
 *       | end of the stream ----------------> |
 *       | <------------------------ exits     |
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { endTimeout } from "../../ffi/ending.ts";
import { Errno, errnoText } from "../../ffi/errno.ts";
import { Fd } from "../../ffi/fd.ts";
import { open } from "../../ffi/files.ts";
import { syscallError } from "../../ffi/kernel.ts";
import { Child } from "../../ffi/process/child.ts";
import { type EnvironmentEntry, spawn } from "../../ffi/process/process.ts";
import { openFlag } from "../../ffi/constants.ts";
import { type Packet, packetPair, receiveIfThere, send } from "../../ffi/sockets.ts";
import { statusText } from "../launch/host_hooks.ts";
import type { Runtime } from "../runtime.ts";
import { work } from "./acts.ts";
import { findCriu } from "./criu_program.ts";
import { type CriuNotify, type CriuReq, type CriuResp, decodeResp, encodeReq, ReqType, reqTypeName } from "./rpc.ts";
import { readable, type Waits } from "../../ffi/waits.ts";

/** CRIU's end of the socket, as in runc. Descriptors for CRIU follow. */
const SOCKET = 3;
/** The first descriptor after the socket. */
export const FIRST_EXTRA_FD = SOCKET + 1;

/** include/uapi/linux/fcntl.h */
const F_DUPFD_CLOEXEC = 1030;
/** bits/socket.h */
const SHUT_WR = 1;

/** How long to wait for CRIU's status after the end of the stream, which comes while it ends. */
const END_MS = 1000;

/** Ten pages: runc's limit. Messages are far shorter. */
const MESSAGE_LIMIT = 10 * 4096;

/** What CRIU gets beside the socket. */
export interface CriuDescriptors {
  /** Its standard streams; absent: /dev/null. */
  readonly stdio?: readonly [number, number, number];
  /** Numbers of this program. CRIU has them from {@link FIRST_EXTRA_FD} up. */
  readonly extraFds?: readonly number[];
}

/** A notification. `fds` are closed afterwards. An exception makes CRIU fail, and is thrown when it has. */
export type Serve = (notify: CriuNotify, fds: readonly Fd[]) => Waits<void> | void;

/** A running `criu swrk`. When it is disposed of, it is killed unless {@link Criu.end} has been awaited. */
export class Criu implements Disposable {
  readonly #runtime: Runtime;
  readonly #socket: Fd;
  readonly #child: Child;

  private constructor(runtime: Runtime, socket: Fd, child: Child) {
    this.#runtime = runtime;
    this.#socket = socket;
    this.#child = child;
  }

  /** @throws {RuncError} `host-lacks` without criu on PATH. */
  static start(runtime: Runtime, { stdio, extraFds = [] }: CriuDescriptors = {}): Criu {
    const { kernel } = runtime;
    const path = findCriu(runtime.environment);
    using nothing = open(kernel, "/dev/null", openFlag(kernel.arch).O_RDWR);
    const [ours, theirs] = packetPair(kernel, "criu");
    try {
      const streams = stdio ?? [nothing.number, nothing.number, nothing.number];
      const pid = spawnCriu(runtime, path, [...streams, theirs.number, ...extraFds]);
      if (pid < 0) throw new RuncError("host-lacks", `fork/exec ${path}: ${errnoText(-pid)}`, { errno: -pid });
      const child = Child.find(kernel, pid);
      if (child === undefined) throw new RuncError("internal", `criu is not our child: ${pid}`);
      return new Criu(runtime, ours, child);
    } catch (error) {
      ours.close();
      throw error;
    } finally {
      // As long as we hold it, the end of CRIU is not the end of the stream.
      theirs.close();
    }
  }

  /** Its pid. */
  get pid(): number {
    return this.#child.pid;
  }

  /**
   * Makes a request, serves CRIU's notifications, and returns the response.
   *
   * An interrupt does not stop CRIU in the middle: it is reported at the next notification, so that CRIU undoes its
   * work, and thrown afterwards. A second interrupt is thrown at once.
   *
   * @throws {RuncError} `checkpoint-failed` with CRIU's answer; what `serve` throws.
   */
  *request(request: CriuReq, serve: Serve = () => {}): Waits<CriuResp> {
    this.#send(request);
    const refusal: Refusal = {};
    for (;;) {
      const packet = yield* this.#next(refusal);
      let response: CriuResp;
      try {
        response = decodeResp(packet.bytes);
        if (!response.success) throw refusal.error ?? failureOf(response);
        if (response.type !== ReqType.NOTIFY) return response;
        yield* this.#serve(response, packet.fds, { serve, refusal });
      } finally {
        for (const fd of packet.fds) fd.close();
      }
    }
  }

  *#serve(
    { notify }: CriuResp,
    fds: readonly Fd[],
    { serve, refusal }: { serve: Serve; refusal: Refusal },
  ): Waits<void> {
    if (notify === undefined) throw new RuncError("protocol", "CRIU sent a notification without content");
    this.#runtime.log("debug", `notify: ${notify.script}`);
    try {
      if (refusal.error === undefined) yield* work(() => serve(notify, fds));
    } catch (error) {
      refusal.error = error;
    }
    this.#send({ type: ReqType.NOTIFY, notify_success: refusal.error === undefined });
  }

  #send(request: CriuReq): void {
    const sent = send(this.#runtime.kernel, this.#socket.number, encodeReq(request));
    // CRIU has ended: the next receive tells how.
    if (sent < 0 && sent !== -Errno.EPIPE) throw syscallError("write to criu", -sent);
  }

  /** The next message. @throws {RuncError} if CRIU ends without one. */
  *#next(refusal: Refusal): Waits<Packet> {
    for (;;) {
      const hasEnded = this.#child.hasEnded;
      const packet = receiveIfThere(this.#runtime.kernel, this.#socket, MESSAGE_LIMIT);
      if (packet === undefined && !hasEnded) {
        yield* this.#awaitNews(refusal);
        continue;
      }
      if (packet === undefined || packet.bytes.length === 0) {
        yield* this.#awaitEnd(END_MS);
        throw refusal.error ?? this.#unexpectedEnd();
      }
      if (packet.isCut) {
        for (const fd of packet.fds) fd.close();
        throw new RuncError("protocol", "buffer is too small");
      }
      return packet;
    }
  }

  *#awaitNews(refusal: Refusal): Waits<void> {
    const fds = [this.#socket.number, this.#child.pidfd?.number ?? -1];
    try {
      yield* readable(fds, endTimeout(this.#child, -1));
    } catch (error) {
      if (refusal.error !== undefined) throw error;
      refusal.error = error;
    }
  }

  *#awaitEnd(timeoutMs: number): Waits<void> {
    if (this.#child.hasEnded) return;
    yield* readable([this.#child.pidfd?.number ?? -1], endTimeout(this.#child, timeoutMs));
  }

  #unexpectedEnd(): RuncError {
    const status = this.#child.status;
    const how = status === undefined ? "" : `: ${statusText(status)}`;
    return new RuncError("checkpoint-failed", `criu failed: unexpected EOF${how}`);
  }

  /** Tells CRIU that no request follows, and waits for its end. @throws {RuncError} for a failure, unless `mayFail`. */
  *end({ mayFail = false }: { mayFail?: boolean } = {}): Waits<void> {
    this.#runtime.kernel.call("shutdown", this.#socket.number, SHUT_WR);
    while (!this.#child.hasEnded) yield* this.#awaitEnd(-1);
    const status = this.#child.reap();
    // Undefined: our caller ignores SIGCHLD, and the kernel has reaped CRIU.
    if (mayFail || status === undefined || "code" in status && status.code === 0) return;
    throw new RuncError("checkpoint-failed", `criu failed: ${statusText(status)}`);
  }

  [Symbol.dispose](): void {
    this.#socket.close();
    this.#child.signal(9);
    this.#child.reap();
    this.#child[Symbol.dispose]();
  }
}

/** Why the next notification is refused. */
interface Refusal {
  error?: unknown;
}

/** Starts CRIU with `descriptors` as 0, 1, 2, … Returns its pid, or −errno. */
function spawnCriu(runtime: Runtime, path: string, descriptors: readonly number[]): number {
  const { kernel } = runtime;
  const count = descriptors.length;
  using moved = new DisposableStack();
  const safe = descriptors.map((from, to) => {
    // As a number of CRIU's it would be overwritten before it is copied.
    if (from === to || from < SOCKET || from >= count) return from;
    const number = kernel.must(`fcntl(${from}, F_DUPFD_CLOEXEC)`, "fcntl", from, F_DUPFD_CLOEXEC, count);
    return moved.use(new Fd(kernel, number, "descriptor for criu")).number;
  });
  return spawn(kernel, {
    path,
    argv: ["criu", "swrk", String(SOCKET)],
    env: environmentOf(runtime),
    fds: safe.map((from, to) => ({ to, from })),
    closeFrom: count,
    softFileLimit: runtime.softFileLimit,
  });
}

function environmentOf({ environment, rawEnvironment = [] }: Runtime): readonly EnvironmentEntry[] {
  return [...Object.entries(environment).map(([name, value]) => `${name}=${value}`), ...rawEnvironment];
}

function failureOf({ type, cr_errno = 0, cr_errmsg = "" }: CriuResp): RuncError {
  return new RuncError("checkpoint-failed", `criu failed: type ${reqTypeName(type)} errno ${cr_errno}`, {
    hint: cr_errmsg.trim() === "" ? undefined : `CRIU reports: ${cr_errmsg.trim()}`,
  });
}
