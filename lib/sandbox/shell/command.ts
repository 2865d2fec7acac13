/**
 * What a `sh` template gives: a command that runs when its result is asked for.
 *
 * @module
 */

import { commandError, type SandboxOutput, type SandboxProcess } from "../process/sandbox_process.ts";
import type { SandboxOutputKind, SandboxSpawnOptions } from "../run/options.ts";

/** Starts the shell. */
export type StartShell = (options: SandboxSpawnOptions) => Promise<SandboxProcess>;

/**
 * A shell command of a sandbox. It is immutable: each method gives a new one. `await` runs it, as does each of
 * {@link text}, {@link json}, {@link result} and {@link spawn}.
 */
export class ShellCommand implements PromiseLike<SandboxOutput> {
  readonly #start: StartShell;
  readonly #options: SandboxSpawnOptions;
  readonly #mayFail: boolean;

  /** Made by {@link Sandbox.sh}. */
  constructor(start: StartShell, options: SandboxSpawnOptions = {}, mayFail = false) {
    this.#start = start;
    this.#options = options;
    this.#mayFail = mayFail;
  }

  #with(options: SandboxSpawnOptions): ShellCommand {
    return new ShellCommand(this.#start, { ...this.#options, ...options }, this.#mayFail);
  }

  /** Its failure is a result, not an error. */
  noThrow(value = true): ShellCommand {
    return new ShellCommand(this.#start, this.#options, value);
  }

  /** Its working directory: absolute, in the sandbox. */
  cwd(path: string): ShellCommand {
    return this.#with({ cwd: path });
  }

  /** Adds a variable to its environment. */
  env(name: string, value: string): ShellCommand;
  /** Adds variables to its environment. */
  env(variables: Readonly<Record<string, string>>): ShellCommand;
  env(name: string | Readonly<Record<string, string>>, value = ""): ShellCommand {
    const added = typeof name === "string" ? { [name]: value } : name;
    return this.#with({ env: { ...this.#options.env, ...added } });
  }

  /** Aborting it ends the shell with SIGKILL. */
  signal(signal: AbortSignal): ShellCommand {
    return this.#with({ signal });
  }

  /** The shell is ended with SIGKILL after this time. */
  timeout(timeout: number | string): ShellCommand {
    return this.#with({ timeout });
  }

  /** What becomes of its output: `inherit` by default. */
  stdout(kind: SandboxOutputKind): ShellCommand {
    return this.#with({ stdout: kind });
  }

  /** What becomes of its errors: `inherit` by default. */
  stderr(kind: SandboxOutputKind): ShellCommand {
    return this.#with({ stderr: kind });
  }

  /** Runs it. Both streams are piped, unless {@link stdout} or {@link stderr} says otherwise. @throws {RuncError} */
  result(): Promise<SandboxOutput> {
    return this.#run({ stdout: "piped", stderr: "piped" });
  }

  /** Runs it. Its output, as UTF-8. @throws {RuncError} `command-failed`, also if there is more than `maxOutput`. */
  async text(): Promise<string> {
    const output = await this.#run({ stderr: "piped" }, { stdout: "piped" });
    if (output.truncated) throw commandError("the shell command, whose output is longer than maxOutput,", output);
    return output.stdoutText!;
  }

  /** Runs it. Its output, parsed. @throws {RuncError} as {@link text}; {SyntaxError} if it is not JSON. */
  async json<Value = unknown>(): Promise<Value> {
    return JSON.parse(await this.text());
  }

  /** Starts it. */
  spawn(): Promise<SandboxProcess> {
    return this.#start(this.#options);
  }

  async #run(defaults: SandboxSpawnOptions, forced: SandboxSpawnOptions = {}): Promise<SandboxOutput> {
    const { signal } = this.#options;
    const process = await this.#start({ ...defaults, ...this.#options, ...forced });
    const output = await process.output();
    if (output.success || this.#mayFail) return output;
    if (signal?.aborted) throw signal.reason;
    throw commandError("the shell command", output);
  }

  /** Runs it, as `await` does. @throws {RuncError} `command-failed` if it fails, unless {@link noThrow} was called. */
  then<Result = SandboxOutput, Failure = never>(
    onFulfilled?: ((output: SandboxOutput) => Result | PromiseLike<Result>) | null,
    onRejected?: ((reason: unknown) => Failure | PromiseLike<Failure>) | null,
  ): Promise<Result | Failure> {
    return this.#run({}).then(onFulfilled, onRejected);
  }
}
