/**
 * Carries a plan out: encodes it, starts the stage, and speaks with stage and init until the process is ready. Runs in: parent.
 *
 * @module
 */

import { RuncError } from "../errors.ts";
import { errnoName, errnoText } from "../ffi/errno.ts";
import { Fd } from "../ffi/fd.ts";
import { executable, isInherited, openPath, readMemfd, setCloseOnExec } from "../ffi/files.ts";
import { alloc, type Kernel, syscallError } from "../ffi/kernel.ts";
import { type ExitStatus, kill, spawn, waitChild } from "../ffi/process.ts";
import { type Message, packetPair, receive, receiveIfThere, send, sendFd } from "../ffi/sockets.ts";
import { call, fixedFd, step, stringPointers } from "../plan/build.ts";
import { formatCall } from "../plan/explain.ts";
import type { Instruction } from "../plan/lower.ts";
import { encode, type Encoded } from "../plan/native/encode.ts";
import { report } from "../plan/native/format.ts";
import type { CallOp, FailOp, Plan, Step, WarnOp } from "../plan/op.ts";
import { inSpan } from "../trace/tracer.ts";
import { AtFlag } from "../ffi/constants.ts";
import { OUTPUT_LIMIT, outputText, statusText } from "./host_hooks.ts";
import type { HostFacts } from "./launch_request.ts";
import { lacksMountCalls, mountDescriptors } from "./old_mounts.ts";
import { withoutRefused } from "./outer_sandbox.ts";
import { HOME_LIMIT, MESSAGE_SIZE, MessageKind, PASSWD_CHUNK } from "./protocol.ts";
import type { Runtime } from "./runtime.ts";
import type { LaunchTrace } from "./runtime_trace.ts";
import { sealedSelf } from "./self.ts";

/** What a launch is given. */
export interface LaunchOptions {
  readonly plan: Plan;
  /** stdin, stdout, stderr of the process. */
  readonly stdio: readonly [number, number, number];
  /**
   * The plan's fixed descriptors by name; `sync` and `proc` are added here. Closed by the caller, but for `hook-stdout` and `hook-stderr`,
   * which the launch takes over.
   */
  readonly fds: Readonly<Record<string, Fd>>;
  /** Descriptors from 3 up that the process inherits as they are. */
  readonly inheritedFds: number;
  /** The process is to wait, and to be small meanwhile. */
  readonly waits: boolean;
  /** System calls that a sandbox around this runtime refuses. */
  readonly refused?: HostFacts["refused"];
}

/** What stage and init say, in order. */
export type Said =
  | { readonly kind: "mapping" | "network" | "hooks" | "ready" | "created" }
  | { readonly kind: "child"; readonly pid: number }
  /** `result`: 0 or −errno. */
  | { readonly kind: "copied"; readonly result: number }
  /** `fd`: number of the seccomp listener in init. */
  | { readonly kind: "seccomp"; readonly fd: number }
  /** The place of a mount is to be made in `root`. */
  | { readonly kind: "target"; readonly mount: number; readonly isFile: boolean; readonly root: Fd }
  /** What is in `from` is to be copied into `to`. */
  | { readonly kind: "copyUp"; readonly mount: number; readonly from: Fd; readonly to: Fd };

/** Where in the plan a report comes from. */
interface Where {
  readonly offset: number;
  readonly cursor: bigint;
}

/** A message that is no report has no cursor. */
function whereOf(view: DataView): Where {
  const cursor = view.byteLength >= report.size ? view.getBigUint64(report.cursor, true) : 0n;
  return { offset: view.getUint32(report.instruction, true), cursor };
}

/** More than any container's is known to have; a rootfs must not make the parent read without end. */
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
  /** Host pid of init; 0 before the stage has told. */
  initPid = 0;
  /** Host pid of the helper that opens sources of mounts; 0 where there is none. */
  #helperPid = 0;
  /** /etc/passwd of the container, in pieces: a letter may begin in one and end in the next. */
  readonly #passwd: Uint8Array<ArrayBuffer>[] = [];
  #passwdLength = 0;
  /** Messages of init that came before the stage had told its pid. */
  readonly #early: Message[] = [];

  /** Starts the stage. It, or init, waits for {@link go}. @throws {RuncError} where it cannot be started. */
  constructor(runtime: Runtime, options: LaunchOptions) {
    const { kernel, trace } = runtime;
    this.#runtime = runtime;
    this.#kernel = kernel;
    this.#hookOutput = { stdout: options.fds["hook-stdout"], stderr: options.fds["hook-stderr"] };
    const [ours, theirs] = packetPair(kernel, "sync");
    this.#sync = ours;
    using child = theirs;
    using proc = openPath(kernel, "/proc");
    using self = runtime.executor === "deno" ? sealedSelf(runtime) : undefined;
    try {
      const sources: Record<string, Fd> = { ...options.fds, sync: child, proc };
      if (self !== undefined) sources.self = self;
      const { numbers, spare } = fixNumbers(sources, options);
      // The other executor reads the image that the stage runs from.
      if (self !== undefined) numbers.image = spare;
      const plan = self === undefined
        ? options.plan
        : withoutRefused(withReexec(options.plan, runtime, numbers), options.refused, kernel.arch);
      const launched = { plan, numbered: options.plan, executor: runtime.executor };
      this.#trace = inSpan(trace, "put marks into the plan", () => trace?.steps(launched));
      const how = { arch: kernel.arch, fds: numbers, fold: options.waits && trace === undefined };
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
      // The stage closes what was left open by mistake, but for that it needs close_range(2).
      const startAlone = () => withForeignMarked(kernel, 3 + options.inheritedFds, start);
      this.stagePid = inSpan(trace, "start the stage", options.refused?.has("close_range") ? startAlone : start);
      this.#trace?.started("stage", this.stagePid);
    } catch (error) {
      ours.close();
      throw error;
    }
  }

  /** runc's tests look for one of its ways to keep a container away from its binary by these words. */
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
    // The words of runc's own debug log, which its callers' tests look for: here the stage is nsexec's place.
    this.#runtime.log("debug", `nsexec container setup: stage is process ${pid}`);
    if (pid < 0) {
      throw syscallError(
        "posix_spawn of the container's init",
        -pid,
        pid === -2 ? "/proc must be mounted" : undefined,
      );
    }
    return pid;
  }

  /** Lets stage or init go on. `home`: the HOME that it asked for. */
  go(home = ""): void {
    const text = new TextEncoder().encode(home + "\0");
    if (text.length > HOME_LIMIT) {
      throw new RuncError("unsupported", "the user's home directory is longer than 4095 bytes");
    }
    const bytes = alloc(text.length);
    bytes.set(text);
    // EPIPE: it is gone; the next `next` tells why.
    send(this.#kernel, this.#sync.number, bytes);
  }

  /** Has init, which asked for `copyUp`, copy a file's content: what that takes is then the container's. Returns 0 or −errno. @throws {RuncError} */
  fill(from: Fd, to: Fd): number {
    sendFd(this.#kernel, this.#sync, alloc(1).fill(1), from.number, to.number);
    const said = this.next();
    if (said.kind !== "copied") throw new RuncError("internal", `init copied nothing and said ${said.kind}`);
    return said.result;
  }

  /** /etc/passwd of the container, as far as init sent it. */
  get passwd(): string {
    const decoder = new TextDecoder();
    return this.#passwd.map((piece) => decoder.decode(piece, { stream: true })).join("") + decoder.decode();
  }

  /**
   * Waits for the next thing that stage or init says.
   *
   * @throws {RuncError} `step-failed` for a failed step with all that is known about it, or where the process died.
   */
  next(): Said {
    return inSpan(this.#runtime.trace, "wait for stage and init", (span) => {
      const said = this.#next();
      span?.rename(`wait for ${said.kind === "mapping" || said.kind === "child" ? "stage" : "init"}: ${said.kind}`);
      return said;
    });
  }

  /**
   * As {@link next}, of an init that closes the socket instead of a last word: undefined then. Where it has died that is known by its status.
   *
   * @throws {RuncError} for a failed step.
   */
  nextUntilClosed(): Said | undefined {
    return inSpan(this.#runtime.trace, "wait for init", () => this.#next({ closes: true }));
  }

  #next(): Said;
  #next(how: { closes: boolean }): Said | undefined;
  #next({ closes } = { closes: false }): Said | undefined {
    for (;;) {
      const { bytes, fds } = this.#nextMessage();
      if (bytes.length === 0) {
        if (closes) return undefined;
        throw this.#died();
      }
      if (bytes.length < MESSAGE_SIZE) throw new RuncError("internal", "init sent a message that is too short");
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
      const kind = view.getUint32(0, true);
      const value = Number(view.getBigInt64(report.value, true));
      const said = this.#understand(
        kind,
        whereOf(view),
        value,
        bytes.subarray(MESSAGE_SIZE),
        fds,
      );
      if (said !== undefined) return said;
      for (const fd of fds) fd.close();
    }
  }

  #receive(): Message {
    for (;;) {
      const message = receive(this.#kernel, this.#sync, MESSAGE_SIZE + PASSWD_CHUNK, 2);
      if (!this.#trace?.take(message.bytes)) return message;
    }
  }

  /** Init may speak before its stage has told who it is: then the stage's word, its last, is taken first. */
  #nextMessage(): Message {
    if (this.initPid !== 0) return this.#early.shift() ?? this.#receive();
    for (;;) {
      const message = this.#receive();
      if (!isFromInit(message.bytes)) return message;
      this.#early.push(message);
    }
  }

  /**
   * Lets init, which waits for nothing else, become its program: the socket closes when it does. `onListener`: is called where it has loaded a
   * filter with an agent, with the listener's number in init.
   *
   * @throws {RuncError} for a filter that cannot be loaded, and for a startContainer hook that failed.
   */
  goToExec(onListener: (fd: number) => void): void {
    inSpan(this.#runtime.trace, "wait for init: it has become its program", () => this.#goToExec(onListener));
  }

  #goToExec(onListener: (fd: number) => void): void {
    this.go();
    while (true) {
      const { bytes } = this.#receive();
      if (bytes.length < MESSAGE_SIZE) {
        this.#trace?.ended();
        return this.#logHooks();
      }
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
      const value = Number(view.getBigInt64(report.value, true));
      const said = this.#understand(view.getUint32(0, true), whereOf(view), value, alloc(0), []);
      if (said?.kind === "seccomp") onListener(said.fd);
    }
  }

  #understand(
    kind: number,
    where: Where,
    value: number,
    rest: Uint8Array<ArrayBuffer>,
    fds: readonly Fd[],
  ): Said | undefined {
    switch (kind) {
      case MessageKind.error:
        if (this.initPid === 0) {
          this.#findInit(() => this.#receive());
          this.#trace?.started("init", this.initPid);
        }
        throw this.#failure(where, value);
      case MessageKind.warning:
        this.#warn(where, value);
        return undefined;
      case MessageKind.child:
        this.#runtime.log("debug", `child process in init(): ${value}`);
        this.initPid = value;
        this.#trace?.started("init", value);
        waitChild(this.#kernel, this.stagePid);
        this.#stageReaped = true;
        return { kind: "child", pid: value };
      case MessageKind.helper:
        this.#helperPid = value;
        this.#trace?.started("helper", value);
        return undefined;
      case MessageKind.passwd:
        this.#passwdLength += rest.length;
        if (this.#passwdLength > PASSWD_LIMIT) throw new RuncError("unsupported", "/etc/passwd is over 16 MiB");
        this.#passwd.push(rest);
        return undefined;
      case MessageKind.target:
      case MessageKind.copyUp:
        return withFds(kind, value, fds);
      case MessageKind.copied:
        return { kind: "copied", result: value };
      case MessageKind.mapping:
        return { kind: "mapping" };
      case MessageKind.network:
        return { kind: "network" };
      case MessageKind.hooks:
        this.#reapHelper();
        return { kind: "hooks" };
      case MessageKind.ready:
        this.#reapHelper();
        return { kind: "ready" };
      case MessageKind.seccomp:
        return { kind: "seccomp", fd: value };
      case MessageKind.created:
        this.#logHooks();
        return { kind: "created" };
      default:
        throw new RuncError("internal", `init sent a message of unknown kind ${kind}`);
    }
  }

  /** All mounts are done: it leaves by itself. */
  #reapHelper(): void {
    if (this.#helperPid !== 0) waitChild(this.#kernel, this.#helperPid);
    this.#helperPid = 0;
  }

  /** The stage's last word, who init is, may be among what nobody has read yet: then there is an init to reap. */
  #findInit(next: () => Message | undefined): void {
    for (let message = next(); message !== undefined && message.bytes.length >= MESSAGE_SIZE; message = next()) {
      for (const fd of message.fds) fd.close();
      const view = new DataView(message.bytes.buffer, message.bytes.byteOffset, message.bytes.length);
      if (view.getUint32(0, true) === MessageKind.child) this.initPid = Number(view.getBigInt64(report.value, true));
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

  /** What the hooks that ran in the container have printed so far. */
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
    const [pid, who] = this.initPid === 0 ? [this.stagePid, "stage"] : [this.initPid, "container init"];
    const status = waitChild(this.#kernel, pid);
    if (pid === this.stagePid) this.#stageReaped = true;
    else this.initPid = 0;
    const error = new RuncError("step-failed", deathText(who, status));
    this.#trace?.failed(error);
    return error;
  }

  /** Ends whatever was started and reaps it: after a failure. */
  abort(): void {
    this.#trace?.failed("killed, as the operation has failed");
    for (const pid of [this.#helperPid, this.#stageReaped ? 0 : this.stagePid]) this.#end(pid);
    // Without waiting: an init that lives keeps the socket open.
    if (this.initPid === 0) {
      this.#findInit(() => receiveIfThere(this.#kernel, this.#sync, MESSAGE_SIZE + PASSWD_CHUNK));
    }
    this.#end(this.initPid);
    this.initPid = 0;
    this.#helperPid = 0;
    this.#stageReaped = true;
  }

  #end(pid: number): void {
    if (pid <= 0) return;
    kill(this.#kernel, pid, 9);
    waitChild(this.#kernel, pid);
  }

  [Symbol.dispose](): void {
    this.#sync.close();
    this.#hookOutput.stdout?.close();
    this.#hookOutput.stderr?.close();
  }
}

function deathText(who: string, status: ExitStatus | undefined): string {
  if (status !== undefined && "signal" in status && status.signal === 9) {
    return `${who} was killed: was it out of memory? (memory limit too low?)`;
  }
  return `${who} ended before it was ready: ${status === undefined ? "ended" : statusText(status)}`;
}

/** Whether only init sends such a message: it sends none before it is forked. */
function isFromInit(bytes: Uint8Array<ArrayBuffer>): boolean {
  if (bytes.length < MESSAGE_SIZE) return false;
  const kind = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  const { network, hooks, passwd, ready, target, copyUp } = MessageKind;
  return kind === network || kind === hooks || kind === passwd || kind === ready || kind === target || kind === copyUp;
}

/** A wish of init that comes with descriptors. The low half of its value is the number of the mount. */
function withFds(kind: number, value: number, fds: readonly Fd[]): Said {
  const [first, second] = fds;
  if (first === undefined) throw new RuncError("internal", "init sent a message without its descriptors");
  const mount = value % 0x100000000;
  if (kind === MessageKind.target) {
    second?.close();
    return { kind: "target", mount, isFile: value >= 0x100000000, root: first };
  }
  if (second === undefined) throw new RuncError("internal", "init sent a message with one descriptor instead of two");
  return { kind: "copyUp", mount, from: first, to: second };
}

/** fcntl(2), include/uapi/linux/fcntl.h */
const F_DUPFD_CLOEXEC = 1030;

/** A copy of a descriptor with a number from `least` up. */
function duplicateFrom(kernel: Kernel, fd: Fd, least: number): Fd {
  const number = kernel.must(`fcntl(${fd.label}, F_DUPFD_CLOEXEC)`, "fcntl", fd.number, F_DUPFD_CLOEXEC, least);
  return new Fd(kernel, number, fd.label);
}

/** Numbers for the fixed descriptors: above all that are in use and all that are inherited, so that no dup2 hits a source. */
function fixNumbers(
  sources: Readonly<Record<string, Fd>>,
  options: LaunchOptions,
): { numbers: Record<string, number>; spare: number } {
  const used = Object.values(sources).map((fd) => fd.number);
  // Two more: the image gets the lowest free number, which is one above those in use unless another thread of Deno was faster.
  let next = Math.max(2 + options.inheritedFds, ...used, ...options.stdio) + 2;
  const numbers: Record<string, number> = {};
  numbers["last foreign"] = next - 1;
  for (const name of Object.keys(sources)) numbers[name] = next++;
  if (lacksMountCalls(options.refused)) { for (const name of mountDescriptors) numbers[name] = next++; }
  numbers["next foreign"] = next + 1;
  return { numbers, spare: next };
}

/** Marks all that is open from `first` on close-on-exec while `action` starts a child. */
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

/** The stage's child becomes this program again, as `init`, and finds the image by its descriptor. */
function withReexec(plan: Plan, runtime: Runtime, numbers: Readonly<Record<string, number>>): Plan {
  const { path, args } = runtime.reexec;
  const argv = [path, ...args, "init", String(numbers.image), String(numbers.proc)];
  // Nothing can be made below /proc: Deno then keeps its caches in memory, and no file of the host open in the waiting process. It would
  // complain of that on a terminal.
  const env = ["DENO_DIR=/proc/none", "DENO_LOG=off", "DENO_NO_UPDATE_CHECK=1", "NO_COLOR=1", "PATH=/usr/bin:/bin"];
  const reexec = step("start this program again as init", "", [
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

/** A system call's failure, told with the words that its op brings for this errno. */
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
