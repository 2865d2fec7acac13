/**
 * A process in the foreground, as `run` and `exec` have it.
 *
 * @module
 */

import type { ContainerProcess } from "../libcontainer/container_process.ts";
import { supervise } from "../libcontainer/foreground.ts";
import { HostTerminal, receiveMaster } from "../libcontainer/host_terminal.ts";
import type { NotifyProxy } from "../libcontainer/notify.ts";
import type { Runtime } from "../libcontainer/runtime.ts";
import { inSpan } from "../trace/tracer.ts";
import { shellStatus } from "../ffi/process.ts";
import { SignalPipe } from "../ffi/signals.ts";
import type { ConsoleSize } from "../specs/config.ts";
import type { ProcessIo } from "./process_io.ts";

/** What has to be there before the process is: no signal may be lost, and no process made for want of a terminal. */
export class Foreground implements Disposable {
  readonly #runtime: Runtime;
  readonly #signals: SignalPipe;
  readonly #terminal: HostTerminal | undefined;

  /** @throws {RuncError} where `terminal` is asked for and there is none. */
  constructor(runtime: Runtime, options: { terminal: boolean }) {
    this.#runtime = runtime;
    this.#terminal = options.terminal ? new HostTerminal(runtime.kernel) : undefined;
    this.#signals = new SignalPipe(runtime.kernel);
  }

  /** What process.consoleSize would say of the user's terminal; undefined without one, or where it has no size. */
  get consoleSize(): ConsoleSize | undefined {
    const size = this.#terminal?.size;
    return size === undefined || size.rows === 0 || size.columns === 0
      ? undefined
      : { height: size.rows, width: size.columns };
  }

  /**
   * Passes streams and signals on until the process ends; returns what a shell would. `start` lets it run, once its terminal is ours.
   */
  run(
    process: ContainerProcess,
    io: ProcessIo,
    options: {
      start?: () => void;
      reapOrphans: boolean;
      notify?: NotifyProxy;
      onExit?: () => void;
    },
  ): number {
    const { kernel, log, trace } = this.#runtime;
    const { reapOrphans, notify, onExit } = options;
    const stdio = this.#stdio(io);
    options.start?.();
    const supervised = {
      pid: process.pid,
      pidfd: process.pidfd,
      stdio,
      signals: this.#signals,
      reapOrphans,
      notify: notify && { proxy: notify, mainPid: kernel.pid },
      onExit,
      log,
    };
    const outcome = inSpan(trace, "look after the program until its end", () => supervise(kernel, supervised));
    return outcome === "interrupted" ? 0 : shellStatus(outcome);
  }

  #stdio(io: ProcessIo): Parameters<typeof supervise>[1]["stdio"] {
    if (io.pipes !== undefined) return { kind: "pipes", ...io.pipes };
    const { console } = io;
    if (console === undefined || this.#terminal === undefined) return { kind: "inherited" };
    const master = inSpan(
      this.#runtime.trace,
      "receive the terminal",
      () => receiveMaster(this.#runtime.kernel, console),
    );
    this.#terminal.makeRaw();
    // The program may ask for it as its first act.
    this.#terminal.copySizeTo(master);
    return { kind: "terminal", master, host: this.#terminal };
  }

  [Symbol.dispose](): void {
    this.#signals[Symbol.dispose]();
    this.#terminal?.[Symbol.dispose]();
  }
}
