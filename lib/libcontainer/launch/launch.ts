/**
 * Runs a plan: encodes it, starts the stage, and exchanges messages with stage and init until the process is ready.
 * Runs in: parent.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { Errno, errnoName, errnoText } from "../../ffi/errno.ts";
import { Fd } from "../../ffi/fd.ts";
import { executable, isInherited, openPath, readMemfd, setCloseOnExec } from "../../ffi/files.ts";
import { alloc, type Kernel, syscallError } from "../../ffi/kernel.ts";
import { Child } from "../../ffi/process/child.ts";
import { awaitReadable } from "../../ffi/poll.ts";
import { type ExitStatus, hasEnded, reapIfEnded, spawn, waitChild } from "../../ffi/process/process.ts";
import { type Packet, packetPair, receive, receiveIfThere, send, sendFd, tellSenders } from "../../ffi/sockets.ts";
import { call, fixedFd, step, stringPointers } from "../../plan/build.ts";
import { formatCall } from "../../plan/explain.ts";
import type { Instruction } from "../../plan/lower.ts";
import { encode, type Encoded, type EncodeOptions } from "../../plan/native/encode.ts";
import { report } from "../../plan/native/format.ts";
import type { CallOp, FailOp, Plan, Step, WarnOp } from "../../plan/op.ts";
import { inSpan } from "../../trace/tracer.ts";
import { AtFlag } from "../../ffi/constants.ts";
import { OUTPUT_LIMIT, outputText, statusText } from "./host_hooks.ts";
import { awaitEnd } from "./await_end.ts";
import { Conversation, type Kind, type Sender } from "./conversation.ts";
import { HOME_LIMIT, MESSAGE_SIZE, MessageKind, PASSWD_CHUNK, type Planned } from "../steps/protocol.ts";
import type { HostFacts } from "../config/launch_request.ts";
import { lacksMountCalls, mountDescriptors } from "../steps/mounts/old_mounts.ts";
import { withoutRefused } from "../plans/outer_sandbox.ts";
import { processStat } from "../state/process_status.ts";
import type { Runtime } from "../runtime.ts";
import type { LaunchTrace } from "../runtime_trace.ts";
import { sealedSelf } from "./self.ts";

/** The options of a launch. */
export interface LaunchOptions {
  readonly plan: Plan;
  /** stdin, stdout, stderr of the process. */
  readonly stdio: readonly [number, number, number];
  /**
   * The plan's fixed descriptors by name; the launch adds `sync` and `proc`. The caller closes them, except
   * `hook-stdout` and `hook-stderr`, which the launch closes.
   */
  readonly fds: Readonly<Record<string, Fd>>;
  /** The process inherits this many descriptors from 3 up. */
  readonly inheritedFds: number;
  /** The process waits for `start`, and should use little memory until then. */
  readonly waits: boolean;
  /** The messages that the plan has stage and init send; any other one ends the launch. */
  readonly says: readonly Planned[];
  /** The plan loads a seccomp filter. */
  readonly filtered?: boolean;
  /** System calls that a sandbox around this runtime refuses. */
  readonly refused?: HostFacts["refused"];
}

/** The messages of stage and init, in order. */
export type Message =
  | { readonly kind: "mapping" | "network" | "hooks" | "ready" | "created" }
  | { readonly kind: "child"; readonly pid: number }
  /** `result`: 0 or −errno. */
  | { readonly kind: "copied"; readonly result: number }
  /** `fd`: number of the seccomp listener in init. */
  | { readonly kind: "seccomp"; readonly fd: number }
  /** Create the target of a mount in `root`. */
  | { readonly kind: "target"; readonly mount: number; readonly isFile: boolean; readonly root: Fd }
  /** Copy the content of `from` to `to`. */
  | { readonly kind: "copyUp"; readonly mount: number; readonly from: Fd; readonly to: Fd };

/** The place in the plan that a report comes from. */
interface Where {
  readonly offset: number;
  readonly cursor: bigint;
}

/** Only reports have a cursor. */
function whereOf(view: DataView): Where {
  const cursor = view.byteLength >= report.size ? view.getBigUint64(report.cursor, true) : 0n;
  return { offset: view.getUint32(report.instruction, true), cursor };
}

/** Larger than the file of any known container. The limit keeps a rootfs from making the parent read forever. */
const PASSWD_LIMIT = 16 * 1024 * 1024;

/** A process being set up: the stage, then init. */
export class Launch implements Disposable {
  readonly #runtime: Runtime;
  readonly #kernel: Kernel;
  readonly #encoded: Encoded;
  readonly #trace?: LaunchTrace;
  readonly #sync: Fd;
  readonly #hookOutput: { readonly stdout?: Fd; readonly stderr?: Fd };
  readonly stagePid: number;
  #stageReaped = false;
  #init?: Child;
  /** Opens the sources of mounts; undefined if the plan needs no helper. */
  #helper?: Child;
  readonly #conversation: Conversation;
  readonly #isFiltered: boolean;
  /** /etc/passwd of the container, in pieces: a character may be split between two. */
  readonly #passwd: Uint8Array<ArrayBuffer>[] = [];
  #passwdLength = 0;
  /** Messages received before the stage has sent init's pid: they may be init's. */
  readonly #early: Packet[] = [];

  /** Starts the stage. It, or init, waits for {@link go}. @throws {RuncError} if it cannot be started. */
  constructor(runtime: Runtime, options: LaunchOptions) {
    const { kernel, trace } = runtime;
    this.#runtime = runtime;
    this.#kernel = kernel;
    this.#hookOutput = { stdout: options.fds["hook-stdout"], stderr: options.fds["hook-stderr"] };
    this.#conversation = new Conversation(options.says);
    this.#isFiltered = options.filtered ?? false;
    const [ours, theirs] = packetPair(kernel, "sync");
    this.#sync = ours;
    using child = theirs;
    tellSenders(kernel, ours);
    using proc = openPath(kernel, "/proc");
    using self = runtime.executor === "deno" ? sealedSelf(runtime) : undefined;
    try {
      const sources: Record<string, Fd> = { ...options.fds, sync: child, proc };
      if (self !== undefined) sources.self = self;
      const { numbers, spare } = fixNumbers(sources, options);
      // The JavaScript executor reads the image that the stage is started from.
      if (self !== undefined) numbers.image = spare;
      const plan = self === undefined
        ? options.plan
        : withoutRefused(withReexec(options.plan, runtime, numbers), options.refused, kernel.arch);
      const launched = { plan, numbered: options.plan, executor: runtime.executor };
      this.#trace = inSpan(trace, "put marks into the plan", () => trace?.steps(launched));
      const how = { arch: kernel.arch, fds: numbers, fold: foldingOf(options, trace) };
      this.#encoded = inSpan(trace, "encode the plan", () => encode(this.#trace?.plan ?? plan, how));
      using opened = executable(kernel, {
        name: "runc-init",
        content: this.#encoded.image,
        directory: runtime.root,
      });
      using moved = opened.number > numbers["last foreign"]! ? duplicateFrom(kernel, opened, spare + 1) : undefined;
      const image = moved ?? opened;
      const fds = Object.entries(sources).map(([name, fd]) => ({ to: numbers[name]!, from: fd.number }));
      if (self !== undefined) fds.push({ to: spare, from: image.number });
      this.#logSealing(self !== undefined);
      const start = () => this.#spawn(image, fds, options.stdio);
      // The stage closes descriptors left open by mistake, but needs close_range(2) for that.
      const startAlone = () => withForeignMarked(kernel, 3 + options.inheritedFds, start);
      this.stagePid = inSpan(trace, "start the stage", options.refused?.has("close_range") ? startAlone : start);
      this.#trace?.started("stage", this.stagePid);
    } catch (error) {
      ours.close();
      throw error;
    }
  }

  /** Logs runc's messages about the protection of its binary from the container; runc's tests match them. */
  #logSealing(ourBinaryRuns: boolean): void {
    const { log } = this.#runtime;
    log("debug", `runc exeseal: using /proc/self/exe clone: a sealed image of ${this.#encoded.image.length} bytes`);
    const instead = ourBinaryRuns ? "our binary is behind a read-only mount of its own" : "our binary is not there";
    log("debug", `runc exeseal: using overlayfs for sealed /proc/self/exe: not needed, ${instead}`);
  }

  #spawn(image: Fd, fds: { to: number; from: number }[], stdio: LaunchOptions["stdio"]): number {
    const standard = stdio.flatMap((from, to) => from === to ? [] : [{ to, from }]);
    const pid = spawn(this.#kernel, {
      path: `/proc/self/fd/${image.number}`,
      argv: ["runc", "init"],
      env: [],
      fds: [...fds, ...standard],
    });
    // A message of runc's debug log, which runc's tests match. The stage does the work of nsexec.
    this.#runtime.log("debug", `nsexec container setup: stage is process ${pid}`);
    if (pid < 0) {
      throw syscallError(
        "posix_spawn of the container's init",
        -pid,
        pid === -Errno.ENOENT ? "/proc must be mounted" : undefined,
      );
    }
    return pid;
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
    const bytes = alloc(text.length);
    bytes.set(text);
    // EPIPE: the process is gone; the next call of `next` reports why.
    send(this.#kernel, this.#sync.number, bytes);
  }

  /**
   * Makes init, which has sent `copyUp`, copy a file's content, so that the container's memory and CPU limits apply.
   * Returns 0 or −errno. @throws {RuncError}
   */
  fill(from: Fd, to: Fd): number {
    sendFd(this.#kernel, this.#sync, alloc(1).fill(1), from.number, to.number);
    this.#conversation.expectCopied();
    const said = this.next();
    if (said.kind !== "copied") throw new RuncError("internal", `init sent "${said.kind}" instead of "copied"`);
    return said.result;
  }

  /** The part of the container's /etc/passwd that init has sent. */
  get passwd(): string {
    const decoder = new TextDecoder();
    return this.#passwd.map((piece) => decoder.decode(piece, { stream: true })).join("") + decoder.decode();
  }

  /**
   * Waits for the next message of stage or init.
   *
   * @throws {RuncError} `step-failed` for a failed step, with all details, or if the process died.
   */
  next(): Message {
    return inSpan(this.#runtime.trace, "wait for stage and init", (span) => {
      const said = this.#next();
      span?.rename(`wait for ${said.kind === "mapping" || said.kind === "child" ? "stage" : "init"}: ${said.kind}`);
      return said;
    });
  }

  /**
   * Like {@link next}, but for an init that closes the socket instead of sending a last message: returns undefined
   * then. If init has died, its exit status shows it.
   *
   * @throws {RuncError} for a failed step.
   */
  nextUntilClosed(): Message | undefined {
    return inSpan(this.#runtime.trace, "wait for init", () => this.#next({ closes: true }));
  }

  #next(): Message;
  #next(how: { closes: boolean }): Message | undefined;
  #next({ closes } = { closes: false }): Message | undefined {
    const isOver = closes ? this.#programWatch() : undefined;
    for (;;) {
      const message = this.#nextMessage(isOver);
      if (message.bytes.length === 0) {
        if (closes) return undefined;
        throw this.#died();
      }
      const said = this.#understand(message);
      if (said !== undefined) return said;
    }
  }

  /**
   * The next message, or an empty one at the end. Init's end counts, even if another process holds its socket.
   * `isOver`: checks for another kind of end.
   */
  #receive(isOver?: () => boolean): Packet {
    for (;;) {
      if (!this.#await(isOver)) return END;
      const message = receive(this.#kernel, this.#sync, MESSAGE_SIZE + PASSWD_CHUNK, 2);
      if (!this.#trace?.take(message.bytes)) return message;
      closeAll(message);
    }
  }

  /**
   * Waits for a message or the end of the stream. False: the sender is gone, and another process keeps the socket open.
   */
  #await(isOver = () => false): boolean {
    const { interrupts } = this.#runtime;
    const pidfd = this.#init?.pidfd;
    const fds = pidfd === undefined ? [this.#sync.number] : [this.#sync.number, pidfd.number];
    for (;;) {
      const [hasMessage = false, hasEnded = false] = awaitReadable(this.#kernel, fds, {
        interrupts,
        timeoutMs: LOOK_AGAIN_MS,
      });
      if (hasMessage) return true;
      if (hasEnded || this.#speakerIsGone() || isOver()) return false;
    }
  }

  /** Checked when no message arrives: a pidfd may be missing, or not exist yet. */
  #speakerIsGone(): boolean {
    if (this.#init !== undefined) return this.#init.hasEnded;
    return this.#stageReaped || hasEnded(this.#kernel, this.stagePid);
  }

  #senderOf({ sender }: Packet): Sender {
    if (sender === 0) return "stranger";
    if (sender === this.stagePid) return "stage";
    if (sender === this.#init?.pid) return "init";
    return sender === this.#helper?.pid ? "helper" : "stranger";
  }

  /**
   * Init may send messages before the stage has sent init's pid. The stage's message, its last one, is then taken
   * first.
   */
  #nextMessage(isOver?: () => boolean): Packet {
    for (;;) {
      if (this.#init !== undefined) return this.#early.shift() ?? this.#receive(isOver);
      const message = this.#receive();
      // The stage has ended without sending init's pid. An early message may be the error that explains it.
      if (message.bytes.length === 0) return this.#early.find(isError) ?? message;
      if (this.#senderOf(message) !== "stranger") return message;
      this.#early.push(message);
      if (this.#early.length > EARLY_LIMIT) {
        throw new RuncError(
          "protocol",
          `received more than ${EARLY_LIMIT} messages before the stage sent the pid of init`,
        );
      }
    }
  }

  /**
   * Lets init execute its program, which closes the socket. Init waits only for this. `onListener`: called when init
   * has loaded a filter with an agent, with the listener's number in init.
   *
   * @throws {RuncError} for a filter that cannot be loaded, and for a startContainer hook that failed.
   */
  goToExec(onListener: (fd: number) => void): void {
    inSpan(this.#runtime.trace, "wait for init: it has become its program", () => this.#goToExec(onListener));
  }

  #goToExec(onListener: (fd: number) => void): void {
    const isProgram = this.#programWatch();
    this.go();
    while (this.#await(isProgram)) {
      const message = receive(this.#kernel, this.#sync, MESSAGE_SIZE + PASSWD_CHUNK, 2);
      if (this.#trace?.take(message.bytes)) {
        closeAll(message);
        continue;
      }
      if (message.bytes.length === 0) break;
      const said = this.#understand(message);
      if (said?.kind === "seccomp") onListener(said.fd);
    }
    if (this.#isFiltered && this.#isTrapped(isProgram)) throw this.#died();
    this.#trace?.ended();
    this.#logHooks();
  }

  /**
   * Whether init closed its socket because it died by a trap: its filter prevents both the program's start and the
   * report.
   */
  #isTrapped(isProgram: () => boolean): boolean {
    if (this.#runtime.executor !== "native" || isProgram()) return false;
    awaitEnd(this.#runtime, this.init, LOOK_AGAIN_MS);
    return isTrap(this.init.status);
  }

  /**
   * Checks whether init has executed its program, which closes its socket. A startContainer hook may have passed the
   * socket on to a process that keeps it open; then the process's new name shows it.
   */
  #programWatch(): () => boolean {
    // Only the native interpreter has a fixed name.
    const before = this.#runtime.executor === "native" ? INIT_NAME : processStat(this.initPid)?.name;
    return () => processStat(this.initPid)?.name !== before;
  }

  /** Takes an expected message. Its descriptors belong to the result, or are closed. @throws {RuncError} */
  #understand(message: Packet): Message | undefined {
    let said: Message | undefined;
    try {
      said = this.#take(message);
      return said;
    } finally {
      if (said === undefined || !("root" in said || "from" in said)) closeAll(message);
    }
  }

  #take(message: Packet): Message | undefined {
    const { bytes, fds } = message;
    const sender = this.#senderOf(message);
    if (bytes.length < MESSAGE_SIZE || message.isCut) {
      throw new RuncError("protocol", `${sender} sent a message of a wrong length, or with too many descriptors`);
    }
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const exact = view.getBigInt64(report.value, true);
    const kind = this.#conversation.take({
      kind: view.getUint32(0, true),
      sender,
      value: exact,
      length: bytes.length,
      descriptors: fds.length,
    });
    const value = Number(exact);
    switch (kind) {
      case "error":
        throw this.#failure(whereOf(view), value);
      case "warning":
        this.#warn(whereOf(view), value);
        return undefined;
      case "passwd":
        this.#takePasswd(bytes.subarray(MESSAGE_SIZE));
        return undefined;
      case "helper":
        this.#helper = this.#childOf(kind, value);
        this.#trace?.started("helper", value);
        return undefined;
      case "child":
        this.#init = this.#childOf(kind, value);
        this.#runtime.log("debug", `child process in init(): ${value}`);
        this.#trace?.started("init", value);
        return { kind, pid: value };
      default:
        return this.#saidOf(kind, value, fds);
    }
  }

  #saidOf(
    kind: Exclude<Kind, "error" | "warning" | "passwd" | "helper" | "child">,
    value: number,
    fds: readonly Fd[],
  ): Message {
    switch (kind) {
      case "target":
        // The low half of the value is the mount's number.
        return { kind, mount: value % 0x100000000, isFile: value >= 0x100000000, root: fds[0]! };
      case "copyUp":
        return { kind, mount: value, from: fds[0]!, to: fds[1]! };
      case "copied":
        return { kind, result: value };
      case "seccomp":
        return { kind, fd: value };
      case "hooks":
      case "ready":
        this.#reapLeft();
        return { kind };
      case "created":
        this.#logHooks();
        return { kind };
      default:
        return { kind };
    }
  }

  /**
   * The process named by the stage must be our child: the runtime signals and waits for no others. @throws {RuncError}
   * `protocol`
   */
  #childOf(kind: "child" | "helper", pid: number): Child {
    const isAnother = pid === this.stagePid || pid === this.#helper?.pid;
    const child = isAnother ? undefined : Child.find(this.#kernel, pid);
    if (child !== undefined) return child;
    throw new RuncError("protocol", `stage sent a message "${kind}" with ${pid}, which is no new child of the runtime`);
  }

  #takePasswd(piece: Uint8Array<ArrayBuffer>): void {
    this.#passwdLength += piece.length;
    if (this.#passwdLength > PASSWD_LIMIT) throw new RuncError("unsupported", "/etc/passwd is over 16 MiB");
    // A copy of a small piece releases the buffer that it came in.
    this.#passwd.push(piece.length < PASSWD_CHUNK ? piece.slice() : piece);
  }

  /** Reaps stage and helper, which have ended or are about to. A signal can interrupt the wait. */
  #reapLeft(): void {
    if (!this.#stageReaped && !reapIfEnded(this.#kernel, this.stagePid)) {
      using stage = Child.find(this.#kernel, this.stagePid);
      if (stage !== undefined) awaitEnd(this.#runtime, stage);
      stage?.reap();
    }
    this.#stageReaped = true;
    using helper = this.#helper;
    if (helper === undefined) return;
    awaitEnd(this.#runtime, helper);
    helper.reap();
    this.#helper = undefined;
  }

  /**
   * Kills the child with SIGKILL and reaps it. A process in a frozen v1 cgroup dies only when it is thawed, so the
   * wait has a limit.
   */
  #end(child: Child | undefined): void {
    if (child === undefined) return;
    child.signal(9);
    let isOver = false;
    try {
      isOver = awaitEnd(this.#runtime, child, END_LIMIT_MS);
    } catch (error) {
      if (!(error instanceof RuncError) || error.code !== "interrupted") throw error;
    }
    if (isOver) child.reap();
    else this.#runtime.log("warning", `process ${child.pid} was killed and has not ended yet: is its cgroup frozen?`);
  }

  /**
   * The stage's last message, which has init's pid, may still be unread: then init must be killed. The stage has ended,
   * so its message precedes all later ones. The queue holds a few hundred messages.
   */
  #findInit(): void {
    for (let count = 0; count < QUEUE_LIMIT && this.#init === undefined; count++) {
      const message = receiveIfThere(this.#kernel, this.#sync, MESSAGE_SIZE + PASSWD_CHUNK, 2);
      if (message === undefined || message.bytes.length === 0) return;
      closeAll(message);
      const { bytes } = message;
      if (message.sender !== this.stagePid || bytes.length !== MESSAGE_SIZE) continue;
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
      if (view.getUint32(0, true) !== MessageKind.child) continue;
      this.#init = Child.find(this.#kernel, Number(view.getBigInt64(report.value, true)));
    }
  }

  #failure({ offset, cursor }: Where, value: number): RuncError {
    const instruction = this.#encoded.instructionAt(offset, cursor);
    if (instruction === undefined) {
      return new RuncError("internal", `init failed at unknown instruction ${offset}: ${value}`);
    }
    const { op, step } = instruction;
    const error = op.op === "fail" ? this.#declared(op, step, value) : callFailure(instruction, value);
    this.#trace?.failed(error, step);
    return error;
  }

  #declared(op: FailOp, step: Step, value: number): RuncError {
    let message = op.why.replace("{}", String(value));
    if (message.includes("{wait}")) {
      const status: ExitStatus = (value & 0x7f) === 0 ? { code: (value >> 8) & 0xff } : { signal: value & 0x7f };
      message = message.replace("{wait}", `${statusText(status)}, ${this.#hooksSaid()}`);
    }
    const code = step.from.startsWith("/hooks")
      ? "hook-failed"
      : step.from.startsWith("/process/args")
      ? "command-failed"
      : "step-failed";
    return new RuncError(code, message, { field: step.from || undefined, step: step.label, hint: op.hint });
  }

  /** The output of the hooks in the container so far. */
  #hooksSaid(): string {
    const said = (fd: Fd | undefined) => fd === undefined ? "" : readMemfd(this.#kernel, fd, OUTPUT_LIMIT);
    return outputText(said(this.#hookOutput.stdout), said(this.#hookOutput.stderr));
  }

  #logHooks(): void {
    if (this.#hookOutput.stdout !== undefined) {
      this.#runtime.log("debug", `hooks in the container: ${this.#hooksSaid()}`);
    }
  }

  #warn({ offset, cursor }: Where, value: number): void {
    const op = this.#encoded.instructionAt(offset, cursor)?.op as WarnOp | undefined;
    if (op?.op !== "warn") return;
    this.#runtime.log("warning", value === 0 ? op.why : `${op.why}: ${errnoText(Math.abs(value))}`);
  }

  #died(): RuncError {
    const [who, status] = this.#init === undefined
      ? ["stage", waitChild(this.#kernel, this.stagePid)] as const
      : ["container init", this.#init.reap()] as const;
    if (this.#init === undefined) this.#stageReaped = true;
    const error = new RuncError("step-failed", deathText(who, status), { hint: deathHint(status) });
    this.#trace?.failed(error);
    return error;
  }

  /** Kills and reaps all started processes after a failure. */
  abort(): void {
    this.#trace?.failed("killed, as the operation has failed");
    this.#end(this.#helper);
    if (!this.#stageReaped) {
      using stage = Child.find(this.#kernel, this.stagePid);
      this.#end(stage);
      this.#stageReaped = true;
    }
    if (this.#init === undefined) this.#findInit();
    this.#end(this.#init);
  }

  [Symbol.dispose](): void {
    for (const message of this.#early) closeAll(message);
    this.#sync.close();
    this.#init?.[Symbol.dispose]();
    this.#helper?.[Symbol.dispose]();
    this.#hookOutput.stdout?.close();
    this.#hookOutput.stderr?.close();
  }
}

/** The interpreters die by these signals if exit_group(2) returns. */
const TRAPS: readonly number[] = [4, 5];

const isTrap = (status: ExitStatus | undefined): boolean =>
  status !== undefined && "signal" in status && TRAPS.includes(status.signal);

function deathHint(status: ExitStatus | undefined): string | undefined {
  if (!isTrap(status)) return undefined;
  return "linux.seccomp refuses exit_group: allow it and the other system calls that every program requires";
}

function deathText(who: string, status: ExitStatus | undefined): string {
  if (status !== undefined && "signal" in status && status.signal === 9) {
    return `${who} was killed: was it out of memory? (memory limit too low?)`;
  }
  return `${who} ended before it was ready: ${status === undefined ? "ended" : statusText(status)}`;
}

/** How often a wait checks whether the other process still exists. */
const LOOK_AGAIN_MS = 1000;
/** Time for a killed process to end. */
const END_LIMIT_MS = 5000;
/** Init sends only a few messages before it waits for the parent. */
const EARLY_LIMIT = 128;
/** A socket's buffer (net.core.wmem_default, 212,992 bytes) holds less than 300 messages. */
const QUEUE_LIMIT = 1024;
/** The plan's name for the process until it executes its program. */
const INIT_NAME = "runc:[2:INIT]";

const END: Packet = { bytes: alloc(0), fds: [], sender: 0, isCut: false };

function closeAll({ fds }: Packet): void {
  for (const fd of fds) fd.close();
}

function isError({ bytes }: Packet): boolean {
  return bytes[0] === MessageKind.error && bytes.length === report.size;
}

/** fcntl(2), include/uapi/linux/fcntl.h */
const F_DUPFD_CLOEXEC = 1030;

/** A copy of a descriptor with a number from `least` up. */
function duplicateFrom(kernel: Kernel, fd: Fd, least: number): Fd {
  const number = kernel.must(`fcntl(${fd.label}, F_DUPFD_CLOEXEC)`, "fcntl", fd.number, F_DUPFD_CLOEXEC, least);
  return new Fd(kernel, number, fd.label);
}

/**
 * Numbers for the fixed descriptors. They are above all used and inherited ones, so that no dup2 overwrites a source.
 */
function fixNumbers(
  sources: Readonly<Record<string, Fd>>,
  options: LaunchOptions,
): { numbers: Record<string, number>; spare: number } {
  const used = Object.values(sources).map((fd) => fd.number);
  // Plus two: the image gets the lowest free number, which is one above those in use unless another thread of Deno took
  // it.
  let next = Math.max(2 + options.inheritedFds, ...used, ...options.stdio) + 2;
  const numbers: Record<string, number> = {};
  numbers["last foreign"] = next - 1;
  for (const name of Object.keys(sources)) numbers[name] = next++;
  if (lacksMountCalls(options.refused)) { for (const name of mountDescriptors) numbers[name] = next++; }
  numbers["next foreign"] = next + 1;
  return { numbers, spare: next };
}

/** A process that waits should be small; a traced plan keeps its steps apart. */
function foldingOf({ waits }: LaunchOptions, trace: Runtime["trace"]): EncodeOptions["fold"] {
  if (trace !== undefined) return false;
  return waits || "large";
}

/** Marks all open descriptors from `first` up close-on-exec while `action` starts a child. */
function withForeignMarked<Result>(kernel: Kernel, first: number, action: () => Result): Result {
  const foreign = [...Deno.readDirSync("/proc/self/fd")].map(({ name }) => Number(name))
    .filter((number) => number >= first && isInherited(kernel, number));
  for (const number of foreign) setCloseOnExec(kernel, number, true);
  try {
    return action();
  } finally {
    for (const number of foreign) setCloseOnExec(kernel, number, false);
  }
}

/** Makes the stage's child execute this program again as `init`, with the image's descriptor. */
function withReexec(plan: Plan, runtime: Runtime, numbers: Readonly<Record<string, number>>): Plan {
  const { path, args } = runtime.reexec;
  const argv = [path, ...args, "init", String(numbers.image), String(numbers.proc)];
  // No file can be created below /proc. Deno then keeps its caches in memory, and the waiting process has no file of
  // the host open. DENO_LOG=off suppresses Deno's warning about it on a terminal.
  const env = ["DENO_DIR=/proc/none", "DENO_LOG=off", "DENO_NO_UPDATE_CHECK=1", "NO_COLOR=1", "PATH=/usr/bin:/bin"];
  const reexec = step("execute this program again as init", "", [
    call("execveat", [
      fixedFd("self"),
      "",
      stringPointers(argv, JSON.stringify(argv)),
      stringPointers(env, JSON.stringify(env)),
      AtFlag.AT_EMPTY_PATH,
    ]),
  ]);
  return { stage: [...plan.stage, reexec], init: plan.init };
}

function isCall(op: Instruction["op"]): op is CallOp {
  return op.op === "call";
}

/** The error for a failed system call, with the operation's own text for this errno if there is one. */
function callFailure({ op, step, code, args }: Instruction, errno: number): RuncError {
  const name = errnoName(errno) as keyof NonNullable<CallOp["meaning"]>;
  const meaning = isCall(op) ? op.meaning : undefined;
  const hint = isCall(op) ? op.hint : undefined;
  const call = isCall(op) ? formatCall(op.call, op.args) : `${code}(${args.length} arguments)`;
  const exact = meaning?.[name];
  const message = exact ??
    `${meaning?.["*"] ?? `cannot ${step.label}: ${isCall(op) ? op.call : code}`}: ${errnoText(errno)}`;
  return new RuncError(step.from.startsWith("/process/args") ? "command-failed" : "step-failed", message, {
    field: step.from || undefined,
    step: step.label,
    call,
    errno,
    errnoName: name,
    hint: hint?.[name] ?? hint?.["*"],
  });
}
