/**
 * A process in a container with its output collected: what `Deno.Command`'s `output()` is for a program of the host. Runs in: parent.
 *
 * The event loop goes on meanwhile. A pipe's end is opened anew through /proc/self/fd, as a file of Deno's, whose reads wait
 * on a thread of their own.
 *
 * @module
 */

import { RuncError } from "../errors.ts";
import type { Fd } from "../ffi/fd.ts";
import { fchown, pipe } from "../ffi/files.ts";
import type { Kernel } from "../ffi/kernel.ts";
import { type ExitStatus, shellStatus } from "../ffi/process.ts";
import type { Process } from "../specs/config.ts";
import type { Spec } from "./bundle.ts";
import { Container } from "./container.ts";
import type { ContainerProcess } from "./container_process.ts";
import { rootOwner } from "./id_maps.ts";
import { loadParts } from "./parts.ts";
import type { Runtime } from "./runtime.ts";
import { compileSeccomp } from "./seccomp.ts";

/** What both {@link runOutput} and {@link execOutput} take. */
export interface OutputOptions {
  /** What the process reads; nothing where absent. */
  readonly stdin?: string | Uint8Array<ArrayBuffer>;
  /** Kills the process (SIGKILL) when it is aborted; what it wrote until then is the output. */
  readonly signal?: AbortSignal;
}

/** How to run a container. */
export interface RunOutputOptions extends OutputOptions {
  /** Letters, digits and `_+-.`; no container of the runtime may have it. */
  readonly id: string;
  /** Its process must not ask for a terminal. */
  readonly spec: Spec;
  /** Enter the rootfs without pivot_root, for one that lies in a ramdisk. */
  readonly noPivot?: boolean;
  /** Keep the caller's session keyring. */
  readonly noNewKeyring?: boolean;
}

/** What to run in a container. */
export interface ExecOutputOptions extends OutputOptions {
  /** It must not ask for a terminal. */
  readonly process: Process;
}

/** How a process ended, and all that it wrote. */
export interface ProcessOutput {
  /** As a shell has it: the exit code, or 128 + the number of the signal. */
  readonly code: number;
  /** Number of the signal that it died of. */
  readonly signal?: number;
  /** What came from descriptor 1. */
  readonly stdout: Uint8Array<ArrayBuffer>;
  /** What came from descriptor 2. */
  readonly stderr: Uint8Array<ArrayBuffer>;
}

type Written = Pick<ProcessOutput, "stdout" | "stderr">;

/**
 * Creates a container, runs it to its end, and removes it.
 *
 * @throws {RuncError} as {@link Container.create} and {@link Container.poststart}; nothing is left of the container.
 */
export async function runOutput(runtime: Runtime, options: RunOutputOptions): Promise<ProcessOutput> {
  const { id, spec, noPivot, noNewKeyring, signal } = options;
  refuseTerminal(spec.config.process);
  const seccomp = await compileSeccomp(runtime, spec.config);
  signal?.throwIfAborted();
  using pipes = new Pipes(runtime.kernel, rootOwner(spec.config));
  const { container, process } = await Container.create(runtime, {
    id,
    spec,
    noPivot,
    noNewKeyring,
    seccomp,
    startBy: "parent",
    stdio: pipes.theirs,
    parts: await loadParts(spec.config),
  });
  using _process = process;
  let written: Promise<Written>;
  let status: ExitStatus;
  try {
    written = pipes.exchange(options.stdin);
    process.start();
    container.poststart();
    status = await ended(process, signal);
  } catch (error) {
    process.abort();
    throw error;
  } finally {
    // Whatever else is in the container goes too, so that nobody holds the pipes open.
    container.destroy();
  }
  return { ...describe(status), ...await written };
}

/**
 * Runs a further process in a container to its end. A process that it leaves behind and that still holds stdout or stderr
 * delays the result until it has closed them.
 *
 * @throws {RuncError} as {@link Container.exec}.
 */
export async function execOutput(
  runtime: Runtime,
  container: Container,
  options: ExecOutputOptions,
): Promise<ProcessOutput> {
  refuseTerminal(options.process);
  const seccomp = await container.compileSeccomp();
  options.signal?.throwIfAborted();
  using pipes = new Pipes(runtime.kernel, container.rootOwner);
  using process = await container.exec({ process: options.process, seccomp, stdio: pipes.theirs });
  try {
    const written = pipes.exchange(options.stdin);
    const status = await ended(process, options.signal);
    return { ...describe(status), ...await written };
  } catch (error) {
    process.abort();
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
    // It may have come while the container was created.
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
  readonly #stdin: { readonly read: Fd; readonly write: Fd };
  readonly #stdout: { readonly read: Fd; readonly write: Fd };
  readonly #stderr: { readonly read: Fd; readonly write: Fd };

  /** `owner`: ids of the container's root on the host, who may open /proc/self/fd/1 again. */
  constructor(kernel: Kernel, owner: { uid: number; gid: number }) {
    this.#stdin = pipe(kernel, "stdin");
    this.#stdout = pipe(kernel, "stdout");
    this.#stderr = pipe(kernel, "stderr");
    for (const end of [this.#stdin.read, this.#stdout.write, this.#stderr.write]) {
      fchown(kernel, end, owner.uid, owner.gid);
    }
  }

  /** The process's ends. */
  get theirs(): readonly [number, number, number] {
    return [this.#stdin.read.number, this.#stdout.write.number, this.#stderr.write.number];
  }

  /** Closes the process's ends, which it has by now; writes its input and reads its output until both are at their end. */
  exchange(input: string | Uint8Array<ArrayBuffer> = ""): Promise<Written> {
    const reopen = (end: Fd, options: Deno.OpenOptions) => Deno.openSync(`/proc/self/fd/${end.number}`, options);
    const stdin = reopen(this.#stdin.write, { write: true });
    const streams = [this.#stdout.read, this.#stderr.read].map((end) => reopen(end, { read: true }).readable);
    this[Symbol.dispose]();
    const read = streams.map((stream) => new Response(stream).bytes());
    const exchanged = Promise.all([writeInput(stdin, input), ...read]).then(([_, stdout, stderr]) => {
      return { stdout: stdout!, stderr: stderr! };
    });
    // Whoever called may fail before it awaits this; that error is then the one to tell.
    exchanged.catch(() => {});
    return exchanged;
  }

  [Symbol.dispose](): void {
    for (const { read, write } of [this.#stdin, this.#stdout, this.#stderr]) {
      read.close();
      write.close();
    }
  }
}

async function writeInput(stdin: Deno.FsFile, input: string | Uint8Array<ArrayBuffer>): Promise<void> {
  try {
    await new Blob([input]).stream().pipeTo(stdin.writable);
  } catch (error) {
    // The process has ended, or closed its stdin, without reading all of it.
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  }
}
