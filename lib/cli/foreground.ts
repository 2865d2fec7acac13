/**
 * A process in the foreground, as `run` and `exec` have it: what is there before it, and the hand-over to the monitor.
 *
 * @module
 */

import { resolve } from "@std/path";
import type { ContainerProcess } from "../libcontainer/container_process.ts";
import { HostTerminal, receiveMaster } from "../libcontainer/host_terminal.ts";
import { type ForegroundStdio, handOver } from "../libcontainer/monitor/hand_over.ts";
import type { Removal } from "../libcontainer/monitor/plan.ts";
import type { NotifyProxy } from "../libcontainer/notify.ts";
import type { Runtime } from "../libcontainer/runtime.ts";
import type { fexecve } from "../ffi/process.ts";
import { inSpan } from "../trace/tracer.ts";
import { SignalPipe } from "../ffi/signals.ts";
import type { ConsoleSize } from "../specs/config.ts";
import type { Context } from "./context.ts";
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
}

/** Makes a {@link Foreground}. @throws {RuncError} where `terminal` is asked for and there is none. */
export type MakeForeground = (runtime: Runtime, options: { terminal: boolean }) => Foreground;

/** To be called as long as the working directory is our caller's: later it is the bundle. */
export function foregroundOf({ words, global, root, replace, traceFile }: Context): MakeForeground {
  const { debug, log = "", "log-format": format } = global;
  const globalWords = [
    "--root",
    root,
    ...(debug ? ["--debug"] : []),
    ...(log === "" ? [] : ["--log", resolve(log)]),
    ...(format === "" ? [] : ["--log-format", format]),
  ];
  return (runtime, options) => new Foreground(runtime, { words, globalWords, debug, replace, traceFile }, options);
}

/** What has to be there before the process is: no signal may be lost, and no process made for want of a terminal. */
export class Foreground implements Disposable {
  readonly #runtime: Runtime;
  readonly #own: Own;
  readonly #signals: SignalPipe;
  readonly #terminal: HostTerminal | undefined;

  /** @see foregroundOf */
  constructor(runtime: Runtime, own: Own, options: { terminal: boolean }) {
    this.#runtime = runtime;
    this.#own = own;
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
   * Becomes the monitor, which passes streams and signals on until the process ends, and ends as a shell would. Never returns. `start` lets the
   * process run, once its terminal is ours.
   *
   * @throws {RuncError} The process lives on.
   */
  run(
    process: ContainerProcess,
    io: ProcessIo,
    options: { id: string; start?: () => void; notify?: NotifyProxy; removal: Removal },
  ): never {
    const { id, start, notify, removal } = options;
    const stdio = this.#stdio(io);
    start?.();
    const { path, args } = this.#runtime.reexec;
    const { words, globalWords, debug, replace, traceFile } = this.#own;
    const { traceparent } = this.#runtime.trace ?? {};
    const environment = { ...Deno.env.toObject(), ...(traceparent === undefined ? {} : { TRACEPARENT: traceparent }) };
    return handOver(this.#runtime, {
      pid: process.pid,
      stdio,
      signals: this.#signals,
      notify,
      removal: traceFile === undefined || removal.kind === "none"
        ? removal
        : { kind: "runtime", options: ["--trace", traceFile] },
      id,
      argv: ["runc", ...words],
      environment: Object.entries(environment).map(([name, value]) => `${name}=${value}`),
      again: { path, args: [path, ...args, ...globalWords] },
      debug,
      replace,
    });
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
    this.#signals[Symbol.dispose]();
    this.#terminal?.[Symbol.dispose]();
  }
}
