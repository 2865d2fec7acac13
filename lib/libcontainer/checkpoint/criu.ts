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
import { awaitEnd } from "../launch/await_end.ts";
import { statusText } from "../launch/host_hooks.ts";
import type { Runtime } from "../runtime.ts";
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

/** How long to wait for the end of a killed CRIU. */
const KILL_MS = 5000;

/** Ten pages: runc's limit. Messages are far shorter. */
const MESSAGE_LIMIT = 10 * 4096;

/** What CRIU gets beside the socket. */
export interface CriuDescriptors {
  /** Its standard streams; absent: /dev/null. */
  readonly stdio?: readonly [number, number, number];
  /** Numbers of this program. CRIU has them from {@link FIRST_EXTRA_FD} up. */
  readonly extraFds?: readonly number[];
}

/**
 * Serves a notification that is not awaited; it is then answered. `fds` are closed afterwards. An exception makes CRIU
 * fail, and is thrown when it has.
 */
export type Serve = (notify: CriuNotify, fds: readonly Fd[]) => void;

/** A running `criu swrk`. When it is disposed of, it is killed unless {@link Criu.end} has been awaited. */
export class Criu implements Disposable {
  readonly #runtime: Runtime;
  readonly #socket: Fd;
  readonly #child: Child;
  /** CRIU waits for an answer. */
  #isWaiting = false;
  /** Why the next notification is refused. */
  #refusal?: { readonly error: unknown };

  private constructor(runtime: Runtime, socket: Fd, child: Child) {
    this.#runtime = runtime;
    this.#socket = socket;
    this.#child = child;
  }

  /** `path`: the program. @throws {RuncError} `host-lacks` if it cannot be executed. */
  static start(runtime: Runtime, path: string, { stdio, extraFds = [] }: CriuDescriptors = {}): Criu {
    const { kernel } = runtime;
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

  /** Makes a request that has no notifications. @throws {RuncError} `checkpoint-failed` with CRIU's answer. */
  *ask(request: CriuReq): Waits<CriuResp> {
    this.begin(request);
    return yield* this.until(undefined);
  }

  /** Makes a request. {@link until} awaits what CRIU does then. */
  begin(request: CriuReq): void {
    this.#refusal = undefined;
    this.#send(request);
  }

  /**
   * Waits until CRIU has come to a moment, and waits for an {@link answer}; undefined: until it has carried out the
   * request. Returns what it has said. Other notifications are served and answered.
   *
   * An interrupt does not stop CRIU in the middle: it is reported at the next notification, so that CRIU undoes its
   * work, and thrown afterwards. A second interrupt is thrown at once.
   *
   * @throws {RuncError} `checkpoint-failed` with CRIU's answer; `protocol`; what `serve` throws.
   */
  *until(moment: string | undefined, serve?: Serve): Waits<CriuResp> {
    for (;;) {
      const packet = yield* this.#next();
      try {
        const response = decodeResp(packet.bytes);
        if (!response.success) throw this.#refusal?.error ?? failureOf(response);
        const { notify } = response;
        if (response.type !== ReqType.NOTIFY && moment === undefined) return response;
        if (notify === undefined) throw this.#refusal?.error ?? unexpected(response, moment);
        this.#runtime.log("debug", `notify: ${notify.script}`);
        if (notify.script === moment && this.#refusal === undefined) {
          this.#isWaiting = true;
          return response;
        }
        this.#serve(notify, packet.fds, serve);
      } finally {
        for (const fd of packet.fds) fd.close();
      }
    }
  }

  #serve(notify: CriuNotify, fds: readonly Fd[], serve: Serve = () => {}): void {
    try {
      if (this.#refusal === undefined) serve(notify, fds);
    } catch (error) {
      this.#refusal = { error };
    }
    this.#send({ type: ReqType.NOTIFY, notify_success: this.#refusal === undefined });
  }

  /** Lets CRIU go on after a moment that was awaited. */
  answer(): void {
    this.#isWaiting = false;
    this.#send({ type: ReqType.NOTIFY, notify_success: true });
  }

  /** If CRIU waits for an answer: makes it undo its work, and waits until it has. */
  *refuse(): Waits<void> {
    if (!this.#isWaiting) return;
    this.#isWaiting = false;
    const error = new RuncError("checkpoint-failed", "refused");
    this.#refusal = { error };
    this.#send({ type: ReqType.NOTIFY, notify_success: false });
    try {
      yield* this.until(undefined);
    } catch (thrown) {
      // That it has failed is what was asked for.
      if (thrown !== error) throw thrown;
    }
  }

  #send(request: CriuReq): void {
    const sent = send(this.#runtime.kernel, this.#socket.number, encodeReq(request));
    // CRIU has ended: the next receive tells how.
    if (sent < 0 && sent !== -Errno.EPIPE) throw syscallError("write to criu", -sent);
  }

  /** The next message. @throws {RuncError} if CRIU ends without one. */
  *#next(): Waits<Packet> {
    for (;;) {
      const hasEnded = this.#child.hasEnded;
      const packet = receiveIfThere(this.#runtime.kernel, this.#socket, MESSAGE_LIMIT);
      if (packet === undefined && !hasEnded) {
        yield* this.#awaitNews();
        continue;
      }
      if (packet === undefined || packet.bytes.length === 0) {
        yield* this.#awaitEnd(END_MS);
        throw this.#refusal?.error ?? this.#unexpectedEnd();
      }
      if (packet.isCut) {
        for (const fd of packet.fds) fd.close();
        throw new RuncError("protocol", "buffer is too small");
      }
      return packet;
    }
  }

  *#awaitNews(): Waits<void> {
    const fds = [this.#socket.number, this.#child.pidfd?.number ?? -1];
    try {
      yield* readable(fds, endTimeout(this.#child, -1));
    } catch (error) {
      if (this.#refusal !== undefined) throw error;
      this.#refusal = { error };
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

  /** Kills it, and waits for its end. An interrupt changes nothing. */
  *kill(): Waits<void> {
    this.#child.signal(9);
    if (yield* awaitEnd(this.#runtime, this.#child, KILL_MS, { isDeaf: true })) this.#child.reap();
  }

  [Symbol.dispose](): void {
    this.#socket.close();
    this.#child.signal(9);
    this.#child.reap();
    this.#child[Symbol.dispose]();
  }
}

function unexpected({ type }: CriuResp, moment: string | undefined): RuncError {
  const what = type === ReqType.NOTIFY ? "a notification without content" : `the answer ${reqTypeName(type)}`;
  return new RuncError("protocol", `CRIU sent ${what}${moment === undefined ? "" : ` before ${moment}`}`);
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
