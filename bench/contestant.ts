/**
 * One runtime in the benchmark: its command line, with its own bundles and state directory.
 *
 * @module
 */

import { join } from "@std/path";
import { type BundleOptions, makeBundle, withMounts, withSeccomp } from "./bundles.ts";
import { finish, kernel, peakRssKib, start, type Timed, timed } from "./timed.ts";
import { kill, waitChild } from "../lib/ffi/process/process.ts";
import { withUserNamespace } from "../tools/snapshot/rehearsal.ts";

/** A runtime's name and program. */
export interface Runtime {
  readonly name: string;
  readonly program: string;
}

/** The bundles of a contestant. */
export type BundleName = "true" | "sleep" | "mounts" | "seccomp" | "userns" | "other";

/** A runtime with its bundles and state below `directory`. */
export class Contestant {
  readonly name: string;
  readonly program: string;
  readonly #busybox: string;
  readonly #directory: string;
  readonly #log: string;
  #containers = 0;

  constructor({ name, program }: Runtime, options: { readonly directory: string; readonly busybox: string }) {
    this.name = name;
    this.program = program;
    this.#busybox = options.busybox;
    this.#directory = join(options.directory, name);
    this.#log = join(this.#directory, "log");
    this.bundle("true", { args: ["true"] });
    // Longer than everything that is started in it.
    this.bundle("sleep", { args: ["sleep", "1000"] });
    this.bundle("mounts", { args: ["true"], change: withMounts });
    this.bundle("seccomp", { args: ["true"], change: withSeccomp });
    this.bundle("userns", { args: ["true"], change: withUserNamespace });
  }

  /** The same runtime, out of a copy of its program that nobody else runs. */
  copied(): Contestant {
    const program = join(this.#directory, "program");
    Deno.copyFileSync(this.program, program);
    return new Contestant({ name: "copy", program }, { directory: this.#directory, busybox: this.#busybox });
  }

  /** Creates or replaces a bundle. Returns its directory. `number`: for containers that run in parallel. */
  bundle(name: BundleName, options: Pick<BundleOptions, "args" | "change">, number = 0): string {
    const directory = this.bundleDirectory(name, number);
    makeBundle(directory, { busybox: this.#busybox, cgroup: this.#cgroup(`${name}-${number}`), ...options });
    return directory;
  }

  #cgroup(name: string): string {
    return `/runc-bench-${Deno.pid}-${this.name}-${name}`;
  }

  /** The state directory. */
  get root(): string {
    return join(this.#directory, "state");
  }

  /** A container id that was not used before. */
  nextId(): string {
    return `bench-${this.#containers++}`;
  }

  /** The command line of a command. */
  argv(...args: readonly string[]): readonly string[] {
    return [this.program, "--root", this.root, "--log", this.#log, ...args];
  }

  /** Runs a command and waits for its end. @throws if it fails, with the log's last line. */
  call(...args: readonly string[]): Timed {
    const outcome = timed(this.argv(...args));
    if (outcome.code !== 0) {
      throw new Error(`${this.name} ${args[0]} failed (${outcome.code}): ${this.#lastLogLine()}`);
    }
    return outcome;
  }

  /** Like {@link call}, but returns the command's peak memory, in KiB. */
  peak(...args: readonly string[]): number {
    return peakRssKib(this.argv(...args), join(this.#directory, "pid"));
  }

  /** The directory of a bundle. */
  bundleDirectory(name: BundleName, number = 0): string {
    return join(this.#directory, `${name}-${number}`);
  }

  /** Times `run` of a bundle. */
  run(bundle: BundleName, number = 0): Timed {
    return this.call("run", "--bundle", this.bundleDirectory(bundle, number), this.nextId());
  }

  /** Creates a container that waits for `start`. */
  create(number = 0): Timed & { readonly id: string; readonly pid: number } {
    const id = this.nextId();
    const pidFile = join(this.#directory, "pid");
    const bundle = this.bundleDirectory("sleep", number);
    const outcome = this.call("create", "--bundle", bundle, "--pid-file", pidFile, id);
    return { ...outcome, id, pid: Number(Deno.readTextFileSync(pidFile)) };
  }

  /** The exit status of `run` of a bundle. Does not throw on failure. */
  statusOf(bundle: BundleName): number {
    return timed(this.argv("run", "--bundle", this.bundleDirectory(bundle), this.nextId())).code;
  }

  /** Starts a container in the foreground and calls `look` on the runtime's process once the program runs. */
  foreground(look: (pid: number) => number): number {
    const id = this.nextId();
    const runtime = start(this.argv("run", "--bundle", this.bundleDirectory("sleep"), id));
    try {
      while (!this.#isRunning(id)) kernel.call("usleep", 20_000);
      // Gives the runtime time to finish the work that it does after the program has started.
      kernel.call("usleep", 200_000);
      return look(runtime);
    } finally {
      // The runtime then removes the container itself.
      this.call("kill", id, "KILL");
      finish(runtime);
    }
  }

  #isRunning(id: string): boolean {
    const { stdout } = new Deno.Command(this.program, { args: ["--root", this.root, "state", id], stderr: "null" })
      .outputSync();
    return new TextDecoder().decode(stdout).includes('"running"');
  }

  /** The first line of `--version`. */
  version(): string {
    const { stdout } = new Deno.Command(this.program, { args: ["--version"] }).outputSync();
    return new TextDecoder().decode(stdout).split("\n")[0] ?? "";
  }

  #lastLogLine(): string {
    try {
      return Deno.readTextFileSync(this.#log).trimEnd().split("\n").at(-1) ?? "";
    } catch {
      return "the log cannot be read";
    }
  }

  /** Kills the containers that a failure may have left. */
  cleanUp(): void {
    for (const id of namesIn(this.root)) timed(this.argv("delete", "--force", id));
  }
}

/** Kills a container's first process and waits for its end, without the runtime's help. */
export function endOf(pid: number): void {
  kill(kernel, pid, 9);
  waitForEnd(pid);
}

/** Waits until the process is gone, or is a zombie that its new parent has not reaped yet. */
export function waitForEnd(pid: number): void {
  for (let time = 0; time < 10_000; time++) {
    // It is our child if this program is a subreaper.
    if (waitChild(kernel, pid) !== undefined) return;
    try {
      const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
      if (/^[ZX]/.test(stat.slice(stat.lastIndexOf(")") + 2))) return;
    } catch {
      return;
    }
    kernel.call("usleep", 1000);
  }
  throw new Error(`process ${pid} did not end`);
}

function namesIn(directory: string): string[] {
  try {
    return [...Deno.readDirSync(directory)].filter(({ isDirectory }) => isDirectory).map(({ name }) => name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}
