/**
 * `--seccomp-audit`: the container's filter asks this process about each system call, which lets it go on and notes it.
 *
 * The command itself is carried out by a second runtime, which replaces itself by the container's monitor. For a
 * container that runs on without its command, a third process is the auditor:
 *
 *     run                      run --detach, create
 *     auditor                  command
 *       | spawns                 | spawns, waits until the container is there
 *       runtime, then monitor    auditor, which stays as long as the container
 *                                  | spawns
 *                                  runtime
 *
 * @module
 */

import { basename, dirname, resolve } from "../../std/path.ts";
import { RuncError } from "../../errors.ts";
import { endTimeout, OtherProcess, watchEnd } from "../../ffi/ending.ts";
import { raiseEventfd } from "../../ffi/event_fds.ts";
import { Fd } from "../../ffi/fd.ts";
import { openFlag } from "../../ffi/constants.ts";
import { open, setCloseOnExec } from "../../ffi/files.ts";
import { type Kernel, syscallError } from "../../ffi/kernel.ts";
import { Libseccomp } from "../../ffi/libraries/libseccomp.ts";
import { poll, POLLIN } from "../../ffi/poll.ts";
import { processEnvironment, shellStatus, spawn, waitChild } from "../../ffi/process/process.ts";
import { supportsSeccompFlags } from "../../ffi/process/seccomp.ts";
import { SignalPipe } from "../../ffi/process/signals.ts";
import { packetPair } from "../../ffi/sockets.ts";
import { isTerminal } from "../../ffi/terminal.ts";
import { seccompAgent, seccompWords } from "../../libcontainer/config/validate/seccomp.ts";
import { readConfig } from "../../libcontainer/container/bundle.ts";
import type { Runtime } from "../../libcontainer/runtime.ts";
import { imagePath } from "../../libcontainer/launch/self.ts";
import { receiveListener, serveNext } from "../../libcontainer/seccomp/audit/auditor.ts";
import { auditArchOf, auditFilter, unasked } from "../../libcontainer/seccomp/audit/filter.ts";
import { Recording } from "../../libcontainer/seccomp/audit/recording.ts";
import { auditReport } from "../../libcontainer/seccomp/audit/report.ts";
import { hasSeccomp, type SeccompFilter } from "../../libcontainer/seccomp/filter.ts";
import { toProfile } from "../../libcontainer/seccomp/profile.ts";
import { compileSeccomp } from "../../libcontainer/seccomp/seccomp.ts";
import type { Config } from "../../specs/config.ts";
import { configError } from "../../specs/problem.ts";
import { exactInteger } from "../../specs/json.ts";
import { parseAuditor } from "./option.ts";
import type { Context } from "../context.ts";
import { writeAll } from "../log.ts";
import type { Invocation } from "../parse.ts";
import { inheritedDescriptors } from "../process_io.ts";
import { makeRuntime } from "../runtime.ts";
import { delegate } from "../supervisor.ts";
import { withSystemErrors } from "../system_error.ts";
import type { createOptions, OptionValues } from "../table.ts";

type Options = OptionValues<typeof createOptions> & { readonly detach?: boolean };

/** Whether this command line needs an auditor, and has none yet. */
export function isAudited({ options, global }: Invocation): boolean {
  return (options as Partial<Options>)["seccomp-audit"] !== undefined && global.auditor === undefined;
}

/** Carries the command line out with an auditor. Returns its exit status. */
export function audit(context: Context, invocation: Invocation): number {
  const options = invocation.options as unknown as Options;
  if (context.global.init === "deno") {
    throw new RuncError("usage", "--seccomp-audit needs --init=native", {
      hint: "the program that --init=deno starts makes many system calls of its own before anybody answers",
    });
  }
  const runsOn = invocation.command === "create" || options.detach === true;
  if (runsOn && context.global.auditing === undefined) return delegate(context, invocation, "--auditing");
  using output = new ReportFile(resolve(options["seccomp-audit"]!));
  return new Auditor(context, invocation.args[0] ?? "", options).run(output);
}

/** The filter of the container: the auditor's, or the config's. */
export function filterFor({ global }: Pick<Context, "global">, runtime: Runtime, config: Config) {
  const { kernel } = runtime;
  if (global.auditor === undefined) return compileSeccomp(runtime, config);
  const { fd } = parseAuditor(global.auditor);
  // The container must not inherit it.
  setCloseOnExec(kernel, fd, true);
  return auditingFilter(runtime, config, new Fd(kernel, fd, "auditor"));
}

/** The filter of an audited container. Without `auditor`, for a plan that is only shown. */
export function auditingFilter({ kernel }: Pick<Runtime, "kernel">, config: Config, auditor?: Fd): SeccompFilter {
  return auditFilter({
    arch: kernel.arch,
    profile: hasSeccomp(config) ? toProfile(config.linux!.seccomp!) : undefined,
    auditor,
    waitsKillable: supportsSeccompFlags(kernel, ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]),
  });
}

/**
 * The file of the report: made at first, so that no container starts in vain, and renamed when it is complete. The
 * directory may be one that the container can change: nothing is opened a second time.
 */
class ReportFile implements Disposable {
  readonly #path: string;
  readonly #temporary: string;
  readonly #file: Deno.FsFile;

  /** @throws {RuncError} if it cannot be made. */
  constructor(path: string) {
    this.#path = path;
    this.#temporary = `${dirname(path)}/.${basename(path)}.part`;
    removeIfThere(this.#temporary);
    // O_EXCL: follows no symlink.
    const options = { write: true, createNew: true, mode: 0o644 };
    this.#file = withSystemErrors(`open ${this.#temporary}`, () => Deno.openSync(this.#temporary, options));
  }

  write(text: string): void {
    withSystemErrors(`write ${this.#temporary}`, () => writeAll(this.#file, text));
    withSystemErrors(`rename ${this.#temporary} ${this.#path}`, () => Deno.renameSync(this.#temporary, this.#path));
  }

  /** It has its name by then, or nobody wants it. */
  [Symbol.dispose](): void {
    this.#file.close();
    removeIfThere(this.#temporary);
  }
}

function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path);
  } catch {
    // Creating it says what is wrong.
  }
}

/** Signals that the kernel sends to all processes of a terminal's foreground: the container's monitor has them too. */
const terminalSignals: readonly number[] = [2, 3, 20, 28];
/** SIGCHLD, SIGTERM. */
const CHILD = 17, TERMINATE = 15;

class Auditor {
  readonly #context: Context;
  readonly #kernel: Kernel;
  readonly #runtime: Runtime;
  readonly #id: string;
  readonly #library: Libseccomp;
  /** The config's. */
  readonly #filter: SeccompFilter | undefined;
  readonly #recording: Recording;
  /** The process that the caller knows. */
  readonly #called: number;
  /** Tells the command that the container is there. */
  readonly #started: Fd | undefined;

  /** Reads the config. @throws {RuncError} */
  constructor(context: Context, id: string, options: Options) {
    const { kernel, global } = context;
    this.#context = context;
    this.#kernel = kernel;
    this.#id = id;
    this.#runtime = makeRuntime(context);
    if (global.auditing !== undefined) {
      setCloseOnExec(kernel, global.auditing, true);
      this.#started = new Fd(kernel, global.auditing, "auditor's start");
    }
    this.#called = this.#started === undefined ? kernel.pid : kernel.call("getppid");
    // The socket must not pass for one of them.
    inheritedDescriptors(kernel, options["preserve-fds"], context.environment, this.#called);
    const config = readConfig(resolve(options.bundle ?? "."), this.#runtime.log);
    const problems = [...seccompWords(config), ...seccompAgent(config)];
    if (problems.length > 0) throw configError(problems);
    this.#filter = compileSeccomp(this.#runtime, config);
    this.#library = new Libseccomp(kernel);
    this.#recording = new Recording({
      filter: this.#filter,
      numberOf: (name, arch) => this.#library.resolve(name, arch),
      programOf,
    });
  }

  /** Returns the command's exit status. @throws {RuncError} */
  run(output: ReportFile): number {
    const [ours, theirs] = packetPair(this.#kernel, "auditor");
    using socket = ours;
    // From here on, a signal must not end this process: the container's calls would fail with ENOSYS.
    using signals = new SignalPipe(this.#kernel);
    const pid = this.#spawn(theirs);
    theirs.close();
    // Our child: not reaped yet, so it exists.
    using runtime = OtherProcess.find(this.#kernel, pid)!;
    try {
      const { status, hasListened } = this.#serve({ pid, runtime, socket, signals });
      if (hasListened) output.write(this.#report());
      return status;
    } catch (error) {
      // Nobody answers the container any more.
      runtime.signal(TERMINATE);
      throw error;
    }
  }

  #spawn(theirs: Fd): number {
    const { path, args } = this.#runtime.reexec;
    const { words } = this.#context;
    // Those of the command, without our own.
    const own = this.#started === undefined ? words : words.slice(2);
    const pid = spawn(this.#kernel, {
      path: imagePath(path),
      argv: [path, ...args, "--auditor", `${theirs.number},${this.#called}`, ...own],
      env: processEnvironment(this.#kernel),
      fds: [{ to: theirs.number, from: theirs.number }],
      softFileLimit: this.#runtime.softFileLimit,
    });
    if (pid < 0) throw syscallError(`posix_spawn(${JSON.stringify(path)})`, -pid);
    return pid;
  }

  /** Answers until the runtime, or the monitor that it becomes, and all processes with the filter have ended. */
  #serve(
    { pid, runtime, socket, signals }: { pid: number; runtime: OtherProcess; socket: Fd; signals: SignalPipe },
  ): { readonly status: number; readonly hasListened: boolean } {
    let status: number | undefined;
    let hasListened = false;
    let isAwaited = true;
    let listener: Fd | undefined;
    try {
      while (status === undefined || listener !== undefined) {
        const [hasMessage = 0, question = 0, , hasSignal = 0] = poll(this.#kernel, [
          { fd: isAwaited ? socket.number : -1, events: POLLIN },
          { fd: listener?.number ?? -1, events: POLLIN },
          status === undefined ? watchEnd(runtime) : { fd: -1, events: 0 },
          { fd: signals.fd, events: POLLIN },
        ], status === undefined ? endTimeout(runtime, -1) : -1);
        if ((question & POLLIN) !== 0) serveNext(this.#kernel, listener!, this.#recording);
        else if (question !== 0) {
          listener!.close();
          listener = undefined;
        }
        if (hasMessage !== 0) {
          listener = receiveListener(this.#kernel, socket);
          isAwaited = false;
          hasListened ||= listener !== undefined;
        }
        if (hasSignal !== 0) this.#forward(signals, status === undefined ? runtime : undefined);
        // A listener that was sent before the end is taken first.
        if (status === undefined && !isAwaited && runtime.hasEnded) status = this.#ended(pid);
      }
    } finally {
      listener?.close();
    }
    return { status, hasListened };
  }

  #ended(pid: number): number {
    const status = shellStatus(waitChild(this.#kernel, pid) ?? { code: 1 });
    if (status === 0 && this.#started !== undefined) this.#leave(this.#started);
    return status;
  }

  /** The container is there: the command returns, and nothing of its caller's may be kept. */
  #leave(started: Fd): void {
    const kernel = this.#kernel;
    kernel.call("setsid");
    Deno.chdir("/");
    const { O_RDWR } = openFlag(kernel.arch);
    using nothing = open(kernel, "/dev/null", O_RDWR);
    for (const fd of [0, 1, 2]) kernel.call("dup2", nothing.number, fd);
    raiseEventfd(kernel, started);
  }

  /** After the command's end, nobody is left to forward a signal to. */
  #forward(signals: SignalPipe, to: OtherProcess | undefined): void {
    const isOfTerminal = [0, 1, 2].some((fd) => isTerminal(this.#kernel, fd));
    for (const signal of signals.take()) {
      if (signal === CHILD || (isOfTerminal && terminalSignals.includes(signal))) continue;
      to?.signal(signal);
    }
  }

  #report(): string {
    const nativeArch = auditArchOf[this.#kernel.arch];
    const report = auditReport({
      id: this.#id,
      records: this.#recording.records,
      unrecorded: this.#recording.unrecorded,
      unasked,
      filter: this.#filter,
      nativeArch,
      numberOf: (name, arch) => this.#library.resolve(name, arch),
      nameOf: (number, arch) => this.#library.nameOf(number, arch),
    });
    return JSON.stringify(report, exactInteger, 2) + "\n";
  }
}

/** The name that a process has given itself. Empty if it has ended. */
function programOf(pid: number): string {
  try {
    return Deno.readTextFileSync(`/proc/${pid}/comm`).trimEnd();
  } catch {
    return "";
  }
}
