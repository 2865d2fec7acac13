/**
 * A process of a container, shared by `create` and `exec`. Runs in: parent.
 *
 * @module
 */

import { RuncError } from "../../errors.ts";
import { rlimitNames } from "../../ffi/constants.ts";
import { type Ending, endTimeout, sawEnd, watchEnd } from "../../ffi/ending.ts";
import { Errno, errnoName, errnoText } from "../../ffi/errno.ts";
import type { Fd } from "../../ffi/fd.ts";
import { pollAsync } from "../../ffi/poll.ts";
import { type ExitStatus, getRlimit, setRlimit } from "../../ffi/process/process.ts";
import type { Process } from "../../specs/config.ts";
import type { State } from "../../specs/state.ts";
import { inSpan } from "../../trace/tracer.ts";
import { capabilityNumbers } from "../steps/credentials.ts";
import type { Launch } from "../launch/launch.ts";
import type { HostFacts } from "../config/launch_request.ts";
import type { Runtime } from "../runtime.ts";
import { handToAgent } from "../seccomp/agent.ts";
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
}

/** A process in a container, started by this program and its child. */
export class ContainerProcess implements Ending, Disposable {
  readonly #runtime: Runtime;
  readonly #launch: Launch;
  readonly #onListener: (fd: number) => void;
  /** The pid on the host. */
  readonly pid: number;

  /**
   * Takes over `launch` after `created`. `onListener`: passes init's seccomp listener to its agent, if the filter is
   * loaded only later.
   */
  constructor(runtime: Runtime, launch: Launch, onListener: (fd: number) => void = () => {}) {
    this.#runtime = runtime;
    this.#launch = launch;
    this.#onListener = onListener;
    this.pid = launch.initPid;
  }

  /** Becomes readable when the process ends. Undefined if a sandbox around the runtime refuses pidfd_open(2). */
  get pidfd(): Fd | undefined {
    return this.#launch.init.pidfd;
  }

  /** Whether it has ended. Does not reap it. */
  get hasEnded(): boolean {
    return this.#launch.init.hasEnded;
  }

  /**
   * Lets a process created with `startBy: "parent"` execute its program.
   *
   * @throws {RuncError} `hook-failed` of startContainer; with noNewPrivileges also for a seccomp filter that cannot be
   * loaded.
   */
  start(): void {
    try {
      this.#launch.goToExec(this.#onListener);
    } catch (error) {
      const isFilter = error instanceof RuncError && error.field?.startsWith("/linux/seccomp");
      throw isFilter ? error.within("error during container init").within(NOT_STARTED) : error;
    }
  }

  /** Sends a signal. Returns 0 or −errno. */
  signal(signal: number): number {
    return this.#launch.init.signal(signal);
  }

  /** Waits for the process's end without blocking the event loop, and reaps it. */
  async wait(): Promise<ExitStatus> {
    const { kernel } = this.#runtime;
    while (!sawEnd(this, (await pollAsync(kernel, [watchEnd(this)], endTimeout(this, -1)))[0]));
    return this.reap();
  }

  /** Waits for the process's end and reaps it. */
  reap(): ExitStatus {
    return this.#launch.init.reap() ?? { code: 0 };
  }

  /** Kills the process with SIGKILL after a failure, and reaps it. */
  abort(): void {
    this.#launch.abort();
  }

  /** Closes our descriptors; the process continues. */
  [Symbol.dispose](): void {
    this.#launch[Symbol.dispose]();
  }
}

export function socketFds(options: Pick<ProcessOptions, "consoleSocket" | "pidfdSocket">): Record<string, Fd> {
  const fds: Record<string, Fd> = {};
  if (options.consoleSocket !== undefined) fds.console = options.consoleSocket;
  if (options.pidfdSocket !== undefined) fds["pidfd-socket"] = options.pidfdSocket;
  return fds;
}

/** Warns about names in process.capabilities that this kernel does not have. */
export function warnOfCapabilities(runtime: Runtime, process: Process, facts: HostFacts): void {
  if (process.capabilities === undefined) return;
  const { unknown } = capabilityNumbers(process.capabilities, facts.lastCapability);
  if (unknown.length > 0) {
    runtime.log("warning", `ignoring unknown or unavailable capabilities: [${unknown.join(" ")}]`);
  }
}

/** Gives a process the caller's soft limit of open files, because Deno has raised ours, which the process inherited. */
export function restoreFileLimit({ kernel, softFileLimit }: Runtime, pid: number): void {
  if (softFileLimit === undefined) return;
  const files = rlimitNames.indexOf("RLIMIT_NOFILE");
  const { hard } = getRlimit(kernel, pid, files);
  setRlimit(kernel, pid, files, { soft: BigInt(softFileLimit), hard });
}

/**
 * Sets process.rlimits, and restores the caller's own limit of open files. The parent does it, because the process may
 * no longer raise limits.
 */
export function setRlimits(runtime: Runtime, pid: number, process: Process): void {
  const { kernel } = runtime;
  if (!process.rlimits?.some(({ type }) => type === "RLIMIT_NOFILE")) restoreFileLimit(runtime, pid);
  process.rlimits?.forEach(({ type, soft, hard }, index) => {
    const result = setRlimit(kernel, pid, rlimitNames.indexOf(type), { soft: BigInt(soft), hard: BigInt(hard) });
    if (result < 0) {
      throw new RuncError(
        "syscall-failed",
        `error setting rlimits for ready process: error setting rlimit type ${rlimitNames.indexOf(type)}: ${
          errnoText(-result)
        }`,
        {
          field: `/process/rlimits/${index}`,
          call: `prlimit64(${pid}, ${type}, {soft: ${soft}, hard: ${hard}})`,
          errno: -result,
          errnoName: errnoName(-result),
          hint: result === -Errno.EPERM ? "raising a hard limit requires CAP_SYS_RESOURCE" : undefined,
        },
      );
    }
  });
}

/** The prefix of errors from the start of the stage until the process executes its program. Callers match it. */
export const NOT_STARTED = "unable to start container process";

/** Passes init's seccomp listener to the profile's agent. */
export function handListener(
  { kernel, trace, interrupts }: Runtime,
  launch: Launch,
  { seccomp, fd, hookState }: { seccomp?: SeccompFilter; fd: number; hookState: State },
): void {
  const listener = { pid: launch.initPid, fd };
  const how = { goOn: () => launch.go(), interrupts };
  const hand = () => handToAgent(kernel, seccomp!.profile, listener, hookState, how);
  inSpan(trace, "hand the seccomp listener to its agent", hand);
}

/** A process never runs without the filter of its config. */
export function requireFilter(isAsked: boolean, filter: SeccompFilter | undefined): void {
  if (isAsked === (filter !== undefined)) return;
  const message = isAsked
    ? "linux.seccomp asks for a filter, and none was given: compileSeccomp makes it"
    : "a seccomp filter was given, and linux.seccomp asks for none";
  throw new RuncError("usage", message, { field: "/linux/seccomp" });
}
