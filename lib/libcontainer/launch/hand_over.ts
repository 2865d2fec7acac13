/**
 * How the runtime becomes the monitor of plan.ts. Runs in: parent, once the process that it looks after runs.
 *
 * execve(2) keeps the pid, the children, the blocked signals that wait, and the descriptors that are not close-on-exec: whatever our caller
 * left open, and those that are named here.
 *
 * @module
 */

import { sharedChannel } from "../../ffi/channel.ts";
import { Ioctl, openFlag } from "../../ffi/constants.ts";
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

/** Our ends of the process's stdio. Our own are the descriptors 0, 1 and 2. */
export type ForegroundStdio =
  /** It uses ours, or none: there is nothing to copy. */
  | { readonly kind: "inherited" }
  | { readonly kind: "pipes"; readonly stdin: Fd; readonly stdout: Fd; readonly stderr: Fd }
  /** `host` is raw already. */
  | { readonly kind: "terminal"; readonly master: Fd; readonly host: HostTerminal };

/** What a monitor is made for. */
export interface MonitorOptions {
  /** Our child, not reaped yet. */
  readonly pid: number;
  readonly stdio: ForegroundStdio;
  /** Made before the child was, so that no signal is lost. */
  readonly signals: SignalPipe;
  /** Tells the service manager when the container is ready, and that we are what it is to supervise. */
  readonly notify?: NotifyProxy;
  /** What there is to do once the process has ended. */
  readonly removal: Removal;
  /** The container's. */
  readonly id: string;
  /** The arguments that the monitor is seen with, its name first. */
  readonly argv: readonly string[];
  /** How the runtime is executed again: absolute path, and arguments with its name and global options. */
  readonly again: { readonly path: string; readonly args: readonly string[] };
  /** Whether debug records are written. */
  readonly debug: boolean;
}

/** A monitor that this process can become. Made while the process that it is for is still being set up, it costs no time. */
export class Monitor implements Disposable {
  readonly #kernel: Kernel;
  readonly #options: MonitorOptions;
  readonly #waiting: Fd;
  readonly #program: Fd;
  /** The container's, for as long as nobody else can have removed it. */
  readonly #directory?: Fd;
  /** Descriptors that it goes on with, our caller's 0, 1 and 2 aside: those are never close-on-exec. */
  readonly #kept: readonly number[];

  /** Plans and encodes it. @throws {RuncError} */
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
    const plan = planMonitor({
      ...options,
      arch: kernel.arch,
      stdio,
      notify: notify && {
        address: socketAddress(notify.hostSocket),
        name: notify.hostSocket,
        mainPid: kernel.pid,
      },
      again: { ...options.again, ownArguments: options.argv.length, softFileLimit: runtime.softFileLimit },
    });
    // Nobody is there for reports: the plan has none.
    const { image } = encode(plan, { arch: kernel.arch, fds: { ...fds, sync: -1 }, fold: false });
    this.#program = executable(kernel, { name: "runc-monitor", content: image, directory: runtime.root });
    this.#kept = Object.values(fds).filter((fd) => fd > 2);
  }

  /**
   * Becomes the monitor, and never returns. `environment`: `NAME=value` entries, the monitor's, and the runtime's when it is executed again.
   * `replace`: how this process becomes another program.
   *
   * It keeps the raised limit of open files: ppoll(2) refuses more rows than the soft limit allows descriptors.
   *
   * @throws {RuncError} where it cannot; the process lives on, and is the caller's.
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
  }
}

function openDirectory(kernel: Kernel, path: string): Fd {
  const O = openFlag(kernel.arch);
  return open(kernel, path, O.O_DIRECTORY);
}

/** The streams by the names that the plan has for them. */
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
 * A terminal that no process has open answers EIO to its master and polls as hung up without end; but it may be opened again: getty does so.
 * As long as we have it open that does not happen. ioctl_tty(2), TIOCGPTPEER
 */
function openSlave(kernel: Kernel, master: Fd): number {
  const O = openFlag(kernel.arch);
  const flags = O.O_RDWR | O.O_NOCTTY | O.O_CLOEXEC;
  return kernel.must(`ioctl(${master.label}, TIOCGPTPEER)`, "ioctl", master.number, Ioctl.TIOCGPTPEER, flags);
}
