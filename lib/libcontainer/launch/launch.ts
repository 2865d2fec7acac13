/**
 * Stage, helper and init of one launch: receives their messages, knows them by their pidfds, and ends them. Runs in:
 * parent.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { Errno } from "../../ffi/errno.ts";
import type { Fd } from "../../ffi/fd.ts";
import { readMemfd } from "../../ffi/files.ts";
import { alloc, type Kernel, syscallError } from "../../ffi/kernel.ts";
import { Child } from "../../ffi/process/child.ts";
import { hasEnded, reapIfEnded } from "../../ffi/process/process.ts";
import { endSending, type Packet, receive, receiveIfThere, send, sendFd } from "../../ffi/sockets.ts";
import { readable, type Waits } from "../../ffi/waits.ts";
import { report } from "../../plan/native/format.ts";
import type { Await } from "../plans/parent/act.ts";
import type { Runtime } from "../runtime.ts";
import { processStat } from "../state/process_status.ts";
import { HOME_LIMIT, MESSAGE_SIZE, MessageKind, PASSWD_CHUNK } from "../steps/protocol.ts";
import { awaitEnd } from "./await_end.ts";
import { deathError, isTrap, stepFailure, stepWarning } from "./failure.ts";
import { OUTPUT_LIMIT, outputText } from "./host_hooks.ts";
import type { Received } from "./run_acts.ts";
import type { Stage } from "./stage.ts";

/** The files that hooks in the container print to. */
export interface HookOutput {
  readonly stdout?: Fd;
  readonly stderr?: Fd;
}

/** A process being set up: the stage, then init. */
export class Launch implements Disposable {
  readonly #runtime: Runtime;
  readonly #kernel: Kernel;
  readonly #stage: Stage;
  readonly #hookOutput: HookOutput;
  #stageReaped = false;
  #init?: Child;
  /** Opens the sources of mounts; undefined if the plan needs no helper. */
  #helper?: Child;
  /** Init's name while it is not yet its program. */
  #nameBefore = INIT_NAME;

  /** Takes over the stage, and the files that hooks in the container print to. */
  constructor(runtime: Runtime, stage: Stage, hookOutput: HookOutput) {
    this.#runtime = runtime;
    this.#kernel = runtime.kernel;
    this.#stage = stage;
    this.#hookOutput = hookOutput;
  }

  get stagePid(): number {
    return this.#stage.pid;
  }

  /** The container's process, on the host; 0 until the stage has sent it. */
  get initPid(): number {
    return this.#init?.pid ?? 0;
  }

  /** The container's process. @throws {RuncError} `internal` before the stage has sent its pid. */
  get init(): Child {
    if (this.#init === undefined) throw new RuncError("internal", "the pid of init is not known yet");
    return this.#init;
  }

  /** Lets stage or init continue. `home`: the HOME that init has asked for. */
  go(home = ""): void {
    const text = new TextEncoder().encode(home + "\0");
    if (text.length > HOME_LIMIT) {
      throw new RuncError("unsupported", "the user's home directory is longer than 4095 bytes");
    }
    // Only the native interpreter has a fixed name.
    if (this.#runtime.executor !== "native") this.#nameBefore = processStat(this.initPid)?.name ?? "";
    const bytes = alloc(text.length);
    bytes.set(text);
    const result = send(this.#kernel, this.#stage.sync.number, bytes);
    // The process is gone: the next message says why. Any other failure would let both wait for ever.
    if (result >= 0 || result === -Errno.EPIPE || result === -Errno.ECONNRESET) return;
    throw syscallError(`send(${this.#stage.sync.label}, "go")`, -result);
  }

  /** Sends init a file and its copy: init copies the content, so that its memory and CPU limits apply. */
  sendFile(from: Fd, to: Fd): void {
    sendFd(this.#kernel, this.#stage.sync, alloc(1).fill(1), from.number, to.number);
  }

  /**
   * The next message; an empty one if the sender has closed its socket or has ended, even if another process holds the
   * socket. A process that waits for the `end` may also be seen to have become its program.
   */
  *receive({ kind }: Pick<Await, "kind">): Waits<Received> {
    for (;;) {
      if (!(yield* this.#await(kind === "end"))) return received(END);
      const packet = receive(this.#kernel, this.#stage.sync, MESSAGE_SIZE + PASSWD_CHUNK, 2);
      if (!this.#stage.trace?.take(packet.bytes)) return received(packet);
      closeAll(packet);
    }
  }

  /**
   * Waits for a message or the end of the stream. False: the sender is gone, and another process keeps the socket open.
   */
  *#await(untilProgram: boolean): Waits<boolean> {
    const pidfd = this.#init?.pidfd;
    const { number } = this.#stage.sync;
    for (;;) {
      const fds = pidfd === undefined ? [number] : [number, pidfd.number];
      const [hasMessage = false, hasEnded = false] = yield* readable(fds, LOOK_AGAIN_MS);
      if (hasMessage) return true;
      if (hasEnded || this.#speakerIsGone() || (untilProgram && this.#isProgram())) return false;
    }
  }

  /** Checked when no message arrives: a pidfd may be missing, or not exist yet. */
  #speakerIsGone(): boolean {
    if (this.#init !== undefined) return this.#init.hasEnded;
    return this.#stageReaped || hasEnded(this.#kernel, this.stagePid);
  }

  /**
   * Whether init has executed its program, which closes its socket. A startContainer hook may have passed the socket on
   * to a process that keeps it open; then the process's new name shows it.
   */
  #isProgram(): boolean {
    return processStat(this.initPid)?.name !== this.#nameBefore;
  }

  /**
   * The process named by the stage must be our child: the runtime signals and waits for no others. @throws {RuncError}
   * `protocol`
   */
  adopt(who: "helper" | "init", pid: number): void {
    const child = Child.find(this.#kernel, pid);
    if (child === undefined) {
      throw new RuncError("protocol", `stage sent ${pid} as the pid of ${who}, which is no new child of the runtime`);
    }
    this.#stage.trace?.started(who, pid);
    if (who === "helper") {
      this.#helper = child;
      return;
    }
    this.#init = child;
    this.#runtime.log("debug", `child process in init(): ${pid}`);
  }

  /** Reaps stage and helper, which have ended or are about to. A signal can interrupt the wait. */
  *reapStage(): Waits<void> {
    if (!this.#stageReaped && !reapIfEnded(this.#kernel, this.stagePid)) {
      using stage = Child.find(this.#kernel, this.stagePid);
      if (stage !== undefined) yield* awaitEnd(this.#runtime, stage);
      stage?.reap();
    }
    this.#stageReaped = true;
    using helper = this.#helper;
    if (helper === undefined) return;
    yield* awaitEnd(this.#runtime, helper);
    helper.reap();
    this.#helper = undefined;
  }

  /** The error for a report. */
  failure(offset: number, cursor: bigint, value: number): RuncError {
    const instruction = this.#stage.encoded.instructionAt(offset, cursor);
    if (instruction === undefined) {
      return new RuncError("internal", `init failed at unknown instruction ${offset}: ${value}`);
    }
    const error = stepFailure(instruction, value, () => this.#hooksSaid());
    this.#stage.trace?.failed(error, instruction.step);
    return error;
  }

  /** Logs the warning of a report. */
  warn(offset: number, cursor: bigint, value: number): void {
    const instruction = this.#stage.encoded.instructionAt(offset, cursor);
    const text = instruction === undefined ? undefined : stepWarning(instruction, value);
    if (text !== undefined) this.#runtime.log("warning", text);
  }

  /** The error for the end of the process that was to send the next message. */
  *died(): Waits<RuncError> {
    const error = this.#init === undefined
      ? deathError("stage", yield* this.#reapDeadStage())
      : yield* this.#initDied(this.#init);
    this.#stage.trace?.failed(error);
    return error;
  }

  *#initDied(init: Child): Waits<RuncError> {
    if (yield* awaitEnd(this.#runtime, init, END_LIMIT_MS)) return deathError("container init", init.reap());
    // A wait without a limit would be the container's means to stop the runtime.
    return new RuncError("protocol", "init closed its socket to the runtime before it was ready");
  }

  *#reapDeadStage() {
    using stage = this.#stageReaped ? undefined : Child.find(this.#kernel, this.stagePid);
    this.#stageReaped = true;
    if (stage === undefined) return undefined;
    yield* awaitEnd(this.#runtime, stage);
    return stage.reap();
  }

  /**
   * Init has closed its socket. @throws {RuncError} if it died by a trap: its filter prevents both the program's start
   * and the report.
   */
  *checkProgram(isFiltered: boolean): Waits<void> {
    if (isFiltered && this.#runtime.executor === "native" && !this.#isProgram()) {
      yield* awaitEnd(this.#runtime, this.init, LOOK_AGAIN_MS);
      if (isTrap(this.init.status)) throw yield* this.died();
    }
    this.#stage.trace?.ended();
  }

  /** The output of the hooks in the container so far. */
  #hooksSaid(): string {
    const said = (fd: Fd | undefined) => fd === undefined ? "" : readMemfd(this.#kernel, fd, OUTPUT_LIMIT);
    return outputText(said(this.#hookOutput.stdout), said(this.#hookOutput.stderr));
  }

  /** Logs the output of the hooks in the container so far. */
  logHooks(): void {
    this.#runtime.log("debug", `hooks in the container: ${this.#hooksSaid()}`);
  }

  /** Kills and reaps all started processes after a failure. */
  *abort(): Waits<void> {
    this.#stage.trace?.failed("killed, as the operation has failed");
    if (!this.#stageReaped) {
      yield* this.#endStage();
      this.#stageReaped = true;
    }
    if (this.#init === undefined) this.#findUnread();
    yield* this.#end(this.#helper);
    yield* this.#end(this.#init);
  }

  /**
   * The stage ends by itself when it finds the socket closed. Between its fork and the message that names init, nobody
   * else knows init: if the stage were killed there, init would stay a child that is never reaped, and keep its cgroups
   * and its pid namespace.
   */
  *#endStage(): Waits<void> {
    using stage = Child.find(this.#kernel, this.stagePid);
    if (stage === undefined) return;
    endSending(this.#kernel, this.#stage.sync.number);
    yield* awaitEnd(this.#runtime, stage, STAGE_LIMIT_MS, { isDeaf: true });
    yield* this.#end(stage);
  }

  /**
   * Kills the child with SIGKILL and reaps it. A process in a frozen v1 cgroup dies only when it is thawed, so the
   * wait has a limit.
   */
  *#end(child: Child | undefined): Waits<void> {
    if (child === undefined) return;
    child.signal(9);
    if (yield* this.#awaitKilled(child)) child.reap();
    else this.#runtime.log("warning", `process ${child.pid} was killed and has not ended yet: is its cgroup frozen?`);
  }

  /** An interrupt changes nothing: a process that is not reaped keeps its cgroup. */
  *#awaitKilled(child: Child): Waits<boolean> {
    try {
      return yield* awaitEnd(this.#runtime, child, END_LIMIT_MS);
    } catch (error) {
      if (!(error instanceof RuncError) || error.code !== "interrupted") throw error;
    }
    return yield* awaitEnd(this.#runtime, child, END_LIMIT_MS, { isDeaf: true });
  }

  /**
   * The stage's messages with the pids of the helper and of init may still be unread: then these must be killed. The
   * stage has ended, so its messages precede all later ones. The queue holds a few hundred messages.
   */
  #findUnread(): void {
    for (let count = 0; count < QUEUE_LIMIT && this.#init === undefined; count++) {
      const packet = receiveIfThere(this.#kernel, this.#stage.sync, MESSAGE_SIZE + PASSWD_CHUNK, 2);
      if (packet === undefined) return;
      closeAll(packet);
      const { bytes, sender } = packet;
      if (bytes.length === 0 && sender === 0) return;
      if (sender !== this.stagePid || bytes.length !== MESSAGE_SIZE) continue;
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
      const kind = view.getUint32(0, true);
      const find = () => Child.find(this.#kernel, Number(view.getBigInt64(report.value, true)));
      if (kind === MessageKind.child) this.#init = find();
      if (kind === MessageKind.helper) this.#helper ??= find();
    }
  }

  /** Closes our descriptors; the processes continue. */
  [Symbol.dispose](): void {
    this.#stage.sync.close();
    this.#init?.[Symbol.dispose]();
    this.#helper?.[Symbol.dispose]();
    this.#hookOutput.stdout?.close();
    this.#hookOutput.stderr?.close();
  }
}

/** How often a wait checks whether the other process still exists. */
const LOOK_AGAIN_MS = 1000;
/** Time for the stage to end by itself. In a frozen v1 cgroup it does not. */
const STAGE_LIMIT_MS = 1000;
/** Time for a killed process to end. */
const END_LIMIT_MS = 5000;
/** A socket's buffer (net.core.wmem_default, 212,992 bytes) holds less than 300 messages. */
const QUEUE_LIMIT = 1024;
/** The plan's name for the process until it executes its program. */
export const INIT_NAME = "runc:[2:INIT]";

const END: Packet = { bytes: alloc(0), fds: [], sender: 0, isCut: false };

function received(packet: Packet): Received {
  return { ...packet, descriptors: packet.fds.length, [Symbol.dispose]: () => closeAll(packet) };
}

function closeAll({ fds }: Packet): void {
  for (const fd of fds) fd.close();
}
