/** The command line's share of a soak: every command, what fails, what is cut short, and containers that live on. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { existsSync } from "@std/fs";
import {
  type Box,
  type Change,
  kernel,
  program,
  type Result,
  Running,
  type StartOptions,
  until,
} from "../integration/harness.ts";
import { contentOf, executableOf } from "../integration/foreground_harness.ts";
import { CriuBox, hasCriu } from "../integration/criu_harness.ts";
import { openPty } from "../fixtures/pty.ts";
import { descendants, type LongLived } from "./figures.ts";

/** How often a round executes a program in each container that lives on. */
const EXECS = 10;

/** What a process of this program's own, which has no heap, may need more: a page or two of its stack. */
const NATIVE = { bound: 16, reason: "no heap: a page of the stack here and there, and nothing for each exec" };

/** One that is to be refused: how its config is wrong, and what is said. */
const refused: readonly (readonly [change: Change, says: RegExp])[] = [
  [(config) => config.process.args = ["nowhere"], /executable file not found/],
  [(config) => config.process.cwd = "/etc/passwd", /chdir to cwd/],
  [(config) => config.mounts.push({ destination: "/x", type: "bind", source: "/nowhere", options: ["bind"] }), /mount/],
  [(config) => config.linux.sysctl = { "kernel.shmmni": "none" }, /sysctl/],
  [(config) => config.hooks = { prestart: [{ path: "/bin/false" }] }, /hook/],
  [(config) => config.hooks = { createContainer: [{ path: "/bin/false" }] }, /hook/],
  [(config) => config.hooks = { startContainer: [{ path: "/bin/false" }] }, /hook/],
  [({ linux }) => linux.namespaces.push({ type: "network", path: "/nowhere" }), /nowhere/],
];

/** The usual program: the front where it can, otherwise the snapshot; the other half of the rounds only the snapshot. */
export class Commands implements Disposable {
  readonly #box: Box;
  readonly #watched: Running;
  #round = 0;
  /** Containers that were made. */
  made = 0;
  execs = 0;
  readonly longLived: readonly LongLived[];

  constructor(box: Box) {
    this.#box = box;
    const before = new Set(descendants());
    this.#write("watched", ["sleep", "1000000"]);
    this.#watched = new Running(this.#argv("run", "watched"), { cwd: box.bundle });
    until("the monitor", () => executableOf(this.#watched.pid).startsWith("/memfd:runc-monitor"));
    this.#write("supervised", ["sleep", "1000000"]);
    this.#must(["run", "--detach", "--supervise", "supervised"]);
    const isNew = (pid: number) => !before.has(pid) && pid !== this.#watched.pid;
    const supervisor = until(
      "the supervisor",
      () => descendants().find((pid) => isNew(pid) && executableOf(pid).startsWith("/memfd:runc-monitor")),
    );
    this.longLived = [
      { name: "monitor of run", pid: this.#watched.pid, memory: NATIVE },
      { name: "supervisor", pid: supervisor, memory: NATIVE },
      { name: "init, entered by exec", pid: box.state("watched").pid, memory: NATIVE },
    ];
  }

  /** Odd rounds give an option that the front does not know, so the snapshot carries out everything. */
  #argv(...args: readonly string[]): string[] {
    const through = this.#round % 2 === 0 ? [] : ["--init", "native"];
    return [program, ...through, "--root", this.#box.root, ...args];
  }

  #start(args: readonly string[], options: StartOptions = {}): Running {
    return new Running(this.#argv(...args), { cwd: this.#box.bundle, ...options });
  }

  #runc(args: readonly string[], options: StartOptions = {}): Result {
    using running = this.#start(args, options);
    return running.wait();
  }

  #must(args: readonly string[], options: StartOptions = {}): string {
    const { code, stdout, stderr } = this.#runc(args, options);
    assertEquals({ code, stderr }, { code: 0, stderr: "" }, `runc ${args.join(" ")}`);
    return stdout;
  }

  /** Writes the config of a container, in a cgroup of its own. */
  #write(id: string, args: readonly string[], change: Change = () => {}): void {
    this.#box.write((config) => {
      config.process.args = [...args];
      config.linux.cgroupsPath = `${this.#box.cgroup}-${id}`;
      change(config);
    });
    this.made++;
  }

  /** A round of everything. Each container that it makes is gone at its end. */
  round(): void {
    this.#round++;
    this.#foreground();
    this.#detached();
    this.#created();
    this.#supervised();
    this.#refused();
    this.#cut();
    this.#atTerminal();
    this.#entered();
    if (hasCriu && this.#round % 4 === 0) this.#saved();
  }

  #foreground(): void {
    this.#write("box", ["sh", "-c", "cat; echo text; echo wrong >&2; exit 3"]);
    assertEquals(this.#runc(["run", "box"], { stdin: "in\n" }), { code: 3, stdout: "in\ntext\n", stderr: "wrong\n" });
    const actions = "SCMP_ACT_ERRNO";
    this.#write(
      "box",
      ["true"],
      ({ linux }) =>
        linux.seccomp = { defaultAction: "SCMP_ACT_ALLOW", syscalls: [{ names: ["mkdir"], action: actions }] },
    );
    this.#must(["run", "box"]);
  }

  #detached(): void {
    this.#write("box", ["sleep", "1000"]);
    this.#must(["run", "--detach", "box"]);
    assertEquals(this.#must(["exec", "box", "echo", "text"]), "text\n");
    this.#must(["exec", "--detach", "box", "sleep", "1000"]);
    this.#must(["pause", "box"]);
    this.#must(["update", "--pids-limit", "100", "box"]);
    this.#must(["resume", "box"]);
    assert(JSON.parse(this.#must(["events", "--stats", "box"])).data.pids.current >= 2);
    assert(this.#must(["ps", "box"]).includes("sleep"));
    this.#must(["inspect", "box"]);
    assertMatch(this.#must(["list"]), /^box .*running/m);
    this.#must(["kill", "box", "KILL"]);
    until("its end", () => JSON.parse(this.#must(["state", "box"])).status === "stopped");
    this.#must(["delete", "box"]);
  }

  #created(): void {
    this.#write("box", ["true"]);
    this.#must(["create", "box"]);
    this.#must(["start", "box"]);
    until("its end", () => JSON.parse(this.#must(["state", "box"])).status === "stopped");
    this.#must(["delete", "box"]);
    this.#write("box", ["true"]);
    this.#must(["create", "box"]);
    this.#must(["delete", "--force", "box"]);
  }

  #supervised(): void {
    this.#write("box", ["sh", "-c", "exit 5"]);
    this.#must(["create", "--supervise", "box"]);
    this.#must(["start", "box"]);
    assertEquals(this.#runc(["wait", "box"]).code, 5);
    this.#must(["delete", "box"]);
  }

  #refused(): void {
    for (const [change, says] of refused) {
      this.#write("box", ["true"], change);
      const { code, stderr } = this.#runc(["run", "box"]);
      assert(code !== 0, `${change} was not refused`);
      assertMatch(stderr, says);
    }
    this.#box.writeText("{ not JSON");
    assert(this.#runc(["create", "box"]).code !== 0);
    assert(this.#runc(["exec", "nobody", "true"]).code !== 0);
    assert(this.#runc(["exec", "watched", "nowhere"]).code !== 0);
  }

  /** Commands that are ended by a signal while they create. */
  #cut(): void {
    const runs = `${this.#box.directory}/hook-runs`;
    for (const signal of [15, 9]) {
      const script = `echo > ${runs}; exec sleep 1000`;
      this.#write("box", ["true"], (config) => {
        config.hooks = { createRuntime: [{ path: "/bin/sh", args: ["sh", "-c", script] }] };
      });
      const before = new Set(descendants());
      using create = this.#start(["create", "box"]);
      until("the hook", () => existsSync(runs));
      create.signal(signal);
      assertEquals(create.wait().code, 128 + signal);
      // A hook is its own master: that of a killed runtime goes on.
      const hooks = descendants().filter((pid) =>
        !before.has(pid) && contentOf(`/proc/${pid}/cmdline`).startsWith("sleep")
      );
      for (const pid of hooks) kernel.call("kill", pid, 9);
      this.#runc(["delete", "--force", "box"]);
      Deno.removeSync(runs);
    }
  }

  #atTerminal(): void {
    const { master, slave } = openPty(kernel);
    using _master = master;
    using _slave = slave;
    this.#write("box", ["tty"], (config) => config.process.terminal = true);
    using running = this.#start(["run", "box"], { stdin: slave, stdout: slave });
    assertEquals(running.wait().code, 0);
  }

  #entered(): void {
    for (const id of ["watched", "supervised"]) {
      for (let index = 0; index < EXECS; index++) {
        assertEquals(this.#must(["exec", id, "echo", "entered"]), "entered\n");
        this.execs++;
      }
    }
  }

  /** Saved and restored. */
  #saved(): void {
    const box = new CriuBox(this.#box);
    box.startCounting(({ linux }) => linux.cgroupsPath = `${this.#box.cgroup}-saved`);
    box.checkpoint();
    box.restore();
    box.countsOn();
    this.#box.remove();
    Deno.removeSync(`${this.#box.rootfs}/count`);
    Deno.removeSync(box.images, { recursive: true });
    this.made += 2;
  }

  [Symbol.dispose](): void {
    this.#runc(["delete", "--force", "supervised"]);
    this.#runc(["kill", "watched", "KILL"]);
    this.#watched[Symbol.dispose]();
    this.#runc(["delete", "--force", "watched"]);
  }
}
