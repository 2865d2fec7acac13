/**
 * A process in a sandbox, with the shape of Deno.ChildProcess.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { signalNames } from "../../ffi/constants.ts";
import type { Kernel } from "../../ffi/kernel.ts";
import { Hold } from "../../ffi/poller.ts";
import { type ExitStatus, shellStatus } from "../../ffi/process/process.ts";
import type { ContainerProcess } from "../../libcontainer/container/container.ts";
import type { InputPipe } from "./input_pipe.ts";
import type { OutputPipe } from "./output_pipe.ts";

/** How a process of a sandbox ended. */
export interface SandboxStatus {
  /** Whether the code is 0. */
  readonly success: boolean;
  /** The exit code, or 128 + the number of the signal. */
  readonly code: number;
  /** The signal that ended it. */
  readonly signal: Deno.Signal | null;
  /** While it ran, the kernel has ended a process of the sandbox because the limit `memory` was reached. */
  readonly oom: boolean;
  /** It was ended by its own or the sandbox's `timeout`. */
  readonly timedOut: boolean;
}

/** How a process ended, and what it has written. */
export interface SandboxOutput extends SandboxStatus {
  /** The same as the fields of this object. */
  readonly status: SandboxStatus;
  /** Null unless it was piped. */
  readonly stdout: Uint8Array<ArrayBuffer> | null;
  /** Null unless it was piped. */
  readonly stderr: Uint8Array<ArrayBuffer> | null;
  /** `stdout` as UTF-8. */
  readonly stdoutText: string | null;
  /** `stderr` as UTF-8. */
  readonly stderrText: string | null;
  /** The process has written more than `maxOutputBytes` to one of them, and only the beginning was kept. */
  readonly truncated: boolean;
}

/** The pipes of a process; absent ones are /dev/null. */
export interface ProcessPipes {
  readonly stdin?: InputPipe;
  readonly stdout?: OutputPipe;
  readonly stderr?: OutputPipe;
}

/** What a process needs from its sandbox. */
export interface ProcessParts {
  readonly kernel: Kernel;
  readonly process: ContainerProcess;
  readonly pipes: ProcessPipes;
  /** Streams that are copied to this program's own. */
  readonly inherited: readonly ("stdout" | "stderr")[];
  readonly maxOutputBytes: number;
  /** How often the sandbox has run out of memory so far. */
  oomKills(): number;
  /** Whether the sandbox itself has reached its timeout. */
  hasTimedOut(): boolean;
}

/** SIGKILL */
const SIGKILL = 9;

/** A process in a sandbox. Made by {@link Sandbox.spawn}. */
export class SandboxProcess implements AsyncDisposable {
  readonly #parts: ProcessParts;
  readonly #oomKills: number;
  readonly #hold: Hold;
  #hasTimedOut = false;
  #hasEnded = false;
  #output?: Promise<SandboxOutput>;
  /** The pid on the host. */
  readonly pid: number;
  /** How it ended, when it has ended. It is never rejected because of what the process does. */
  readonly status: Promise<SandboxStatus>;

  /** Made by {@link Sandbox.spawn}, when the process has been started. */
  constructor(parts: ProcessParts) {
    const { process, pipes, inherited } = parts;
    this.#parts = parts;
    this.#oomKills = parts.oomKills();
    this.pid = process.pid;
    this.#hold = new Hold(parts.kernel);
    for (const pipe of [pipes.stdin, pipes.stdout, pipes.stderr]) pipe?.attach(process, this.#hold);
    const copies = inherited.map((name) => copy(pipes[name]!.readable, Deno[name]));
    this.status = this.#run(copies);
    // It is for those who ask: a failure is not the program's end.
    this.status.catch(() => {});
  }

  async #run(copies: readonly Promise<void>[]): Promise<SandboxStatus> {
    const { process, pipes } = this.#parts;
    try {
      const status = await process.wait(this.#hold);
      this.#hasEnded = true;
      const described = this.#describe(status);
      await Promise.all([pipes.stdin, pipes.stdout, pipes.stderr].map((pipe) => pipe?.finish()));
      await Promise.all(copies);
      return described;
    } finally {
      this.#hasEnded = true;
      process[Symbol.dispose]();
    }
  }

  #describe(status: ExitStatus): SandboxStatus {
    const code = shellStatus(status);
    const isKilled = "signal" in status && status.signal === SIGKILL;
    return {
      success: code === 0,
      code,
      signal: "signal" in status ? signalNames[status.signal] as Deno.Signal ?? null : null,
      oom: this.#parts.oomKills() > this.#oomKills,
      timedOut: isKilled && (this.#hasTimedOut || this.#parts.hasTimedOut()),
    };
  }

  /** Its standard input. @throws {TypeError} unless `stdin` is `piped`. */
  get stdin(): WritableStream<Uint8Array> {
    const { stdin } = this.#parts.pipes;
    if (stdin === undefined) throw new TypeError("stdin is not piped");
    return stdin.writable;
  }

  /** Its standard output. @throws {TypeError} unless `stdout` is `piped`. */
  get stdout(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return this.#stream("stdout");
  }

  /** Its standard error. @throws {TypeError} unless `stderr` is `piped`. */
  get stderr(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return this.#stream("stderr");
  }

  #stream(name: "stdout" | "stderr"): ReadableStream<Uint8Array<ArrayBuffer>> {
    const pipe = this.#parts.pipes[name];
    if (pipe === undefined || this.#parts.inherited.includes(name)) throw new TypeError(`${name} is not piped`);
    return pipe.readable;
  }

  /**
   * Waits for its end, and collects what it writes to piped streams, at most `maxOutputBytes` of each. The rest is
   * dropped. Further calls give the same.
   */
  output(): Promise<SandboxOutput> {
    // A stream can be read once.
    return this.#output ??= this.#collect();
  }

  async #collect(): Promise<SandboxOutput> {
    const { pipes, inherited, maxOutputBytes } = this.#parts;
    const collected = (["stdout", "stderr"] as const).map((name) =>
      pipes[name] === undefined || inherited.includes(name) ? null : pipes[name].collect(maxOutputBytes)
    );
    const [status, stdout, stderr] = await Promise.all([this.status, ...collected]);
    const text = (bytes: Uint8Array | undefined) => bytes === undefined ? null : new TextDecoder().decode(bytes);
    return {
      ...status,
      status,
      stdout: stdout?.bytes ?? null,
      stderr: stderr?.bytes ?? null,
      stdoutText: text(stdout?.bytes),
      stderrText: text(stderr?.bytes),
      truncated: [stdout, stderr].some((stream) => stream?.isTruncated),
    };
  }

  /**
   * Sends it a signal, SIGTERM by default; other processes of the sandbox do not get it.
   *
   * @throws {TypeError} if it has ended, or for a signal that does not exist.
   */
  kill(signal: Deno.Signal = "SIGTERM"): void {
    const number = signalNames.indexOf(signal);
    if (number < 1) throw new TypeError(`there is no signal ${signal}`);
    if (this.#hasEnded || this.#parts.process.hasEnded) throw new TypeError("the process has already ended");
    this.#parts.process.signal(number);
  }

  /** The program goes on as long as this process: what is the case anyhow, unless {@link unref} was called. */
  ref(): void {
    this.#hold.isHeld = true;
  }

  /**
   * This process does not keep the program running, and neither do its streams. When the program ends, so does the
   * process. Until then, its status and its output may come some milliseconds later.
   */
  unref(): void {
    this.#hold.isHeld = false;
  }

  /** Ends it; `timedOut`: because of a timeout. Does nothing if it has ended. */
  end({ timedOut = false }: { timedOut?: boolean } = {}): void {
    if (this.#hasEnded || this.#parts.process.hasEnded) return;
    this.#hasTimedOut ||= timedOut;
    this.#parts.process.signal(SIGKILL);
  }

  /** Ends it with SIGKILL, and waits for its end. Its streams are closed. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.end();
    await this.status;
  }
}

async function copy(
  from: ReadableStream<Uint8Array>,
  to: { write(bytes: Uint8Array): Promise<number> },
): Promise<void> {
  for await (const bytes of from) {
    for (let rest = bytes; rest.length > 0;) {
      try {
        rest = rest.subarray(await to.write(rest));
      } catch (error) {
        // Nobody reads this program's output: the process is told by EPIPE, as it would be without us.
        if (error instanceof Deno.errors.BrokenPipe) return;
        throw error;
      }
    }
  }
}

/** The error for a command that has failed. */
export function commandError(what: string, output: SandboxOutput): RuncError {
  const how = howEnded(output) ?? `has ended with code ${output.code}`;
  const { stderrText } = output;
  const said = stderrText?.trim().slice(-1000);
  return new RuncError("command-failed", `${what} ${how}${said ? `: ${said}` : ""}`);
}

/** How a program was ended by somebody else; undefined if it has ended itself. */
export function howEnded({ signal, oom, timedOut }: SandboxStatus): string | undefined {
  if (timedOut) return "has reached its timeout";
  if (oom) return "was ended: the sandbox has reached its limit of memory";
  return signal === null ? undefined : `was ended by ${signal}`;
}
