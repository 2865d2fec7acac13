/**
 * A process of a container, and what creating one and `exec` have in common. Runs in: parent.
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

/** Options that every process has, the first one and those of `exec`. */
export interface ProcessOptions {
  /** stdin, stdout, stderr. */
  readonly stdio: readonly [number, number, number];
  /** Connected socket that the terminal's master is sent to; needed when the process has a terminal. */
  readonly consoleSocket?: Fd;
  /** Connected socket that a pidfd of the process is sent to. */
  readonly pidfdSocket?: Fd;
  /** Descriptors from 3 up that the process inherits: LISTEN_FDS first. They must be open and not close-on-exec. */
  readonly inheritedFds?: number;
  /** How many of them are LISTEN_FDS: the process is told by its environment. */
  readonly listenFds?: number;
}

/** A process that this program started in a container, and is the parent of. */
export class ContainerProcess implements Ending, Disposable {
  readonly #runtime: Runtime;
  readonly #launch: Launch;
  readonly #onListener: (fd: number) => void;
  /** On the host. */
  readonly pid: number;

  /** Takes `launch` over, after `created`. `onListener`: hands a seccomp listener of init to its agent, where that comes only then. */
  constructor(runtime: Runtime, launch: Launch, onListener: (fd: number) => void = () => {}) {
    this.#runtime = runtime;
    this.#launch = launch;
    this.#onListener = onListener;
    this.pid = launch.initPid;
  }

  /** Becomes readable when it ends. Undefined where a sandbox around us refuses pidfd_open(2). */
  get pidfd(): Fd | undefined {
    return this.#launch.init.pidfd;
  }

  /** Whether it has ended. It is not reaped by that. */
  get hasEnded(): boolean {
    return this.#launch.init.hasEnded;
  }

  /**
   * Lets a process that was created with `startBy: "parent"` become its program.
   *
   * @throws {RuncError} `hook-failed` of startContainer; with noNewPrivileges also for a seccomp filter that cannot be loaded.
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

  /** Waits for its end without blocking the event loop, and reaps it. */
  async wait(): Promise<ExitStatus> {
    const { kernel } = this.#runtime;
    while (!sawEnd(this, (await pollAsync(kernel, [watchEnd(this)], endTimeout(this, -1)))[0]));
    return this.reap();
  }

  /** Waits for its end and reaps it. */
  reap(): ExitStatus {
    return this.#launch.init.reap() ?? { code: 0 };
  }

  /** SIGKILL, and reaps it: after a failure. */
  abort(): void {
    this.#launch.abort();
  }

  /** Closes our descriptors; the process goes on. */
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

/** Says which names of process.capabilities mean nothing here. */
export function warnOfCapabilities(runtime: Runtime, process: Process, facts: HostFacts): void {
  if (process.capabilities === undefined) return;
  const { unknown } = capabilityNumbers(process.capabilities, facts.lastCapability);
  if (unknown.length > 0) {
    runtime.log("warning", `ignoring unknown or unavailable capabilities: [${unknown.join(" ")}]`);
  }
}

/** Gives a process the caller's soft limit of open files, where Deno has raised ours and so that process's. */
export function restoreFileLimit({ kernel, softFileLimit }: Runtime, pid: number): void {
  if (softFileLimit === undefined) return;
  const files = rlimitNames.indexOf("RLIMIT_NOFILE");
  const { hard } = getRlimit(kernel, pid, files);
  setRlimit(kernel, pid, files, { soft: BigInt(softFileLimit), hard });
}

/** process.rlimits, by the parent, who may raise what the process no longer may; and the caller's own limit of open files. */
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
          hint: result === -Errno.EPERM ? "raising a hard limit needs CAP_SYS_RESOURCE" : undefined,
        },
      );
    }
  });
}

/** Stands before whatever goes wrong from the start of the stage until the process is its program: callers look for these words. */
export const NOT_STARTED = "unable to start container process";

/** Hands the seccomp listener of init to the agent that the profile names. */
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

/** Nothing runs without the filter that its config asks for. */
export function requireFilter(isAsked: boolean, filter: SeccompFilter | undefined): void {
  if (isAsked === (filter !== undefined)) return;
  const message = isAsked
    ? "linux.seccomp asks for a filter, and none was given: compileSeccomp makes it"
    : "a seccomp filter was given, and linux.seccomp asks for none";
  throw new RuncError("usage", message, { field: "/linux/seccomp" });
}
