/**
 * One runtime in the comparison: its command line on a bundle of its own, timed.
 *
 * @module
 */

import { ensureDirSync } from "@std/fs";
import { join } from "@std/path";
import { type Config, defaultSpec, hasOnlyCgroup2 } from "../mod.ts";

/** What is timed, in the order of a container's life; `run` stands for itself. */
export const operations = ["run", "create", "start", "state", "exec", "kill", "delete"] as const;

/** One of {@link operations}. */
export type Operation = typeof operations[number];

/** Memory of the process that waits between `create` and `start`. */
export interface Waiting {
  /** /proc/PID/smaps_rollup, `Rss`: everything that is mapped and present. */
  readonly rssKib: number;
  /** `Pss`: the same, with what others share divided among them. */
  readonly pssKib: number;
  /** Size of the program that it runs: for ours, the whole image. */
  readonly programBytes: number;
}

/** A runtime's name and program. */
export interface Runtime {
  readonly name: string;
  readonly program: string;
}

/** Long enough for everything that is started in it. */
const PAYLOAD = ["sleep", "1000"];

/** A runtime with bundles and state of its own below `directory`. */
export class Contestant {
  readonly name: string;
  readonly #program: string;
  readonly #directory: string;
  readonly #log: string;
  #containers = 0;
  readonly samples: Readonly<Record<Operation, number[]>>;

  constructor({ name, program }: Runtime, options: { directory: string; busybox: string }) {
    this.name = name;
    this.#program = program;
    this.#directory = join(options.directory, name);
    this.#log = join(this.#directory, "log");
    this.samples = Object.fromEntries(operations.map((name) => [name, [] as number[]])) as Record<Operation, number[]>;
    for (const [bundle, args] of Object.entries({ short: ["true"], long: PAYLOAD })) {
      makeBundle(join(this.#directory, bundle), { args, busybox: options.busybox, cgroup: this.#cgroup });
    }
  }

  /** Absolute: runtimes differ in where a relative one is. The last part is the container's own, and goes with it. */
  get #cgroup(): string {
    return `/runc-bench-${Deno.pid}-${this.name}`;
  }

  #bundle(name: "short" | "long"): string {
    return join(this.#directory, name);
  }

  /** `run` of `true`. */
  run(): void {
    this.#time("run", ["run", "--bundle", this.#bundle("short"), this.#nextId()]);
  }

  /** A container from `create` to `delete`. */
  live(): void {
    const { id, pid } = this.#create();
    this.#time("start", ["start", id]);
    this.#time("state", ["state", id]);
    this.#time("exec", ["exec", id, "true"]);
    this.#time("kill", ["kill", id, "KILL"]);
    waitForEnd(pid);
    this.#time("delete", ["delete", id]);
  }

  /** Creates a container and looks at the process that waits in it. */
  waiting(): Waiting {
    const { id, pid } = this.#create();
    try {
      const rollup = Deno.readTextFileSync(`/proc/${pid}/smaps_rollup`);
      const field = (name: string) => Number(new RegExp(`^${name}: +(\\d+) kB$`, "m").exec(rollup)?.[1]);
      return {
        rssKib: field("Rss"),
        pssKib: field("Pss"),
        programBytes: Deno.statSync(`/proc/${pid}/exe`).size,
      };
    } finally {
      this.#call(["delete", "--force", id]);
    }
  }

  /** Forgets what was measured so far. */
  forget(): void {
    for (const name of operations) this.samples[name].length = 0;
  }

  /** First line of its `--version`. */
  version(): string {
    const { stdout } = new Deno.Command(this.#program, { args: ["--version"], stdout: "piped" }).outputSync();
    return new TextDecoder().decode(stdout).split("\n")[0] ?? "";
  }

  #create(): { id: string; pid: number } {
    const id = this.#nextId();
    const pidFile = join(this.#directory, "pid");
    this.#time("create", ["create", "--bundle", this.#bundle("long"), "--pid-file", pidFile, id]);
    return { id, pid: Number(Deno.readTextFileSync(pidFile)) };
  }

  #nextId(): string {
    return `bench-${this.#containers++}`;
  }

  #time(operation: Operation, args: readonly string[]): void {
    const before = performance.now();
    this.#call(args);
    this.samples[operation].push(performance.now() - before);
  }

  /** stdio is /dev/null: a pipe's other end would stay open in the container. @throws with the log's last line. */
  #call(args: readonly string[]): void {
    const { code } = new Deno.Command(this.#program, {
      args: ["--root", join(this.#directory, "state"), "--log", this.#log, ...args],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).outputSync();
    if (code !== 0) throw new Error(`${this.name} ${args[0]} failed (${code}): ${this.#lastLogLine()}`);
  }

  #lastLogLine(): string {
    try {
      return Deno.readTextFileSync(this.#log).trimEnd().split("\n").at(-1) ?? "";
    } catch {
      return "no log";
    }
  }

  /** Ends what a failure may have left. */
  cleanUp(): void {
    for (const id of namesIn(join(this.#directory, "state"))) {
      new Deno.Command(this.#program, {
        args: ["--root", join(this.#directory, "state"), "delete", "--force", id],
        stdout: "null",
        stderr: "null",
      }).outputSync();
    }
  }
}

/** The default config with `args` and without a terminal, beside a root file system that is one busybox. */
function makeBundle(directory: string, options: { args: readonly string[]; busybox: string; cgroup: string }): void {
  const rootfs = join(directory, "rootfs");
  for (const name of ["bin", "dev", "proc", "sys"]) ensureDirSync(join(rootfs, name));
  Deno.copyFileSync(options.busybox, join(rootfs, "bin/busybox"));
  for (const name of ["true", "sleep"]) Deno.symlinkSync("busybox", join(rootfs, "bin", name));
  const config = defaultSpec({ cgroup2: hasOnlyCgroup2() });
  const changed: Config = {
    ...config,
    // crun 1.8 refuses versions later than itself.
    ociVersion: "1.0.2",
    process: { ...config.process!, terminal: false, args: options.args },
    linux: { ...config.linux, cgroupsPath: options.cgroup },
  };
  Deno.writeTextFileSync(join(directory, "config.json"), JSON.stringify(changed));
}

function namesIn(directory: string): string[] {
  try {
    return [...Deno.readDirSync(directory)].map(({ name }) => name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

/** Until the process is gone, or a zombie that its new parent has not reaped. */
function waitForEnd(pid: number): void {
  for (const deadline = performance.now() + 10_000; performance.now() < deadline;) {
    try {
      const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
      if (/^[ZX]/.test(stat.slice(stat.lastIndexOf(")") + 2))) return;
    } catch {
      return;
    }
  }
  throw new Error(`process ${pid} does not end`);
}
