/**
 * Containers for tests: a bundle of their own, the program built by `deno task build`, Debian's runc to compare with, and
 * the proof that nothing is left behind.
 */

import { assertEquals } from "@std/assert";
import { resolve } from "@std/path";
import type { Fd } from "../../lib/ffi/fd.ts";
import { memfd, open, readMemfd, sealedMemfd } from "../../lib/ffi/files.ts";
import { type ExitStatus, kill, reapAny, shellStatus, spawn, waitChild } from "../../lib/ffi/process/process.ts";
import type { Config, Linux, Mount, Process } from "../../lib/specs/config.ts";
import typicalConfig from "../fixtures/typical_config.json" with { type: "json" };
import { contentOf, kernel, until } from "./foreground_harness.ts";
import { Watchman } from "./leftovers.ts";

export { kernel, until };

/** What a container is run by: ours with either executor, or Debian's runc 1.1.5. */
export type Runtime = "native" | "deno" | "debian";
/** Both ways in which ours sets a container up. */
export const executors: readonly Runtime[] = ["native", "deno"];
/** All that can be compared. */
export const everyone: readonly Runtime[] = [...executors, "debian"];

/** RUNC names another build: `RUNC=dist/runc-compiled deno test -A tests/integration`. */
export const program = resolve(Deno.env.get("RUNC") ?? new URL("../../dist/runc", import.meta.url).pathname);
/** Whether that is a started program, kept as an executable file, and no script that starts Deno. */
export function isSnapshot(path: string): boolean {
  using file = Deno.openSync(path);
  const magic = new Uint8Array(4);
  file.readSync(magic);
  return new TextDecoder().decode(magic) === "\x7fELF";
}
const debianProgram = "/usr/sbin/runc";
export const busybox = "/usr/bin/busybox";

/** Programs of the rootfs; all are busybox. */
const applets =
  ("cat chmod cut date echo env false grep head hostname id ifconfig ip kill ln ls mkdir mknod mount ps pwd " +
    "readlink rm seq sh sleep sort stat stty sysctl tail test touch tr true tty umount uname unshare wc").split(" ");

type Mutable<T> = T extends (infer Item)[] | readonly (infer Item)[] ? Mutable<Item>[]
  : T extends object ? { -readonly [Key in keyof T]: Mutable<T[Key]> }
  : T;

/** config.json, to be changed by tests. */
export type TestConfig = Mutable<
  & Config
  & { process: Process & { args: readonly string[]; env: readonly string[] } }
  & { mounts: readonly Mount[]; root: { path: string; readonly: boolean } }
  & { linux: Linux & Required<Pick<Linux, "namespaces" | "maskedPaths" | "readonlyPaths">> }
>;

/** Changes a config in place. */
export type Change = (config: TestConfig) => void;

/** What came of a program. `code`: as a shell reports it. */
export interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A record of the JSON log for an error, with what the program said beside it. */
export interface ErrorRecord {
  readonly level: string;
  readonly msg: string;
  readonly time: string;
  readonly code?: string;
  readonly field?: string;
  readonly step?: string;
  readonly call?: string;
  readonly errno?: string;
  readonly hint?: string;
  readonly exitCode: number;
  readonly stderr: string;
}

/** How a program is started, beside its arguments. */
export interface StartOptions {
  /** More environment. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** A text, or an open file; nothing where absent. */
  readonly stdin?: string | Fd;
  /** Instead of a file that is read afterwards. */
  readonly stdout?: Fd;
  readonly stderr?: Fd;
  /** Further descriptors: number there, file here. */
  readonly fds?: Readonly<Record<number, Fd>>;
  /** A program that executes the runtime, with its arguments. */
  readonly prefix?: readonly string[];
}

/** A {@link StartOptions.prefix}: shell commands that change what the runtime inherits. */
export const afterShell = (commands: string): readonly string[] => ["/bin/sh", "-c", `${commands}; exec "$@"`, "sh"];

/** Programs that have been started, by pid, until they are disposed of. */
const started = new Map<number, Running>();

/**
 * Reaps what has ended. Orphans of containers are our children: as long as nobody reaps them, process 1 of their pid
 * namespace does not end either. pid_namespaces(7)
 */
function reap(): void {
  for (let ended = reapAny(kernel); ended !== undefined; ended = reapAny(kernel)) {
    started.get(ended.pid)?.hasEnded(ended.status);
  }
}

/** A program that was started and has not been waited for. */
export class Running implements Disposable {
  readonly pid: number;
  readonly #stdout = memfd(kernel, "stdout");
  readonly #stderr = memfd(kernel, "stderr");
  #status: ExitStatus | undefined;

  /** @throws where it cannot be executed. */
  constructor(argv: readonly string[], options: StartOptions = {}) {
    using input = inputOf(options.stdin);
    const given = Object.entries(options.fds ?? {}).map(([to, fd]) => ({ to: Number(to), from: fd.number }));
    const env = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", HOME: "/root", ...options.env };
    this.pid = spawn(kernel, {
      path: argv[0]!,
      argv,
      env: Object.entries(env).map(([name, value]) => `${name}=${value}`),
      cwd: options.cwd,
      fds: [
        { to: 0, from: (options.stdin instanceof Object ? options.stdin : input).number },
        { to: 1, from: (options.stdout ?? this.#stdout).number },
        { to: 2, from: (options.stderr ?? this.#stderr).number },
        ...given,
      ],
    });
    if (this.pid < 0) throw new Error(`cannot execute ${argv[0]}: errno ${-this.pid}`);
    started.set(this.pid, this);
  }

  /** What it has printed so far. */
  get stdout(): string {
    return readMemfd(kernel, this.#stdout, 1 << 20);
  }

  /** What it has printed so far. */
  get stderr(): string {
    return readMemfd(kernel, this.#stderr, 1 << 20);
  }

  signal(signal: number): void {
    kill(kernel, this.pid, signal);
  }

  /** Waits until it has printed `text`. */
  says(text: string): void {
    until(`${JSON.stringify(text)} on stdout`, () => this.stdout.includes(text));
  }

  /** Whether it has ended. */
  get isOver(): boolean {
    reap();
    return this.#status !== undefined;
  }

  /** Takes note of its status, once it has been reaped. */
  hasEnded(status: ExitStatus): void {
    this.#status = status;
  }

  /** Waits for its end. @throws where that does not come. */
  wait(): Result {
    until("its end", () => this.isOver);
    return { code: shellStatus(this.#status!), stdout: this.stdout, stderr: this.stderr };
  }

  [Symbol.dispose](): void {
    if (this.#status === undefined) {
      this.signal(9);
      waitChild(kernel, this.pid);
    }
    started.delete(this.pid);
    this.#stdout.close();
    this.#stderr.close();
  }
}

function inputOf(stdin: StartOptions["stdin"]): Fd {
  if (typeof stdin !== "string") return open(kernel, "/dev/null", 0);
  const content = new TextEncoder().encode(stdin);
  return sealedMemfd(kernel, { name: "stdin", content, executable: false, rewind: true });
}

/** Runs a program to its end. */
export function execute(argv: readonly string[], options: StartOptions = {}): Result {
  using running = new Running(argv, options);
  return running.wait();
}

/** A bundle, a state directory and a cgroup of one test. */
export class Box {
  readonly runtime: Runtime;
  readonly directory = Deno.makeTempDirSync({ prefix: "runc-test-" });
  readonly bundle = `${this.directory}/bundle`;
  readonly rootfs = `${this.bundle}/rootfs`;
  /** Where the runtime keeps state. */
  readonly root = `${this.directory}/state`;
  /** No other test's, at the same time on the same machine. */
  readonly name = this.directory.slice("/tmp/runc-test-".length);
  readonly cgroup = `/${Deno.env.get("RUNC_TEST_CGROUPS") ?? "runc-deno-test"}-${Deno.pid}-${this.name}`;
  /** The usual container. */
  readonly id = "box";

  constructor(runtime: Runtime) {
    this.runtime = runtime;
    Deno.chmodSync(this.directory, 0o755);
    makeRootfs(this.rootfs);
    this.write();
  }

  /** Writes config.json: the usual one, with `true` as its command, after `change`. */
  write(change: Change = () => {}): void {
    const config = structuredClone(typicalConfig) as unknown as TestConfig;
    config.process.terminal = false;
    config.process.args = ["true"];
    config.linux.cgroupsPath = this.cgroup;
    change(config);
    this.writeText(JSON.stringify(config, undefined, 1));
  }

  /** Writes config.json as it is. */
  writeText(text: string): void {
    Deno.writeTextFileSync(`${this.bundle}/config.json`, text);
  }

  /** The runtime's command line. */
  argv(...args: readonly string[]): string[] {
    if (this.runtime === "debian") return [debianProgram, "--root", this.root, ...args];
    return [program, "--init", this.runtime, "--root", this.root, ...args];
  }

  /** Starts the runtime and does not wait. Dispose of what it returns. */
  start(args: readonly string[], options: StartOptions = {}): Running {
    return new Running([...(options.prefix ?? []), ...this.argv(...args)], { cwd: this.bundle, ...options });
  }

  /** Runs the runtime to its end. */
  runc(args: readonly string[], options: StartOptions = {}): Result {
    using running = this.start(args, options);
    return running.wait();
  }

  /** Runs the runtime, which has to succeed without a word on stderr; returns what it printed. */
  must(args: readonly string[], options: StartOptions = {}): string {
    const { code, stdout, stderr } = this.runc(args, options);
    assertEquals({ code, stderr }, { code: 0, stderr: "" }, `runc ${args.join(" ")}`);
    return stdout;
  }

  /** `run` of the config after `change`. */
  run(change: Change, options: StartOptions = {}): Result {
    this.write(change);
    return this.runc(["run", this.id], options);
  }

  /** Runs what has to fail, without a word on stdout; returns the error's record in the log. */
  refused(args: readonly string[], options: StartOptions = {}): ErrorRecord {
    const log = `${this.directory}/log`;
    const { code, stdout, stderr } = this.runc(["--log", log, "--log-format", "json", ...args], options);
    assertEquals([code === 0, stdout], [false, ""], `runc ${args.join(" ")} was not refused: ${stderr}`);
    const records: ErrorRecord[] = contentOf(log).trimEnd().split("\n").map((line) => JSON.parse(line));
    Deno.removeSync(log);
    const errors = records.filter(({ level }) => level === "error");
    assertEquals(errors.length, 1, JSON.stringify(records));
    return { ...errors[0]!, exitCode: code, stderr };
  }

  /** As {@link refused}, for `run` of the config after `change`. */
  runRefused(change: Change): ErrorRecord {
    this.write(change);
    return this.refused(["run", this.id]);
  }

  /** Runs a shell script in the container of the config after `change`; it has to succeed. Returns what it printed. */
  sh(script: string, change: Change = () => {}, options: StartOptions = {}): string {
    this.write((config) => {
      config.process.args = ["sh", "-c", script];
      change(config);
    });
    return this.must(["run", this.id], options);
  }

  /** Starts the usual container in the background, where it sleeps. Returns its pid. */
  startSleeping(change: Change = () => {}): number {
    this.write((config) => {
      config.process.args = ["sleep", "1000"];
      change(config);
    });
    this.must(["run", "--detach", this.id]);
    return this.state().pid;
  }

  /** What `state` says. */
  state(id: string = this.id): { status: string; pid: number; [key: string]: unknown } {
    return JSON.parse(this.must(["state", id]));
  }

  /** Kills and removes a container. */
  remove(id: string = this.id): void {
    this.must(["delete", "--force", id]);
  }

  /** `text` without what differs from box to box. */
  plain(text: string): string {
    return text.replaceAll(this.directory, "<directory>").replaceAll(this.cgroup, "<cgroup>");
  }

  /** Removes what is in the state directory, as a power loss does. */
  loseState(): void {
    Deno.mkdirSync(this.root, { recursive: true });
    for (const { name } of Deno.readDirSync(this.root)) Deno.removeSync(`${this.root}/${name}`, { recursive: true });
  }

  /** The limit of processes of its cgroup, on cgroup v1 or v2. */
  pidsLimit(): string {
    return ["pids", ""].map((hierarchy) => contentOf(`/sys/fs/cgroup/${hierarchy}${this.cgroup}/pids.max`).trim()).join(
      "",
    );
  }

  /** Containers that are in the state directory, which has files of the runtime's too. */
  containers(): string[] {
    try {
      return [...Deno.readDirSync(this.root)].filter(({ isDirectory }) => isDirectory).map(({ name }) => name);
    } catch {
      // The first container makes it.
      return [];
    }
  }
}

/** A rootfs with busybox and two accounts. */
export function makeRootfs(rootfs: string): void {
  for (const name of ["bin", "dev", "etc", "home/someone", "proc", "root", "sys", "tmp"]) {
    Deno.mkdirSync(`${rootfs}/${name}`, { recursive: true });
  }
  Deno.chmodSync(`${rootfs}/tmp`, 0o1777);
  Deno.copyFileSync(busybox, `${rootfs}/bin/busybox`);
  for (const name of applets) Deno.symlinkSync("busybox", `${rootfs}/bin/${name}`);
  Deno.writeTextFileSync(
    `${rootfs}/etc/passwd`,
    "root:x:0:0:root:/root:/bin/sh\nsomeone:x:1000:1000::/home/someone:/bin/sh\n",
  );
  Deno.writeTextFileSync(`${rootfs}/etc/group`, "root:x:0:\nsomeone:x:1000:\n");
}

/** Removes the containers that are there, and says which. */
function removeContainers(box: Box): string[] {
  return box.containers().map((id) => {
    box.runc(["delete", "--force", id]);
    return `container ${id}`;
  });
}

/** A box in use, and what is found in it afterwards. */
class Visit implements Disposable {
  readonly box: Box;
  readonly #watchman: Watchman;
  #left: string[] = [];

  constructor(runtime: Runtime) {
    this.box = new Box(runtime);
    this.#watchman = new Watchman(this.box.name);
  }

  /** The body has not failed. */
  look(): void {
    this.#left = [...removeContainers(this.box), ...this.#watchman.find()];
  }

  [Symbol.dispose](): void {
    try {
      removeContainers(this.box);
      this.#watchman.clear();
    } finally {
      Deno.removeSync(this.box.directory, { recursive: true });
    }
    // Where the body failed that is what is told.
    assertEquals(this.#left, [], "left behind");
  }
}

/** Runs `body` in a new box; afterwards the box is gone. @throws where anything else is not. */
export function inBox<T>(runtime: Runtime, body: (box: Box) => T): T {
  using visit = new Visit(runtime);
  const result = body(visit.box);
  visit.look();
  return result;
}

/** {@link inBox} for a body that waits. */
export async function inBoxAsync<T>(runtime: Runtime, body: (box: Box) => Promise<T>): Promise<T> {
  using visit = new Visit(runtime);
  const result = await body(visit.box);
  visit.look();
  return result;
}

/** A test of what is the same whatever sets the container up: run with the native executor only. */
export function boxTest(name: string, body: (box: Box) => void): void {
  Deno.test(name, () => inBox("native", body));
}

/** A test that is run by each of `runtimes`: what it returns has to be the same. */
export function comparing(name: string, body: (box: Box) => unknown, runtimes: readonly Runtime[] = executors): void {
  Deno.test(name, () => {
    const [first, ...others] = runtimes.map((runtime) => ({ runtime, observed: observe(runtime, body) }));
    for (const { runtime, observed } of others) {
      assertEquals(observed, first!.observed, `${runtime} differs from ${first!.runtime}`);
    }
  });
}

function observe(runtime: Runtime, body: (box: Box) => unknown): unknown {
  try {
    return inBox(runtime, body);
  } catch (error) {
    throw new Error(`failed by ${runtime}`, { cause: error });
  }
}

/** The ids of a user namespace of tests. */
export interface UserNamespaceOptions {
  /** The host's user that is root of the container; those after it follow. */
  readonly hostUid?: number;
  /** The host's group that is root's; without it, the number of `hostUid`. */
  readonly hostGid?: number;
  /** How many ids there are. */
  readonly size?: number;
  /** A namespace that exists, to be joined. */
  readonly path?: string;
}

/** Adds a user namespace. Without options, root of the container is user and group 100000 of the host. */
export function withUserNamespace(options: UserNamespaceOptions = {}): Change {
  const { hostUid = 100_000, hostGid = hostUid, size = 65_536, path } = options;
  return ({ linux }) => {
    // A new list: changes of several configs may share one.
    linux.namespaces = [...linux.namespaces, { type: "user", path }];
    linux.uidMappings = [{ containerID: 0, hostID: hostUid, size }];
    linux.gidMappings = [{ containerID: 0, hostID: hostGid, size }];
  };
}

/** Gives the rootfs the host's programs and libraries, perl among them, read-only. */
export function addHostPrograms(box: Box): Change {
  for (const name of ["lib", "lib64"]) Deno.symlinkSync(`usr/${name}`, `${box.rootfs}/${name}`);
  return (config) => {
    config.mounts.push({ destination: "/usr", type: "bind", source: "/usr", options: ["rbind", "ro"] });
  };
}
