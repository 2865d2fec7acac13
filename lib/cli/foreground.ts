/**
 * A foreground process of `run` and `exec`: preparations before it starts, and the hand-over to the monitor.
 *
 * @module
 */

import { resolve } from "../std/path.ts";
import { HostTerminal, receiveMaster } from "../libcontainer/launch/host_terminal.ts";
import { type ForegroundStdio, Monitor, type MonitorOptions } from "../libcontainer/launch/hand_over.ts";
import type { Reexec } from "../libcontainer/plans/monitor/reexec.ts";
import type { Runtime } from "../libcontainer/runtime.ts";
import { type fexecve, processEnvironment } from "../ffi/process/process.ts";
import { withTraceparent } from "../trace/context.ts";
import { runWaits } from "../ffi/waits.ts";
import { runAct } from "../libcontainer/launch/run_acts.ts";
import { becomeMonitor } from "../libcontainer/plans/parent/create.ts";
import { inSpan } from "../trace/tracer.ts";
import { SignalPipe } from "../ffi/process/signals.ts";
import type { ConsoleSize } from "../specs/config.ts";
import type { Context } from "./context.ts";
import type { Interruption } from "./interruption.ts";
import type { ProcessIo } from "./process_io.ts";

/** What the monitor needs from our process. */
interface Own {
  /** The command line without the program's name. The monitor shows it as its own. */
  readonly words: readonly string[];
  /** The global options for executing the runtime again: the state directory and the log. */
  readonly globalWords: readonly string[];
  readonly debug: boolean;
  /** The trace file for the end of the container, if there is a trace. */
  readonly traceFile?: string;
  /** Replaces this process by another program. */
  readonly replace: typeof fexecve;
  /** Interrupts the waits until then. */
  readonly interruption: Interruption;
}

/** The process to monitor. */
export type MonitoredProcess = Pick<MonitorOptions, "pid" | "id" | "removal" | "notify" | "record" | "started">;

/** Creates a {@link Foreground}. @throws {RuncError} if `terminal` is set and there is no terminal. */
export type MakeForeground = (runtime: Runtime, options: { terminal: boolean }) => Foreground;

/** Must be called before the working directory changes from the caller's to the bundle. */
export function foregroundOf({ words, global, root, replace, traceFile, interruption }: Context): MakeForeground {
  const { debug, log = "", "log-format": format } = global;
  const globalWords = [
    "--root",
    root,
    ...(debug ? ["--debug"] : []),
    ...(log === "" ? [] : ["--log", resolve(log)]),
    ...(format === "" ? [] : ["--log-format", format]),
  ];
  const own = { words, globalWords, debug, replace, traceFile, interruption };
  return (runtime, options) => new Foreground(runtime, own, options);
}

/**
 * The preparations before the process starts: no signal may be lost, and no process may be created if its terminal is
 * missing.
 */
export class Foreground implements Disposable {
  readonly #runtime: Runtime;
  readonly #own: Own;
  readonly #signals: SignalPipe;
  readonly #terminal: HostTerminal | undefined;
  #monitor?: Monitor;

  /** @see foregroundOf */
  constructor(runtime: Runtime, own: Own, options: { terminal: boolean }) {
    this.#runtime = runtime;
    this.#own = own;
    this.#terminal = options.terminal ? new HostTerminal(runtime.kernel) : undefined;
    this.#signals = new SignalPipe(runtime.kernel);
    own.interruption.begin(this.#signals);
  }

  /**
   * The size of the user's terminal, in the form of process.consoleSize. Undefined without a terminal, or if it has no
   * size.
   */
  get consoleSize(): ConsoleSize | undefined {
    const size = this.#terminal?.size;
    return size === undefined || size.rows === 0 || size.columns === 0
      ? undefined
      : { height: size.rows, width: size.columns };
  }

  /** How the monitor executes this program again. */
  get again(): Reexec {
    const { path, args } = this.#runtime.reexec;
    return { path, args: [path, ...args, ...this.#own.globalWords], ownArguments: this.#own.words.length + 1 };
  }

  /**
   * Prepares the monitor while the process is being set up, when this process would otherwise only wait. With a
   * terminal, which does not exist yet, {@link run} does it.
   *
   * @throws {RuncError}
   */
  prepare(options: MonitoredProcess, io: ProcessIo): void {
    if (io.console === undefined) this.#monitor = this.#makeMonitor(options, this.#stdio(io));
  }

  /**
   * Becomes the monitor, which forwards streams and signals until the process ends, and then exits with a shell's exit
   * status. Never returns. `start` starts the process, after the terminal has been received.
   *
   * @throws {RuncError} The process keeps running.
   */
  run(options: MonitoredProcess, io: ProcessIo, { start }: { start?: () => void } = {}): never {
    const stdio = this.#monitor === undefined ? this.#stdio(io) : undefined;
    start?.();
    if (stdio !== undefined) this.#monitor = this.#makeMonitor(options, stdio);
    const { traceparent } = this.#runtime.trace ?? {};
    const environment = processEnvironment(this.#runtime.kernel);
    const become = () =>
      this.#monitor!.become({
        environment: traceparent === undefined ? environment : withTraceparent(environment, traceparent),
        replace: this.#own.replace,
      });
    return runWaits(this.#runtime, runAct(becomeMonitor, this.#runtime, become)) as never;
  }

  #makeMonitor({ pid, id, removal, notify, record, started }: MonitoredProcess, stdio: ForegroundStdio): Monitor {
    const { words, debug, traceFile } = this.#own;
    const options: MonitorOptions = {
      pid,
      stdio,
      signals: this.#signals,
      notify,
      record,
      started,
      removal: traceFile === undefined || removal.kind === "none"
        ? removal
        : { kind: "runtime", options: ["--trace", traceFile] },
      id,
      argv: ["runc", ...words],
      again: this.again,
      debug,
    };
    return inSpan(this.#runtime.trace, "make the monitor", () => new Monitor(this.#runtime, options));
  }

  #stdio(io: ProcessIo): ForegroundStdio {
    if (io.pipes !== undefined) return { kind: "pipes", ...io.pipes };
    const { console } = io;
    if (console === undefined || this.#terminal === undefined) return { kind: "inherited" };
    const master = inSpan(
      this.#runtime.trace,
      "receive the terminal",
      () => receiveMaster(this.#runtime.kernel, console),
    );
    this.#terminal.makeRaw();
    // The program may query the size first thing.
    this.#terminal.copySizeTo(master);
    return { kind: "terminal", master, host: this.#terminal };
  }

  [Symbol.dispose](): void {
    this.#monitor?.[Symbol.dispose]();
    this.#own.interruption.end();
    this.#signals[Symbol.dispose]();
    this.#terminal?.[Symbol.dispose]();
  }
}
