/**
 * A process in the foreground: its output is ours, our input and our signals are its, until it ends. Runs in: parent.
 *
 * One loop around one poll(2). Nothing else waits: no timer, no thread, and a slow reader of our stdout delays neither
 * signals nor the other streams.
 *
 * @module
 */

import { RuncError } from "../errors.ts";
import { type Channel, masterChannel, ownChannel, sharedChannel } from "../ffi/channel.ts";
import { signalNames } from "../ffi/constants.ts";
import { Errno, errnoText } from "../ffi/errno.ts";
import type { Fd } from "../ffi/fd.ts";
import type { Kernel } from "../ffi/kernel.ts";
import { poll, POLLIN, type Watch } from "../ffi/poll.ts";
import { type ExitStatus, pidfdSendSignal, reapAny, waitChild } from "../ffi/process.ts";
import { Signal, type SignalPipe } from "../ffi/signals.ts";
import { ByteStream } from "./byte_stream.ts";
import type { HostTerminal } from "./host_terminal.ts";
import type { NotifyProxy } from "./notify.ts";
import type { Log } from "./runtime.ts";

/** Our ends of a process's stdio, which {@link supervise} takes over; our own are the descriptors 0, 1 and 2. */
export type ForegroundStdio =
  /** It uses ours, or none: there is nothing to copy. */
  | { readonly kind: "inherited" }
  | { readonly kind: "pipes"; readonly stdin: Fd; readonly stdout: Fd; readonly stderr: Fd }
  /** `host` is raw already, and restored by its owner. */
  | { readonly kind: "terminal"; readonly master: Fd; readonly host: HostTerminal };

/** What {@link supervise} looks after. */
export interface SuperviseOptions {
  /** Our child, not reaped yet. */
  readonly pid: number;
  readonly pidfd: Fd;
  readonly stdio: ForegroundStdio;
  /** Made before the child was, so that no signal is lost. Absent: signals do what they do. */
  readonly signals?: SignalPipe;
  /** Whether other children that end are reaped: as a subreaper we get the container's orphans. */
  readonly reapOrphans: boolean;
  /** Tells the service manager when the container is ready, and that `mainPid` is what it is to supervise. */
  readonly notify?: { readonly proxy: NotifyProxy; readonly mainPid: number };
  /** Called once, as soon as the process has been reaped; its last output may still be on the way. */
  readonly onExit?: (status: ExitStatus) => void;
  readonly log: Log;
}

/**
 * How it ended. `interrupted`: SIGINT came to us while the user's terminal was raw; the terminal is restored, the process
 * got the signal and may live on. runc then exits with 0 and removes nothing (tty.go @ v1.5.1, handleInterrupt).
 */
export type Outcome = ExitStatus | "interrupted";

/**
 * Looks after a process until it has ended and its output has been passed on. Blocks; the descriptors of `stdio` are
 * closed in the end.
 *
 * Output through pipes is passed on until nobody has them open, as runc does: also what a background process writes
 * that outlives the one waited for. A terminal's ends with what is in it then.
 *
 * @throws {RuncError} where the kernel refuses to wait, or `pid` was reaped elsewhere. The process may be alive.
 */
export function supervise(kernel: Kernel, options: SuperviseOptions): Outcome {
  using supervisor = new Supervisor(kernel, options);
  return supervisor.run();
}

/** The process's stdio as streams. stdin is not waited for: it may never end. */
function openStreams(kernel: Kernel, stdio: ForegroundStdio, open: (channel: Channel) => Channel): ByteStream[] {
  const ours = (fd: number, direction: "read" | "write") => open(sharedChannel(kernel, fd, direction));
  switch (stdio.kind) {
    case "inherited":
      return [];
    case "pipes": {
      const [stdin, stdout, stderr] = [stdio.stdin, stdio.stdout, stdio.stderr].map((fd) =>
        open(ownChannel(kernel, fd))
      );
      return [
        new ByteStream({ source: stdout!, sink: ours(1, "write"), closes: "source", afterExit: "until EOF" }),
        new ByteStream({ source: stderr!, sink: ours(2, "write"), closes: "source", afterExit: "until EOF" }),
        new ByteStream({ source: ours(0, "read"), sink: stdin!, closes: "sink", afterExit: "nothing" }),
      ];
    }
    case "terminal": {
      const master = open(masterChannel(kernel, stdio.master));
      return [
        new ByteStream({ source: master, sink: ours(1, "write"), closes: "source", afterExit: "until empty" }),
        new ByteStream({ source: ours(0, "read"), sink: master, closes: "nothing", afterExit: "nothing" }),
      ];
    }
  }
}

/** Something to wait for, and what to do when it is there. */
interface Reaction {
  readonly watch: Watch;
  readonly react: () => void;
}

class Supervisor implements Disposable {
  readonly #kernel: Kernel;
  readonly #options: SuperviseOptions;
  readonly #channels: Channel[] = [];
  readonly #streams: readonly ByteStream[];
  #status: ExitStatus | undefined;
  #wasInterrupted = false;

  constructor(kernel: Kernel, options: SuperviseOptions) {
    this.#kernel = kernel;
    this.#options = options;
    try {
      this.#streams = openStreams(kernel, options.stdio, (channel) => {
        this.#channels.push(channel);
        return channel;
      });
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  run(): Outcome {
    this.#resize();
    for (;;) {
      const outcome = this.#outcome();
      if (outcome !== undefined) return outcome;
      this.#turn();
    }
  }

  #outcome(): Outcome | undefined {
    if (this.#wasInterrupted) return "interrupted";
    const isCopying = this.#streams.some((stream) => !stream.hasEnded);
    if (this.#status === undefined || isCopying || this.#options.notify?.proxy.awaitsManager) return undefined;
    return this.#status;
  }

  /** Waits once, and reacts to all that was there. */
  #turn(): void {
    const reactions = this.#reactions();
    const ready = poll(this.#kernel, reactions.map(({ watch }) => watch), this.#timeoutMs());
    reactions.forEach(({ react }, index) => {
      if (ready[index] !== 0) react();
    });
    for (const stream of this.#streams) if (stream.isDue) stream.advance();
    if (this.#options.notify?.proxy.timeoutMs === 0) this.#notify();
  }

  /** In the order in which things that happened at once are dealt with: READY and output count before the end. */
  #reactions(): readonly Reaction[] {
    const { signals, notify, pidfd } = this.#options;
    const reactions: Reaction[] = [];
    if (signals !== undefined) {
      reactions.push({ watch: { fd: signals.fd, events: POLLIN }, react: () => this.#takeSignals(signals) });
    }
    for (const watch of notify?.proxy.watches ?? []) reactions.push({ watch, react: () => this.#notify() });
    for (const stream of this.#streams) {
      const { watch } = stream;
      if (watch !== undefined) reactions.push({ watch, react: () => stream.advance() });
    }
    if (this.#status === undefined) {
      reactions.push({ watch: { fd: pidfd.number, events: POLLIN }, react: () => this.#reap() });
    }
    return reactions;
  }

  #timeoutMs(): number {
    if (this.#streams.some((stream) => stream.isDue)) return 0;
    return this.#options.notify?.proxy.timeoutMs ?? -1;
  }

  #notify(): void {
    const { notify, log } = this.#options;
    try {
      notify?.proxy.advance(notify.mainPid);
    } catch (error) {
      if (!(error instanceof RuncError)) throw error;
      // The container is not the worse for a manager that does not listen.
      log("warning", `cannot tell the service manager: ${error.message}`);
    }
  }

  #takeSignals(signals: SignalPipe): void {
    for (const signal of signals.take()) {
      if (signal === Signal.SIGCHLD) this.#reapOrphans();
      else if (signal === Signal.SIGWINCH) this.#resize();
      else this.#forward(signal);
    }
  }

  #forward(signal: number): void {
    const { pid, pidfd, log, stdio } = this.#options;
    if (this.#status === undefined) {
      log("debug", `forwarding signal ${signal} (${signalNames[signal] ?? ""}) to ${pid}`);
      const result = pidfdSendSignal(this.#kernel, pidfd, signal);
      if (result < 0) log("error", `cannot send signal ${signal} to process ${pid}: ${errnoText(-result)}`);
    }
    if (signal === Signal.SIGINT && stdio.kind === "terminal" && stdio.host.isRaw) {
      stdio.host.restore();
      this.#wasInterrupted = true;
    }
  }

  #resize(): void {
    const { stdio, log } = this.#options;
    if (stdio.kind !== "terminal") return;
    try {
      stdio.host.copySizeTo(stdio.master);
    } catch (error) {
      // Either terminal may be gone (SIGHUP comes then too); a wrong size is no reason to end.
      log("debug", `cannot resize the container's terminal: ${(error as Error).message}`);
    }
  }

  /** The pidfd is readable: our process has ended. */
  #reap(): void {
    this.#reapOrphans();
    if (this.#status !== undefined) return;
    const status = waitChild(this.#kernel, this.#options.pid);
    if (status === undefined) {
      throw new RuncError("internal", `process ${this.#options.pid} was reaped elsewhere`, {
        errno: Errno.ECHILD,
        hint: "its exit status is lost; is SIGCHLD ignored?",
      });
    }
    this.#exited(status);
  }

  #reapOrphans(): void {
    if (!this.#options.reapOrphans) return;
    for (let ended = reapAny(this.#kernel); ended !== undefined; ended = reapAny(this.#kernel)) {
      if (ended.pid === this.#options.pid) this.#exited(ended.status);
    }
  }

  #exited(status: ExitStatus): void {
    this.#status = status;
    for (const stream of this.#streams) stream.processExited();
    this.#options.onExit?.(status);
  }

  [Symbol.dispose](): void {
    for (const channel of this.#channels) channel.close();
  }
}
