/**
 * A process in the foreground, as `run` and `exec` have it: what is there before it, and the hand-over to the monitor.
 *
 * @module
 */

import { resolve } from "@std/path";
import { HostTerminal, receiveMaster } from "../libcontainer/launch/host_terminal.ts";
import { type ForegroundStdio, Monitor, type MonitorOptions } from "../libcontainer/launch/hand_over.ts";
import type { Runtime } from "../libcontainer/runtime.ts";
import { type fexecve, processEnvironment } from "../ffi/process/process.ts";
import { withTraceparent } from "../trace/context.ts";
import { inSpan } from "../trace/tracer.ts";
import { SignalPipe } from "../ffi/process/signals.ts";
import type { ConsoleSize } from "../specs/config.ts";
import type { Context } from "./context.ts";
import type { Interruption } from "./interruption.ts";
import type { ProcessIo } from "./process_io.ts";

/** What of our process the monitor needs. */
interface Own {
  /** All of it, but the program's name: what the process is seen with. */
  readonly words: readonly string[];
  /** The global options of the runtime when it is executed again: what it is to find, and where it is to log. */
  readonly globalWords: readonly string[];
  readonly debug: boolean;
  /** Where the end of the container is to be traced, if it is. */
  readonly traceFile?: string;
  /** How this process becomes another program. */
  readonly replace: typeof fexecve;
  /** What ends the waits until then. */
  readonly interruption: Interruption;
}

/** The process that is to be looked after. */
export type MonitoredProcess = Pick<MonitorOptions, "pid" | "id" | "removal" | "notify">;

/** Makes a {@link Foreground}. @throws {RuncError} where `terminal` is asked for and there is none. */
export type MakeForeground = (runtime: Runtime, options: { terminal: boolean }) => Foreground;

/** To be called as long as the working directory is our caller's: later it is the bundle. */
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

/** What has to be there before the process is: no signal may be lost, and no process made for want of a terminal. */
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

  /** What process.consoleSize would say of the user's terminal; undefined without one, or where it has no size. */
  get consoleSize(): ConsoleSize | undefined {
    const size = this.#terminal?.size;
    return size === undefined || size.rows === 0 || size.columns === 0
      ? undefined
      : { height: size.rows, width: size.columns };
  }

  /**
   * Makes the monitor ready, for the time that would be spent waiting for the process to be set up. Where the process has a terminal, which is
   * not there yet, {@link run} makes it.
   *
   * @throws {RuncError}
   */
  prepare(options: MonitoredProcess, io: ProcessIo): void {
    if (io.console === undefined) this.#monitor = this.#makeMonitor(options, this.#stdio(io));
  }

  /**
   * Becomes the monitor, which passes streams and signals on until the process ends, and ends as a shell would. Never returns. `start` lets the
   * process run, once its terminal is ours.
   *
   * @throws {RuncError} The process lives on.
   */
  run(options: MonitoredProcess, io: ProcessIo, { start }: { start?: () => void } = {}): never {
    const stdio = this.#monitor === undefined ? this.#stdio(io) : undefined;
    start?.();
    if (stdio !== undefined) this.#monitor = this.#makeMonitor(options, stdio);
    const { traceparent } = this.#runtime.trace ?? {};
    const environment = processEnvironment(this.#runtime.kernel);
    return this.#monitor!.become({
      environment: traceparent === undefined ? environment : withTraceparent(environment, traceparent),
      replace: this.#own.replace,
      softFileLimit: this.#runtime.softFileLimit,
    });
  }

  #makeMonitor({ pid, id, removal, notify }: MonitoredProcess, stdio: ForegroundStdio): Monitor {
    const { path, args } = this.#runtime.reexec;
    const { words, globalWords, debug, traceFile } = this.#own;
    const options: MonitorOptions = {
      pid,
      stdio,
      signals: this.#signals,
      notify,
      removal: traceFile === undefined || removal.kind === "none"
        ? removal
        : { kind: "runtime", options: ["--trace", traceFile] },
      id,
      argv: ["runc", ...words],
      again: { path, args: [path, ...args, ...globalWords] },
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
    // The program may ask for it as its first act.
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
