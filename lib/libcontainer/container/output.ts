/**
 * Runs a process in a container and collects its output, like `output()` of `Deno.Command` does for a program of the
 * host. Runs in: parent.
 *
 * The event loop is not blocked: a separate thread waits for the process and its streams.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { Ioctl } from "../../ffi/constants.ts";
import { type Ending, endTimeout, sawEnd, watchEnd } from "../../ffi/ending.ts";
import { Errno } from "../../ffi/errno.ts";
import type { Fd } from "../../ffi/fd.ts";
import { fchown, pipe, setNonblocking } from "../../ffi/files.ts";
import { alloc, type Kernel, syscallError } from "../../ffi/kernel.ts";
import { POLLIN, POLLOUT } from "../../ffi/poll.ts";
import { pollAsync } from "../../ffi/poller.ts";
import { type ExitStatus, shellStatus } from "../../ffi/process/process.ts";
import type { Process } from "../../specs/config.ts";
import type { Spec } from "./bundle.ts";
import { Container, type ContainerProcess } from "./container.ts";
import { type StartFlags, startFlags } from "../config/launch_request.ts";
import { rootOwner } from "../config/id_mappings.ts";
import type { Runtime } from "../runtime.ts";
import { compileSeccomp } from "../seccomp/seccomp.ts";

/** Options of {@link runOutput} and {@link execOutput}. */
export interface OutputOptions {
  /** The process's input; absent: empty. */
  readonly stdin?: string | Uint8Array<ArrayBuffer>;
  /** Aborting it kills the process (SIGKILL); the output is what it has written until then. */
  readonly signal?: AbortSignal;
}

/** Options for running a container. */
export interface RunOutputOptions extends OutputOptions, StartFlags {
  /** Letters, digits and `_+-.`; the runtime must not have a container with this id. */
  readonly id: string;
  /** Its process must not have a terminal. */
  readonly spec: Spec;
}

/** Options for another process in a container. */
export interface ExecOutputOptions extends OutputOptions {
  /** It must not have a terminal. */
  readonly process: Process;
}

/** How a process ended, and its output. */
export interface ProcessOutput {
  /** Like a shell's: the exit code, or 128 + the number of the signal. */
  readonly code: number;
  /** Number of the signal that killed it. */
  readonly signal?: number;
  /** The output of descriptor 1. */
  readonly stdout: Uint8Array<ArrayBuffer>;
  /** The output of descriptor 2. */
  readonly stderr: Uint8Array<ArrayBuffer>;
}

type Written = Pick<ProcessOutput, "stdout" | "stderr">;

/**
 * Creates a container, runs it until it ends, and removes it.
 *
 * @throws {RuncError} as {@link Container.create} and {@link Container.poststart}; the container is then removed.
 */
export async function runOutput(runtime: Runtime, options: RunOutputOptions): Promise<ProcessOutput> {
  const { id, spec, signal } = options;
  refuseTerminal(spec.config.process);
  const seccomp = compileSeccomp(runtime, spec.config);
  signal?.throwIfAborted();
  using pipes = new Pipes(runtime.kernel, rootOwner(spec.config));
  const { container, process } = await Container.create(runtime, {
    id,
    spec,
    ...startFlags(options),
    seccomp,
    startBy: "parent",
    stdio: pipes.theirs,
  });
  using _process = process;
  try {
    return await outputOf(process, pipes, options, async () => {
      await process.start();
      await container.poststart();
    });
  } finally {
    // Ends the container's other processes too.
    await container.destroy();
  }
}

/**
 * Runs another process in a container until it ends. Does not wait for processes that it leaves behind, even if they
 * hold stdout or stderr.
 *
 * @throws {RuncError} as {@link Container.exec}.
 */
export async function execOutput(
  runtime: Runtime,
  container: Container,
  options: ExecOutputOptions,
): Promise<ProcessOutput> {
  refuseTerminal(options.process);
  const seccomp = container.compileSeccomp();
  options.signal?.throwIfAborted();
  using pipes = new Pipes(runtime.kernel, container.rootOwner);
  using process = await container.exec({ process: options.process, seccomp, stdio: pipes.theirs });
  return await outputOf(process, pipes, options);
}

/** Passes the process its input, lets it run with `start`, and waits for its end. Kills it after an error. */
async function outputOf(
  process: ContainerProcess,
  pipes: Pipes,
  { stdin, signal }: OutputOptions,
  start: () => Promise<void> = () => Promise.resolve(),
): Promise<ProcessOutput> {
  const exchanged = pipes.exchange(process, stdin);
  // An earlier error is the one to report.
  exchanged.catch(() => {});
  try {
    await start();
    const status = await ended(process, signal);
    return { ...describe(status), ...await exchanged };
  } catch (error) {
    await process.abort();
    // Its descriptors are closed soon.
    await exchanged.catch(() => {});
    throw error;
  }
}

function refuseTerminal(process: Process | undefined): void {
  if (!process?.terminal) return;
  throw new RuncError("usage", "cannot collect the output of a process that has a terminal", {
    field: "/process/terminal",
    hint: "set process.terminal to false",
  });
}

async function ended(process: ContainerProcess, signal: AbortSignal | undefined): Promise<ExitStatus> {
  const SIGKILL = 9;
  const kill = () => void process.signal(SIGKILL);
  signal?.addEventListener("abort", kill);
  try {
    // It may have been aborted while the container was created.
    if (signal?.aborted) kill();
    return await process.wait();
  } finally {
    signal?.removeEventListener("abort", kill);
  }
}

function describe(status: ExitStatus): Pick<ProcessOutput, "code" | "signal"> {
  return { code: shellStatus(status), ..."signal" in status ? { signal: status.signal } : {} };
}

/** A process's three standard streams. */
class Pipes implements Disposable {
  readonly #kernel: Kernel;
  readonly #stdin: { readonly read: Fd; readonly write: Fd };
  readonly #stdout: { readonly read: Fd; readonly write: Fd };
  readonly #stderr: { readonly read: Fd; readonly write: Fd };

  /** `owner`: host ids of the container's root, which may open /proc/self/fd/1 again. */
  constructor(kernel: Kernel, owner: { uid: number; gid: number }) {
    this.#kernel = kernel;
    this.#stdin = pipe(kernel, "stdin");
    this.#stdout = pipe(kernel, "stdout");
    this.#stderr = pipe(kernel, "stderr");
    for (const { number } of [this.#stdin.write, this.#stdout.read, this.#stderr.read]) {
      setNonblocking(kernel, number, true);
    }
    for (const end of [this.#stdin.read, this.#stdout.write, this.#stderr.write]) {
      fchown(kernel, end, owner.uid, owner.gid);
    }
  }

  /** The process's ends. */
  get theirs(): readonly [number, number, number] {
    return [this.#stdin.read.number, this.#stdout.write.number, this.#stderr.write.number];
  }

  /**
   * Closes our copies of the process's ends; writes its input and reads its output until it has ended. All that it has
   * written is in the pipes then, so other processes that hold them are not waited for.
   */
  async exchange(process: Ending, text: string | Uint8Array<ArrayBuffer> = ""): Promise<Written> {
    for (const end of [this.#stdin.read, this.#stdout.write, this.#stderr.write]) end.close();
    const input = new Input(this.#kernel, this.#stdin.write, text);
    const [stdout, stderr] = [new Output(this.#kernel, this.#stdout.read), new Output(this.#kernel, this.#stderr.read)];
    const streams = [input, stdout, stderr];
    for (let hasEnded = false; !hasEnded;) {
      const [end, ...ready] = await pollAsync(this.#kernel, [
        watchEnd(process),
        ...streams.map(({ watched, events }) => ({ fd: watched, events })),
      ], endTimeout(process, -1));
      streams.forEach((stream, index) => ready[index] !== 0 && stream.advance());
      hasEnded = sawEnd(process, end);
    }
    return { stdout: stdout.finish(), stderr: stderr.finish() };
  }

  [Symbol.dispose](): void {
    for (const { read, write } of [this.#stdin, this.#stdout, this.#stderr]) {
      read.close();
      write.close();
    }
  }
}

/** The default capacity of a pipe. pipe(7) */
const CHUNK_SIZE = 64 * 1024;
/** poll(2) ignores this descriptor. */
const NOBODY = -1;

/** The process's input. */
class Input {
  readonly #kernel: Kernel;
  readonly #end: Fd;
  #rest: Uint8Array<ArrayBuffer>;
  readonly events = POLLOUT;
  watched: number;

  constructor(kernel: Kernel, end: Fd, text: string | Uint8Array<ArrayBuffer>) {
    this.#kernel = kernel;
    this.#end = end;
    this.#rest = typeof text === "string" ? new TextEncoder().encode(text) : text;
    this.watched = end.number;
    this.#closeAtEnd();
  }

  /** Writes as much as the pipe accepts. */
  advance(): void {
    const piece = this.#rest.subarray(0, CHUNK_SIZE);
    const length = this.#kernel.retry("write", this.watched, piece, piece.length);
    if (length === -Errno.EAGAIN) return;
    // The process has closed its stdin early, or has ended.
    if (length === -Errno.EPIPE) this.#rest = this.#rest.subarray(this.#rest.length);
    else if (length < 0) throw syscallError(`write(${this.#end.label})`, -length);
    else this.#rest = this.#rest.subarray(length);
    this.#closeAtEnd();
  }

  #closeAtEnd(): void {
    if (this.#rest.length > 0) return;
    this.#end.close();
    this.watched = NOBODY;
  }
}

/** The process's output. */
class Output {
  readonly #kernel: Kernel;
  readonly #end: Fd;
  readonly #pieces: Uint8Array<ArrayBuffer>[] = [];
  readonly events = POLLIN;
  watched: number;

  constructor(kernel: Kernel, end: Fd) {
    this.#kernel = kernel;
    this.#end = end;
    this.watched = end.number;
  }

  /** Reads at most `limit` bytes. Returns how many were read. */
  advance(limit: number = CHUNK_SIZE): number {
    const bytes = alloc(Math.min(limit, CHUNK_SIZE));
    const length = this.#kernel.retry("read", this.watched, bytes, bytes.length);
    if (length === -Errno.EAGAIN) return 0;
    if (length < 0) throw syscallError(`read(${this.#end.label})`, -length);
    // At the end, poll(2) would return at once every time.
    if (length === 0) this.watched = NOBODY;
    else this.#pieces.push(bytes.slice(0, length));
    return length;
  }

  /** All output, including what is in the pipe now, but nothing written later. */
  finish(): Uint8Array<ArrayBuffer> {
    if (this.watched !== NOBODY) {
      const count = alloc(4);
      this.#kernel.must(`ioctl(${this.#end.label}, FIONREAD)`, "ioctl", this.watched, Ioctl.FIONREAD, count);
      let left = new DataView(count.buffer).getInt32(0, true);
      for (let length = 1; left > 0 && length > 0; left -= length) length = this.advance(left);
    }
    const all = new Uint8Array(this.#pieces.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const piece of this.#pieces) {
      all.set(piece, at);
      at += piece.length;
    }
    return all;
  }
}
