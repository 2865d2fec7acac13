/**
 * Replaces the runtime by the monitor of plan.ts. Runs in: parent, when the process that it supervises runs.
 *
 * execve(2) keeps the pid, the children, the pending blocked signals, and the descriptors that are not close-on-exec:
 * those that the caller left open, and those named here.
 *
 * @module
 */

import { sharedChannel } from "../../ffi/channel.ts";
import { Flock, Ioctl, openFlag } from "../../ffi/constants.ts";
import type { Fd } from "../../ffi/fd.ts";
import { executable, open, setCloseOnExec, setNonblocking } from "../../ffi/files.ts";
import { type Kernel, syscallError } from "../../ffi/kernel.ts";
import type { EnvironmentEntry, fexecve } from "../../ffi/process/process.ts";
import type { SignalPipe } from "../../ffi/process/signals.ts";
import { socketAddress } from "../../ffi/sockets.ts";
import { encode } from "../../plan/native/encode.ts";
import type { HostTerminal } from "./host_terminal.ts";
import type { NotifyProxy } from "./notify.ts";
import type { Runtime } from "../runtime.ts";
import { type MonitorStdio, planMonitor, type Removal } from "../plans/monitor/plan.ts";
import type { RecordRequest } from "../plans/monitor/record.ts";

/** Our ends of the process's stdio. Our own stdio is descriptors 0, 1 and 2. */
export type ForegroundStdio =
  /** The process uses our stdio or none: nothing to copy. */
  | { readonly kind: "inherited" }
  | { readonly kind: "pipes"; readonly stdin: Fd; readonly stdout: Fd; readonly stderr: Fd }
  /** `host` is already in raw mode. */
  | { readonly kind: "terminal"; readonly master: Fd; readonly host: HostTerminal };

/** The process to supervise, and how. */
export interface MonitorOptions {
  /** Our child, not reaped yet. */
  readonly pid: number;
  readonly stdio: ForegroundStdio;
  /** Created before the child, so that no signal is lost. */
  readonly signals: SignalPipe;
  /** Tells the service manager that the container is ready, and our pid as the process to supervise. */
  readonly notify?: NotifyProxy;
  /** What to do after the process has ended. */
  readonly removal: Removal;
  /** Record in this file how the process ended. */
  readonly record?: RecordRequest & { readonly file: string };
  /** Leave the caller, and tell it by this eventfd; forward no signals. */
  readonly started?: Fd;
  /** The container's state. */
  readonly id: string;
  /** The monitor's arguments as ps shows them, its name first. */
  readonly argv: readonly string[];
  /** How to execute the runtime again: absolute path, and arguments with its name and global options. */
  readonly again: { readonly path: string; readonly args: readonly string[] };
  /** Whether to write debug records. */
  readonly debug: boolean;
}

/**
 * A monitor that this process can become. It is prepared while the process to supervise is still being set up, so it
 * costs no time.
 */
export class Monitor implements Disposable {
  readonly #kernel: Kernel;
  readonly #options: MonitorOptions;
  readonly #waiting: Fd;
  readonly #program: Fd;
  /** The container's state directory; opened while no other process can have removed it. */
  readonly #directory?: Fd;
  readonly #record?: Fd;
  /** Descriptors that the monitor inherits, besides 0, 1 and 2, which are never close-on-exec. */
  readonly #kept: readonly number[];

  /** Creates and encodes the monitor's plan. @throws {RuncError} */
  constructor(runtime: Runtime, options: MonitorOptions) {
    const { kernel } = runtime;
    const { signals, notify } = options;
    this.#kernel = kernel;
    this.#options = options;
    const { stdio, fds } = prepare(kernel, options.stdio);
    this.#waiting = signals.openWaiting();
    fds.signals = this.#waiting.number;
    fds["caught signals"] = signals.fd;
    if (notify !== undefined) fds.notify = notify.socket.number;
    this.#directory = options.removal.kind === "directories" ? openDirectory(kernel, options.removal.state) : undefined;
    if (this.#directory !== undefined) fds["state directory"] = this.#directory.number;
    this.#record = options.record === undefined ? undefined : makeRecord(kernel, options.record.file);
    if (this.#record !== undefined) fds["exit record"] = this.#record.number;
    if (options.started !== undefined) fds.started = options.started.number;
    const plan = planMonitor({
      ...options,
      isDetached: options.started !== undefined,
      arch: kernel.arch,
      stdio,
      notify: notify && {
        address: socketAddress(notify.hostSocket),
        name: notify.hostSocket,
        mainPid: kernel.pid,
      },
      again: { ...options.again, ownArguments: options.argv.length, softFileLimit: runtime.softFileLimit },
    });
    // No process reads the reports, and the plan has none.
    const { image } = encode(plan, { arch: kernel.arch, fds: { ...fds, sync: -1 }, fold: false });
    this.#program = executable(kernel, { name: "runc-monitor", content: image, directory: runtime.root });
    this.#kept = Object.values(fds).filter((fd) => fd > 2);
  }

  /**
   * Becomes the monitor and never returns. `environment`: `NAME=value` entries for the monitor, and for the runtime
   * when it is executed again. `replace`: replaces this process by another program.
   *
   * The monitor keeps the raised limit of open files: ppoll(2) refuses more rows than the soft limit allows.
   *
   * @throws {RuncError} if it fails; the process then continues.
   */
  become(
    { environment, replace }: { environment: readonly EnvironmentEntry[]; replace: typeof fexecve },
  ): never {
    const kernel = this.#kernel;
    const { signals, argv } = this.#options;
    signals.holdBack();
    for (const fd of this.#kept) setCloseOnExec(kernel, fd, false);
    const result = replace(kernel, this.#program, argv, environment);
    for (const fd of this.#kept) setCloseOnExec(kernel, fd, true);
    throw syscallError(`execve(${this.#program.label})`, -result);
  }

  [Symbol.dispose](): void {
    this.#program.close();
    this.#waiting.close();
    this.#directory?.close();
    this.#record?.close();
  }
}

function openDirectory(kernel: Kernel, path: string): Fd {
  const O = openFlag(kernel.arch);
  return open(kernel, path, O.O_DIRECTORY);
}

/** An empty record, locked until the monitor has written it or has ended: so long, a reader may wait for it. */
function makeRecord(kernel: Kernel, path: string): Fd {
  const O = openFlag(kernel.arch);
  const record = open(kernel, path, O.O_WRONLY | O.O_CREAT | O.O_NOFOLLOW, 0o600);
  // Without the lock, a reader does not wait for the record, and asks the kernel.
  kernel.call("flock", record.number, Flock.LOCK_EX | Flock.LOCK_NB);
  return record;
}

/** The streams by the plan's names. */
function prepare(kernel: Kernel, stdio: ForegroundStdio): { stdio: MonitorStdio; fds: Record<string, number> } {
  if (stdio.kind === "inherited") return { stdio, fds: {} };
  const toPipe = stdio.kind === "pipes";
  const stdin = sharedChannel(kernel, 0, { direction: "read", toPipe });
  const stdout = sharedChannel(kernel, 1, { direction: "write", toPipe });
  const manners = { stdin: stdin.manner, stdout: stdout.manner };
  const shared = { stdin: stdin.fd, stdout: stdout.fd };
  if (stdio.kind === "terminal") {
    const { master, host } = stdio;
    setNonblocking(kernel, master.number, true);
    return {
      stdio: { kind: "terminal", manners, attributes: host.original },
      fds: {
        ...shared,
        master: master.number,
        slave: openSlave(kernel, master),
        "host terminal": host.fd.number,
      },
    };
  }
  const stderr = sharedChannel(kernel, 2, { direction: "write", toPipe });
  const own = { "stdin pipe": stdio.stdin, "stdout pipe": stdio.stdout, "stderr pipe": stdio.stderr };
  const fds: Record<string, number> = { ...shared, stderr: stderr.fd };
  for (const [name, { number }] of Object.entries(own)) {
    setNonblocking(kernel, number, true);
    fds[name] = number;
  }
  return { stdio: { kind: "pipes", manners: { ...manners, stderr: stderr.manner } }, fds };
}

/**
 * Keeps the terminal open. A terminal that no process has open returns EIO to its master and polls as hung up all the
 * time, yet it may be opened again, as getty does. ioctl_tty(2), TIOCGPTPEER
 */
function openSlave(kernel: Kernel, master: Fd): number {
  const O = openFlag(kernel.arch);
  const flags = O.O_RDWR | O.O_NOCTTY | O.O_CLOEXEC;
  return kernel.must(`ioctl(${master.label}, TIOCGPTPEER)`, "ioctl", master.number, Ioctl.TIOCGPTPEER, flags);
}
