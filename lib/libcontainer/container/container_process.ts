/**
 * A process of a container, shared by `create` and `exec`. Runs in: parent.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { type Ending, endTimeout } from "../../ffi/ending.ts";
import type { Fd } from "../../ffi/fd.ts";
import type { ExitStatus } from "../../ffi/process/process.ts";
import { readable, type Waits } from "../../ffi/waits.ts";
import type { Child } from "../../ffi/process/child.ts";
import { NOT_STARTED } from "../plans/parent/create.ts";
import type { KeptImages } from "../launch/kept_images.ts";
import type { SeccompFilter } from "../seccomp/filter.ts";

/** Options of the container's first process and of `exec`. */
export interface ProcessOptions {
  /** stdin, stdout, stderr. */
  readonly stdio: readonly [number, number, number];
  /** Connected socket that receives the terminal's master; required if the process has a terminal. */
  readonly consoleSocket?: Fd;
  /** Connected socket that receives a pidfd of the process. */
  readonly pidfdSocket?: Fd;
  /**
   * Number of descriptors from 3 up that the process inherits, LISTEN_FDS first. They must be open and not
   * close-on-exec.
   */
  readonly inheritedFds?: number;
  /** How many of them are LISTEN_FDS, as the process's environment says. */
  readonly listenFds?: number;
  /**
   * Images of earlier launches that were the same but for the id. Config, seccomp profile and options must be: only the
   * id, the process of an exec and what the host says may differ.
   */
  readonly images?: KeptImages;
}

/** A process that was started. */
export interface StartedProcess extends Disposable {
  readonly init: Child;
  /** Kills and reaps it, and what has been started for it. */
  abort(): Waits<void>;
}

/** A process in a container, started by this program and its child. What waits is work for a driver, see waits.ts. */
export class ProcessHandle implements Ending, Disposable {
  readonly #started: StartedProcess;
  readonly #start: () => Waits<void>;
  /** The pid on the host. */
  readonly pid: number;

  /** Takes over what was started. `start`: lets init execute its program. */
  constructor(started: StartedProcess, start: () => Waits<void> = noStart) {
    this.#started = started;
    this.#start = start;
    this.pid = started.init.pid;
  }

  /** Becomes readable when the process ends. Undefined if a sandbox around the runtime refuses pidfd_open(2). */
  get pidfd(): Fd | undefined {
    return this.#started.init.pidfd;
  }

  /** Whether it has ended. Does not reap it. */
  get hasEnded(): boolean {
    return this.#started.init.hasEnded;
  }

  /**
   * Lets a process created with `startBy: "parent"` execute its program.
   *
   * @throws {RuncError} `hook-failed` of startContainer; with noNewPrivileges also for a seccomp filter that cannot be
   * loaded.
   */
  *start(): Waits<void> {
    try {
      yield* this.#start();
    } catch (error) {
      const isFilter = error instanceof RuncError && error.field?.startsWith("/linux/seccomp");
      throw isFilter ? error.within("error during container init").within(NOT_STARTED) : error;
    }
  }

  /** Sends a signal. Returns 0 or −errno. */
  signal(signal: number): number {
    return this.#started.init.signal(signal);
  }

  /** Waits for the process's end, and reaps it. */
  *wait(): Waits<ExitStatus> {
    const { pidfd } = this;
    const fds = pidfd === undefined ? [] : [pidfd.number];
    while (!this.hasEnded) yield* readable(fds, endTimeout(this, -1), { isDeaf: true });
    return this.reap();
  }

  /** Waits for the process's end and reaps it. */
  reap(): ExitStatus {
    return this.#started.init.reap() ?? { code: 0 };
  }

  /** Kills the process with SIGKILL after a failure, and reaps it. */
  *abort(): Waits<void> {
    yield* this.#started.abort();
  }

  /** Closes our descriptors; the process continues. */
  [Symbol.dispose](): void {
    this.#started[Symbol.dispose]();
  }
}

function* noStart(): Waits<void> {}

/** A process never runs without the filter of its config. */
export function requireFilter(isAsked: boolean, filter: SeccompFilter | undefined): void {
  if (isAsked === (filter !== undefined)) return;
  const message = isAsked
    ? "linux.seccomp asks for a filter, and none was given: compileSeccomp makes it"
    : "a seccomp filter was given, and linux.seccomp asks for none";
  throw new RuncError("usage", message, { field: "/linux/seccomp" });
}
