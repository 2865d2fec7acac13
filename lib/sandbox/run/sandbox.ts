/**
 * A sandbox: a container for programs that nobody has checked.
 *
 * @module
 */

import { oomKills } from "../../cgroups/stats/oom.ts";
import { RuncError } from "../../errors.ts";
import { Errno } from "../../ffi/errno.ts";
import { openFlag } from "../../ffi/constants.ts";
import { open } from "../../ffi/files.ts";
import { alloc, cString, type Kernel } from "../../ffi/kernel.ts";
import { parseDuration, parseSize } from "../config/units.ts";
import { SandboxFs } from "../files/sandbox_fs.ts";
import { InputPipe } from "../process/input_pipe.ts";
import { OutputPipe } from "../process/output_pipe.ts";
import { type ProcessPipes, SandboxProcess } from "../process/sandbox_process.ts";
import { ShellCommand } from "../shell/command.ts";
import { shellScript } from "../shell/script.ts";
import { checkPoolOptions, checkSandboxOptions, checkSpawnOptions } from "./check_options.ts";
import { endAtExit, forgetAtExit } from "./exit.ts";
import { launch, type LaunchedSandbox } from "./launch.ts";
import type { SandboxOptions, SandboxSpawnOptions } from "./options.ts";
import { SandboxPool, type SandboxPoolOptions } from "./pool.ts";
import { SandboxEnv } from "./sandbox_env.ts";
import { creationError, spawnedProcess, spawnError, stdioKinds } from "./spawning.ts";

/** What `output()` keeps by default. */
const MAX_OUTPUT = "16MiB";
/** SIGKILL */
const SIGKILL = 9;

/** Options that count from the beginning of a sandbox's use. */
interface SandboxUse {
  readonly maxOutputBytes: number;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** @throws {RuncError} `usage` */
function readUse(options: SandboxOptions): SandboxUse {
  const { maxOutput = MAX_OUTPUT, timeout, signal } = options;
  return {
    maxOutputBytes: parseSize("maxOutput", maxOutput),
    timeoutMs: timeout === undefined || timeout === "session" ? undefined : parseDuration("timeout", timeout),
    signal,
  };
}

async function launched(options: SandboxOptions): Promise<LaunchedSandbox> {
  try {
    return await launch(options);
  } catch (error) {
    throw creationError(error);
  }
}

/** A process that ends loses its namespaces before it can be waited for. */
const isEnding = (kernel: Kernel, pid: number): boolean =>
  kernel.call("readlink", cString(`/proc/${pid}/ns/ipc`), alloc(1), 1) === -Errno.ENOENT;

/**
 * A sandbox. `await using` closes it: its processes are ended, and nothing of it is left. The same happens when the
 * program ends in any way.
 */
export class Sandbox implements AsyncDisposable {
  readonly #launched: LaunchedSandbox;
  readonly #maxOutputBytes: number;
  readonly #processes = new Set<SandboxProcess>();
  /** Processes that are being started. */
  readonly #starting = new Set<Promise<unknown>>();
  readonly #whenClosed = Promise.withResolvers<void>();
  #signal?: AbortSignal;
  #timer?: ReturnType<typeof setTimeout>;
  #hasTimedOut = false;
  /** It is ending, but the kernel does not say so yet. */
  #wasEnded = false;
  #closing?: Promise<void>;
  readonly #onAbort = () => void this.close().catch(() => {});
  /** Reads and writes files in it, as its user. */
  readonly fs: SandboxFs;
  /** The environment of programs that are started from now on. */
  readonly env: SandboxEnv;

  private constructor(launched: LaunchedSandbox, maxOutputBytes: number) {
    this.#launched = launched;
    this.#maxOutputBytes = maxOutputBytes;
    this.env = new SandboxEnv(launched.recipe.process.env ?? []);
    this.fs = new SandboxFs(launched.runtime.kernel, (program, more) => this.spawn(program, more), maxOutputBytes);
    endAtExit(launched, () => [...this.#processes].map(({ pid }) => pid));
  }

  /**
   * Creates a sandbox. Its limits and what it can see are set before any program runs in it.
   *
   * @throws {RuncError} Nothing is left then. `usage` for a wrong option; `host-lacks` if the host cannot make it, or
   * with `requireLimits` cannot limit it.
   */
  static async create(options: SandboxOptions = {}): Promise<Sandbox> {
    const own = checkSandboxOptions(options);
    const use = readUse(own);
    own.signal?.throwIfAborted();
    const sandbox = new Sandbox(await launched(own), use.maxOutputBytes);
    sandbox.#begin(use);
    return sandbox;
  }

  /**
   * Keeps `size` sandboxes ready, so that a program can be started in one at once.
   *
   * ```ts
   * await using pool = Sandbox.pool({ size: 4, memory: "256MiB" });
   * await using sandbox = await pool.acquire();
   * ```
   *
   * @throws {RuncError} `usage` for wrong numbers, sizes and times. Other errors are those of `acquire()`.
   */
  static pool(options: SandboxPoolOptions): SandboxPool<Sandbox> {
    const { size, max, signal: ofAll, ...rest } = checkPoolOptions(options);
    const use = readUse(rest);
    ofAll?.throwIfAborted();
    const pool = new SandboxPool<Sandbox>({
      size,
      max,
      make: async (signal) => new Sandbox(await launched({ ...rest, signal }), use.maxOutputBytes),
      begin: (sandbox, { signal }) => {
        const signals = [ofAll, signal].filter((each) => each !== undefined);
        sandbox.#begin({
          timeoutMs: use.timeoutMs,
          signal: signals.length > 1 ? AbortSignal.any(signals) : signals[0],
        });
      },
    });
    ofAll?.addEventListener("abort", () => void pool.close().catch(() => {}), { once: true });
    return pool;
  }

  /** From now on it can time out, and be closed by a signal. */
  #begin({ timeoutMs, signal }: Pick<SandboxUse, "timeoutMs" | "signal">): void {
    this.#signal = signal;
    signal?.addEventListener("abort", this.#onAbort);
    if (timeoutMs !== undefined) this.#endAfter(timeoutMs);
    if (signal?.aborted) this.#onAbort();
  }

  #endAfter(timeoutMs: number): void {
    const timer = setTimeout(() => {
      this.#hasTimedOut = true;
      this.close().catch(() => {});
    }, timeoutMs);
    // A sandbox that nobody waits for does not keep the program alive.
    Deno.unrefTimer(timer);
    this.#timer = timer;
  }

  /** Its name: a random one. */
  get id(): string {
    return this.#launched.id;
  }

  /** The host pid of its first process. */
  get pid(): number {
    return this.#launched.first.pid;
  }

  /** Limits that were asked for, or are the default, and that the host cannot set. */
  get unlimited(): readonly ("memory" | "cpus" | "pids")[] {
    return this.#launched.recipe.unlimited;
  }

  /** The entry point and the command of its image: a program and its arguments. Empty without an image. */
  get command(): readonly string[] {
    return this.#launched.recipe.command;
  }

  /** Whether it is closed, or is being closed. */
  get closed(): boolean {
    return this.#closing !== undefined;
  }

  /**
   * Starts a program.
   *
   * @param program A path, or a name that is looked up in the sandbox's PATH.
   * @throws {RuncError} `command-failed` if it does not exist or cannot be executed; `container-state` if the sandbox is
   * closed.
   */
  async spawn(program: string | URL, options: SandboxSpawnOptions = {}): Promise<SandboxProcess> {
    const starting = this.#spawn(program, options);
    this.#starting.add(starting);
    try {
      return await starting;
    } finally {
      this.#starting.delete(starting);
    }
  }

  async #spawn(program: string | URL, options: SandboxSpawnOptions): Promise<SandboxProcess> {
    checkSpawnOptions(program, options);
    const timeoutMs = options.timeout === undefined ? undefined : parseDuration("timeout", options.timeout);
    const kinds = stdioKinds(options);
    options.signal?.throwIfAborted();
    this.#refuseClosed();
    const { container, runtime: { kernel }, recipe: { seccomp, process, images } } = this.#launched;
    const wanted = spawnedProcess({ ...process, env: this.env.variables }, program, options);
    using nowhere = open(kernel, "/dev/null", openFlag(kernel.arch).O_RDWR);
    const pipes: ProcessPipes = {
      stdin: kinds.stdin === "null" ? undefined : new InputPipe(kernel),
      stdout: kinds.stdout === "null" ? undefined : new OutputPipe(kernel, "stdout"),
      stderr: kinds.stderr === "null" ? undefined : new OutputPipe(kernel, "stderr"),
    };
    const their = (pipe: InputPipe | OutputPipe | undefined) => pipe?.theirs ?? nowhere.number;
    try {
      const started = await container.exec({
        process: wanted,
        seccomp,
        images,
        stdio: [their(pipes.stdin), their(pipes.stdout), their(pipes.stderr)],
        signal: options.signal,
      });
      return this.#watch(
        new SandboxProcess({
          kernel,
          process: started,
          pipes,
          inherited: (["stdout", "stderr"] as const).filter((name) => kinds[name] === "inherit"),
          maxOutputBytes: this.#maxOutputBytes,
          oomKills: () => this.#oomKills(),
          hasTimedOut: () => this.#hasTimedOut,
        }),
        { timeoutMs, signal: options.signal },
      );
    } catch (error) {
      for (const pipe of [pipes.stdin, pipes.stdout, pipes.stderr]) pipe?.[Symbol.dispose]();
      if (!this.hasEnded && isEnding(kernel, this.pid)) this.#wasEnded = true;
      this.#refuseClosed(error);
      throw spawnError(error, wanted.cwd);
    }
  }

  #refuseClosed(cause?: unknown): void {
    if (!this.hasEnded) return;
    const why = this.#hasTimedOut ? "has reached its timeout" : this.closed ? "is closed" : "was ended";
    throw new RuncError("container-state", `the sandbox ${why}`, { cause });
  }

  #watch(
    process: SandboxProcess,
    { timeoutMs, signal }: { timeoutMs?: number; signal?: AbortSignal },
  ): SandboxProcess {
    this.#processes.add(process);
    const timer = timeoutMs === undefined ? undefined : setTimeout(() => process.end({ timedOut: true }), timeoutMs);
    const onAbort = () => process.end();
    signal?.addEventListener("abort", onAbort);
    if (signal?.aborted || this.#closing !== undefined) process.end();
    const ended = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
      this.#processes.delete(process);
    };
    process.status.then(ended, ended);
    return process;
  }

  #oomKills(): number {
    const { "": unified, memory } = this.#launched.container.cgroupPaths;
    if (memory !== undefined) return oomKills(memory, "memory.oom_control");
    return unified === undefined ? 0 : oomKills(unified, "memory.events");
  }

  /**
   * Runs a shell script in it. Values are escaped: each is one word, an array one word for each element.
   *
   * ```ts
   * const text = await sandbox.sh`ls -l ${directory}`.text();
   * ```
   */
  sh(strings: TemplateStringsArray, ...values: readonly unknown[]): ShellCommand {
    const { args } = shellScript(strings, values);
    return new ShellCommand((options) => this.spawn("sh", { ...options, args }));
  }

  /** Whether its first process has ended, and all others with it. */
  get hasEnded(): boolean {
    return this.closed || this.#wasEnded || this.#launched.first.hasEnded;
  }

  /** Settled when it is closed and removed, or could not be removed. */
  get whenClosed(): Promise<void> {
    return this.#whenClosed.promise;
  }

  /** Ends all its processes at once. {@link close} removes the rest. */
  kill(): void {
    this.#wasEnded = true;
    this.#launched.first.signal(SIGKILL);
  }

  /** Ends all its processes, waits for their end, and removes it. Further calls wait for the same. */
  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  async #close(): Promise<void> {
    const { first, container, lifeline } = this.#launched;
    clearTimeout(this.#timer);
    this.#signal?.removeEventListener("abort", this.#onAbort);
    try {
      this.kill();
      // The kernel ends process 1 only when all others are reaped: they are, at the same time.
      await Promise.allSettled([first.wait(), ...this.#starting]);
      await Promise.allSettled([...this.#processes].map(({ status }) => status));
      await container.destroy();
    } finally {
      first[Symbol.dispose]();
      lifeline.close();
      forgetAtExit(this.#launched);
      this.#whenClosed.resolve();
    }
  }

  /** As {@link close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
