/** A user who is not root, with a bundle, a state directory and a copy of the program that they may execute. */

import { assertEquals } from "@std/assert";
import { resolve } from "@std/path";
import { openPty } from "../fixtures/pty.ts";
import { contentOf, readAll } from "./foreground_harness.ts";
import {
  type Change,
  type ErrorRecord,
  execute,
  isSnapshot,
  kernel,
  makeRootfs,
  type Result,
  Running,
  type Runtime,
  type TestConfig,
} from "./harness.ts";
import { Watchman } from "./leftovers.ts";

export type { Change };
export { contentOf };

/** No account of this machine has it. */
const UID = 4000;
const dist = resolve(new URL("../../dist", import.meta.url).pathname);

/** The files that tell who the user is: mounted over the host's. */
const accountFiles: Readonly<Record<string, string>> = {
  passwd: `root:x:0:0:root:/root:/bin/sh\ntester:x:${UID}:${UID}::/tmp:/bin/sh\n`,
  group: `root:x:0:\ntester:x:${UID}:\n`,
  subuid: "tester:300000:65536\n",
  subgid: "tester:300000:65536\n",
};

/** The program, where the checkout may be out of the user's reach. Made once for all tests of this file. */
let copy: string | undefined;
addEventListener("unload", () => {
  if (copy !== undefined) Deno.removeSync(copy, { recursive: true });
});

function program(): readonly string[] {
  if (copy === undefined) {
    copy = Deno.makeTempDirSync({ prefix: "runc-test-program-" });
    Deno.chmodSync(copy, 0o755);
    for (const { name } of Deno.readDirSync(dist)) {
      if (name === "runc" || name.endsWith(".js")) Deno.copyFileSync(`${dist}/${name}`, `${copy}/${name}`);
    }
    if (!isSnapshot(`${copy}/runc`)) Deno.copyFileSync(Deno.execPath(), `${copy}/deno`);
    // The user's own: nothing but a seal keeps a container from writing to it.
    for (const { name } of Deno.readDirSync(copy)) Deno.chownSync(`${copy}/${name}`, UID, UID);
  }
  if (isSnapshot(`${copy}/runc`)) return [`${copy}/runc`];
  return [`${copy}/deno`, "run", "--allow-all", "--quiet", "--no-config", `${copy}/runc.js`];
}

/** How a command is run, beside its arguments. */
interface Options {
  readonly env?: Readonly<Record<string, string>>;
  readonly executor?: Runtime;
  /** How many more user namespaces there may be: as root of one, where that can be set. */
  readonly namespaces?: number;
}

/** The user, with everything that belongs to one test. */
export class User {
  readonly executor: Runtime;
  readonly directory = Deno.makeTempDirSync({ prefix: "runc-test-" });
  /** Everybody may write there. */
  readonly world = `${this.directory}/world`;
  readonly runtimeDirectory = `${this.directory}/run`;
  readonly #bundle = `${this.directory}/bundle`;
  readonly #accounts = `${this.directory}/accounts`;
  readonly name = this.directory.slice("/tmp/runc-test-".length);
  readonly cgroup = `/runc-deno-test-${Deno.pid}-${this.name}`;
  readonly #delegated: string[] = [];

  constructor(executor: Runtime) {
    this.executor = executor;
    Deno.chmodSync(this.directory, 0o755);
    makeRootfs(`${this.#bundle}/rootfs`);
    for (const path of [this.world, this.runtimeDirectory, this.#accounts]) Deno.mkdirSync(path);
    Deno.chmodSync(this.world, 0o777);
    for (const [name, text] of Object.entries(accountFiles)) Deno.writeTextFileSync(`${this.#accounts}/${name}`, text);
    for (const path of [this.#bundle, this.runtimeDirectory]) Deno.chownSync(path, UID, UID);
  }

  /** Writes config.json: that of `spec --rootless`, with `true` as its command and no terminal, after `change`. */
  write(change: Change = () => {}): void {
    const path = `${this.#bundle}/config.json`;
    // `spec` writes over nothing.
    if (contentOf(path) !== "") Deno.removeSync(path);
    const { code, stderr } = this.runc(["spec", "--rootless"]);
    assertEquals({ code, stderr }, { code: 0, stderr: "" });
    const config: TestConfig = JSON.parse(Deno.readTextFileSync(path));
    config.process.terminal = false;
    config.process.args = ["true"];
    change(config);
    Deno.writeTextFileSync(path, JSON.stringify(config));
  }

  #argv(args: readonly string[], { executor = this.executor, namespaces, env = {} }: Options): readonly string[] {
    const account = Object.keys(accountFiles).map((name) => `mount --bind ${this.#accounts}/${name} /etc/${name}`);
    const commands = namespaces === undefined
      ? [...account, `exec setpriv --reuid=${UID} --regid=${UID} --clear-groups "$@"`]
      : [`echo ${namespaces} >/proc/sys/user/max_user_namespaces`, 'exec "$@"'];
    const runtime = executor === "debian" ? ["/usr/sbin/runc"] : [...program(), "--init", executor];
    const unshare = [
      "/usr/bin/unshare",
      "--mount",
      "--propagation=private",
      ...(namespaces === undefined ? [] : ["-Ur"]),
    ];
    return [...unshare, "/bin/sh", "-ec", commands.join("\n"), "sh", ...withEnvironment(env), ...runtime, ...args];
  }

  get #environment(): Record<string, string> {
    return { HOME: this.directory, XDG_RUNTIME_DIR: this.runtimeDirectory, DENO_DIR: "/proc/none" };
  }

  /** Runs a command to its end. */
  runc(args: readonly string[], options: Options = {}): Result {
    return execute(this.#argv(args, options), { cwd: this.#bundle, env: this.#environment });
  }

  /** Runs a command, which has to succeed without a word on stderr; returns what it printed. */
  must(args: readonly string[], options: Options = {}): string {
    const { code, stdout, stderr } = this.runc(args, options);
    assertEquals({ code, stderr }, { code: 0, stderr: "" }, `runc ${args.join(" ")}`);
    return stdout;
  }

  /** `run` of the config after `change`. */
  run(change: Change): Result {
    this.write(change);
    return this.runc(["run", "box"]);
  }

  /** `run` of the config after `change`, which has to fail; returns the error's record in the log. */
  refused(change: Change, env: Readonly<Record<string, string>> = {}, options: Options = {}): ErrorRecord {
    this.write(change);
    const log = `${this.world}/log`;
    const state = options.namespaces === undefined ? [] : ["--root", `${this.world}/state`];
    const { code, stdout, stderr } = this.runc(["--log", log, "--log-format", "json", ...state, "run", "box"], {
      ...options,
      env,
    });
    assertEquals([code, stdout], [1, ""], stderr);
    const records: ErrorRecord[] = contentOf(log).trimEnd().split("\n").map((line) => JSON.parse(line));
    Deno.removeSync(log);
    return { ...records.find(({ level }) => level === "error")!, stderr };
  }

  /** Runs a command at a terminal; `stdout` is what was on the screen. */
  onTerminal(args: readonly string[]): Result {
    const pty = openPty(kernel);
    using master = pty.master;
    using slave = pty.slave;
    using running = new Running(this.#argv(args, {}), {
      cwd: this.#bundle,
      env: this.#environment,
      stdin: slave,
      stdout: slave,
      stderr: slave,
    });
    // The screen ends when nobody has the terminal any more.
    slave.close();
    const screen = readAll(master);
    return { ...running.wait(), stdout: screen };
  }

  /** Makes {@link cgroup} in every v1 hierarchy and gives it to the user. */
  delegateCgroup(): void {
    for (const { name, isDirectory } of Deno.readDirSync("/sys/fs/cgroup")) {
      const path = `/sys/fs/cgroup/${name}${this.cgroup}`;
      if (!isDirectory) continue;
      Deno.mkdirSync(path);
      this.#delegated.unshift(path);
      Deno.chownSync(path, UID, UID);
      for (const entry of Deno.readDirSync(path)) {
        if (/^(tasks|cgroup\.(procs|threads|subtree_control))$/.test(entry.name)) {
          Deno.chownSync(`${path}/${entry.name}`, UID, UID);
        }
        // A new cpuset has no processors; whoever delegates it says which.
        if (/^cpuset\.(cpus|mems)$/.test(entry.name)) {
          Deno.writeTextFileSync(
            `${path}/${entry.name}`,
            Deno.readTextFileSync(`/sys/fs/cgroup/${name}/${entry.name}`),
          );
        }
      }
    }
  }

  /** Removes what the test has made; containers first. */
  cleanUp(): string[] {
    const left = this.runc(["list", "--quiet"]).stdout.split("\n").filter((id) => id !== "");
    for (const id of left) this.runc(["delete", "--force", id]);
    for (const path of this.#delegated.splice(0)) Deno.removeSync(path);
    return left.map((id) => `container ${id}`);
  }
}

/** The words before a program that set its environment, and not that of what comes before. */
function withEnvironment(env: Readonly<Record<string, string>>): readonly string[] {
  return ["/usr/bin/env", ...Object.entries(env).map(([name, value]) => `${name}=${value}`)];
}

function asUser<T>(executor: Runtime, body: (user: User) => T): T {
  const user = new User(executor);
  const watchman = new Watchman(user.name);
  let left: string[] = [];
  try {
    const result = body(user);
    left = [...user.cleanUp(), ...watchman.find()];
    return result;
  } finally {
    try {
      user.cleanUp();
      watchman.clear();
    } finally {
      Deno.removeSync(user.directory, { recursive: true });
    }
    assertEquals(left, [], "left behind");
  }
}

/** A test with the native executor. */
export function userTest(name: string, body: (user: User) => void): void {
  Deno.test(name, () => asUser("native", body));
}

/** A test that is run by each of `runtimes`: what it returns has to be the same. */
export function comparingUsers(name: string, body: (user: User) => unknown, runtimes: readonly Runtime[]): void {
  Deno.test(name, () => {
    const [first, ...others] = runtimes.map((runtime) => ({ runtime, observed: asUser(runtime, body) }));
    for (const { runtime, observed } of others) {
      assertEquals(observed, first!.observed, `${runtime} differs from ${first!.runtime}`);
    }
  });
}
