/** The monitor of a foreground process, seen from outside: a driver becomes one, and the test is its user. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { openFlag } from "../../lib/ffi/constants.ts";
import type { Fd } from "../../lib/ffi/fd.ts";
import { open, pipe } from "../../lib/ffi/files.ts";
import { streamPair } from "../../lib/ffi/sockets.ts";
import { getAttributes, getWindowSize, isTerminal, setWindowSize } from "../../lib/ffi/terminal.ts";
import { SignalPipe } from "../../lib/ffi/signals.ts";
import { alloc } from "../../lib/ffi/kernel.ts";
import { kill, pidfdOpen, spawn } from "../../lib/ffi/process.ts";
import { poll, POLLIN } from "../../lib/ffi/poll.ts";
import { processStat } from "../../lib/libcontainer/process_status.ts";
import { openPty } from "../fixtures/pty.ts";
import { Driver, kernel, readAll, readSome, readUntil, until, writeText } from "./foreground_harness.ts";

const sh = (script: string) => ["/bin/sh", "-c", script];
const MEGABYTE = 1024 * 1024;

// ── exit statuses and streams ──────────────────────────────────────────────────────────────────────────────────────

const statuses: readonly [script: string, status: number][] = [
  ["exit 0", 0],
  ["exit 3", 3],
  ["kill -KILL $$", 137],
  ["kill -TERM $$", 143],
];

for (const stdio of ["inherited", "pipes"] as const) {
  for (const [script, status] of statuses) {
    Deno.test(`a monitor (${stdio}) ends with the status of "${script}"`, () => {
      using driver = new Driver();
      driver.startWithPipes({ argv: sh(script), stdio });
      assertEquals(driver.end(), status);
    });
  }
}

Deno.test("stdout and stderr stay apart", () => {
  using driver = new Driver();
  const { stdout, stderr } = driver.startWithPipes({ argv: sh("echo out; echo err >&2"), stdio: "pipes" });
  assertEquals([readAll(stdout), readAll(stderr)], ["out\n", "err\n"]);
  assertEquals(driver.end(), 0);
});

Deno.test("our stdin is passed on, and its end", () => {
  using driver = new Driver();
  const { stdin, stdout } = driver.startWithPipes({ argv: sh("cat; echo end"), stdio: "pipes" });
  writeText(stdin, "one\n");
  assertEquals(readUntil(stdout, (text) => text.endsWith("\n")), "one\n");
  writeText(stdin, "two\n");
  stdin.close();
  assertEquals(readAll(stdout), "two\nend\n");
  assertEquals(driver.end(), 0);
});

/** What our stdin and stdout may be. `feed`: gives the driver its end, and its other end the file's content. */
const kinds: readonly [kind: string, feed: (path: string) => Fd, output: () => [theirs: Fd, ours: Fd]][] = [
  ["a file and a pipe", (path) => open(kernel, path, 0), () => swap(pipe(kernel, "stdout"))],
  ["a pipe and a socket", (path) => fedBy(path, swap(pipe(kernel, "stdin"))), () => streamPair(kernel, "stdout")],
  ["a socket and a pipe", (path) => fedBy(path, streamPair(kernel, "stdin")), () => swap(pipe(kernel, "stdout"))],
];

function swap({ read, write }: { read: Fd; write: Fd }): [Fd, Fd] {
  return [write, read];
}

/** The read end of what a process writes the file to. */
function fedBy(path: string, [write, read]: [Fd, Fd]): Fd {
  using end = write;
  spawn(kernel, { path: "/bin/cat", argv: ["cat", path], env: [], fds: [{ from: end.number, to: 1 }] });
  return read;
}

for (const [kind, feed, output] of kinds) {
  Deno.test(`no byte of 10 MB is lost in either direction (stdin and stdout: ${kind})`, () => {
    using driver = new Driver();
    const path = `${driver.directory}/input`;
    const content = Array.from({ length: 10 * MEGABYTE / 16 }, (_, index) => `${index}\n`.padStart(16)).join("");
    Deno.writeTextFileSync(path, content);
    using stdin = feed(path);
    const [theirs, ours] = output();
    using stdout = ours;
    using sink = theirs;
    driver.start({ argv: ["/bin/cat"], stdio: "pipes" }, [stdin, sink, sink]);
    for (const fd of [stdin, sink]) fd.close();
    // Not assertEquals: a difference would print both.
    assert(readAll(stdout) === content);
    assertEquals(driver.end(), 0);
  });
}

Deno.test("a reader that does not read stops neither signals nor the process's end", () => {
  using driver = new Driver();
  const { stdout } = driver.startWithPipes({
    argv: sh(
      `head -c ${10 * MEGABYTE} /dev/zero & trap 'echo got > ${driver.directory}/got; exit 7' USR1
       echo ready > ${driver.directory}/ready; while :; do sleep 0.01; done`,
    ),
    stdio: "pipes",
  });
  driver.said("ready");
  driver.signal(10);
  assertEquals(driver.said("got"), "got");
  driver.processIsReaped();
  // head still writes: its output is waited for after the end of the process, as runc does.
  assertEquals(readAll(stdout).length, 10 * MEGABYTE);
  assertEquals(driver.end(), 7);
});

Deno.test("a reader of stdout that goes away ends an endless writer by SIGPIPE", () => {
  using driver = new Driver();
  const { stdout } = driver.startWithPipes({ argv: ["/usr/bin/yes"], stdio: "pipes" });
  readUntil(stdout, (text) => text.length > 0);
  stdout.close();
  assertEquals(driver.end(), 128 + 13);
});

Deno.test("our stdin is not waited for", () => {
  using driver = new Driver();
  const { stdout } = driver.startWithPipes({ argv: sh("echo done"), stdio: "pipes" });
  assertEquals(readAll(stdout), "done\n");
  assertEquals(driver.end(), 0);
});

Deno.test("our stdio stays blocking for those who share it", () => {
  using driver = new Driver();
  const argv = sh("cat /proc/$PPID/fdinfo/0 /proc/$PPID/fdinfo/1 /proc/$PPID/fdinfo/2");
  const { stdout } = driver.startWithPipes({ argv, stdio: "pipes" });
  const flags = [...readAll(stdout).matchAll(/flags:\s*(\d+)/g)].map(([, octal]) => parseInt(octal!, 8));
  assertEquals(flags.map((value) => value & openFlag(kernel.arch).O_NONBLOCK), [0, 0, 0]);
  assertEquals(driver.end(), 0);
});

// ── signals and orphans ────────────────────────────────────────────────────────────────────────────────────────────

const forwarded: readonly [number: number, name: string][] = [[1, "HUP"], [2, "INT"], [15, "TERM"], [12, "USR2"], [
  40,
  "40",
]];

for (const [signal, name] of forwarded) {
  Deno.test(`signal ${signal} (${name}) is forwarded`, () => {
    using driver = new Driver();
    const { directory } = driver;
    driver.startWithPipes({
      argv: sh(
        `trap 'echo ${name} > ${directory}/got; exit 5' ${name}
         echo ready > ${directory}/ready; while :; do sleep 0.01; done`,
      ),
      stdio: "pipes",
    });
    driver.said("ready");
    driver.signal(signal);
    assertEquals([driver.said("got"), driver.end()], [name, 5]);
  });
}

Deno.test("a subreaper's orphans are reaped, before the process's own end", () => {
  using driver = new Driver();
  const { directory } = driver;
  const fifo = (name: string) => `${directory}/${name}`;
  new Deno.Command("mkfifo", { args: [fifo("orphan"), fifo("main")] }).outputSync();
  driver.startWithPipes({
    argv: sh(
      `sh -c "sh -c 'read x < ${fifo("orphan")}' & echo \\$! > ${fifo("pid")}"; read y < ${fifo("main")}; exit 4`,
    ),
    stdio: "pipes",
    subreaper: true,
  });
  const orphan = Number(driver.said("pid"));
  until("the orphan has a new parent", () => processStat(orphan)?.parent === driver.pid);
  Deno.writeTextFileSync(fifo("orphan"), "go\n");
  until("the orphan is reaped", () => processStat(orphan) === undefined);
  Deno.writeTextFileSync(fifo("main"), "go\n");
  assertEquals(driver.end(), 4);
});

Deno.test("SignalPipe catches signals, and gives their dispositions back", () => {
  const caught = () => Deno.readTextFileSync("/proc/self/status").match(/SigCgt:\s*(\w+)/)![1];
  const before = caught();
  {
    using signals = new SignalPipe(kernel);
    kill(kernel, Deno.pid, 10);
    kill(kernel, Deno.pid, 64);
    const taken: number[] = [];
    while (taken.length < 2) {
      poll(kernel, [{ fd: signals.fd, events: POLLIN }]);
      const number = alloc(1);
      if (kernel.retry("read", signals.fd, number, 1) === 1) taken.push(number[0]!);
    }
    assertEquals(taken.sort(), [10, 64]);
  }
  assertEquals(caught(), before);
});

Deno.test("Deno.Command works after a SignalPipe", async () => {
  new SignalPipe(kernel)[Symbol.dispose]();
  const { code } = await new Deno.Command("/bin/sh", { args: ["-c", "exit 6"] }).output();
  assertEquals(code, 6);
});

// ── terminals ──────────────────────────────────────────────────────────────────────────────────────────────────────

/** A user at a terminal: the driver has its slave as stdio. */
class User implements Disposable {
  readonly driver = new Driver();
  readonly #pty = openPty(kernel);
  readonly screen: Fd = this.#pty.master;
  readonly terminal: Fd = this.#pty.slave;

  run(script: string): this {
    // The container's process gets its terminal as controlling terminal, as init does.
    const argv = ["/usr/bin/setsid", "--ctty", ...sh(script)];
    this.driver.start({ argv, stdio: "terminal" }, [this.terminal, this.terminal, this.terminal]);
    return this;
  }

  /** Waits for `text` on the screen. Returns all that came up to it. */
  sees(text: string): string {
    const seen = readUntil(this.screen, (screen) => screen.includes(text));
    assertStringIncludes(seen, text);
    return seen;
  }

  /** Reads on until the driver's end. Returns its status and what was read. */
  readsToTheEnd(): { status: number; seen: string } {
    let seen = "";
    until("the driver's end", () => {
      while (poll(kernel, [{ fd: this.screen.number, events: POLLIN }], 0)[0] !== 0) {
        seen += new TextDecoder().decode(readSome(this.screen));
      }
      return this.driver.hasEnded;
    });
    return { status: this.driver.end(), seen };
  }

  [Symbol.dispose](): void {
    this.driver[Symbol.dispose]();
    this.screen.close();
    this.terminal.close();
  }
}

Deno.test("a container's terminal is shown on ours, which is raw meanwhile and restored afterwards", () => {
  using user = new User();
  const before = getAttributes(kernel, user.terminal.number);
  setWindowSize(kernel, user.terminal.number, { rows: 40, columns: 100, xPixels: 3, yPixels: 4 });
  user.run(`read start; stty size; read line; echo "got $line"; exit 3`);
  user.driver.logged(/^pid/m);
  until("raw mode", () => getAttributes(kernel, user.terminal.number)[12] !== before[12]);
  writeText(user.screen, "\r");
  // One carriage return: the container's terminal adds none, ours does.
  user.sees("\r\n40 100\r\n");
  writeText(user.screen, "hello\r");
  user.sees("got hello\r\n");
  assertEquals(user.driver.end(), 3);
  assertEquals(getAttributes(kernel, user.terminal.number), before);
});

Deno.test("keys that raise signals go to the container", () => {
  using user = new User();
  user.run(`trap 'echo interrupted; exit 8' INT; echo ready; while :; do sleep 0.01; done`);
  user.sees("ready");
  writeText(user.screen, "\x03");
  user.sees("interrupted");
  assertEquals(user.driver.end(), 8);
});

Deno.test("a new window size reaches the container", () => {
  using user = new User();
  user.run(`trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.01; done`);
  user.sees("ready");
  setWindowSize(kernel, user.terminal.number, { rows: 11, columns: 22, xPixels: 0, yPixels: 0 });
  assertEquals(getWindowSize(kernel, user.screen.number).columns, 22);
  user.driver.signal(28);
  user.sees("11 22");
  assertEquals(user.driver.end(), 0);
});

Deno.test("a terminal's last output is passed on", () => {
  using user = new User();
  user.run(`yes 0123456789 | head -n 20000; echo last words`);
  const seen = user.sees("last words");
  assertEquals(seen.match(/0123456789\r\n/g)!.length, 20000);
  assertEquals(user.driver.end(), 0);
});

Deno.test("a terminal that is stuck does not stop signals", () => {
  using user = new User();
  const { directory } = user.driver;
  user.run(
    `yes 0123456789 & trap 'echo got > ${directory}/got; exit 7' USR1
     echo ready > ${directory}/ready; while :; do sleep 0.01; done`,
  );
  user.driver.said("ready");
  user.driver.signal(10);
  user.driver.said("got");
  user.driver.processIsReaped();
  const { status, seen } = user.readsToTheEnd();
  assertEquals(status, 7);
  assertStringIncludes(seen, "0123456789\r\n0123456789\r\n");
});

Deno.test("a container may close its terminal and open it again", () => {
  using user = new User();
  const { directory } = user.driver;
  user.run(
    `tty=$(tty); exec </dev/null >/dev/null 2>&1; echo closed > ${directory}/closed
     until [ -e ${directory}/go ]; do sleep 0.01; done; echo back > $tty; sleep 0.01; echo again > $tty`,
  );
  user.driver.said("closed");
  // Asleep in ppoll(2): the container has no slave open now, whose master would poll as POLLHUP without end.
  until("the monitor sleeps", () => /^(271|73) /.test(Deno.readTextFileSync(`/proc/${user.driver.pid}/syscall`)));
  Deno.writeTextFileSync(`${directory}/go`, "");
  user.sees("back\r\n");
  user.sees("again\r\n");
  assertEquals(user.driver.end(), 0);
});

Deno.test("SIGINT while the terminal is raw restores it and ends us with 0, as runc does", () => {
  using user = new User();
  const before = getAttributes(kernel, user.terminal.number);
  user.run("echo ready; while :; do sleep 0.01; done");
  user.sees("ready");
  using process = pidfdOpen(kernel, user.driver.processPid)!;
  user.driver.signal(2);
  assertEquals(user.driver.end(), 0);
  assertEquals(getAttributes(kernel, user.terminal.number), before);
  // The master is closed with us, which hangs the container's session up.
  until("the process ends", () => poll(kernel, [{ fd: process.number, events: POLLIN }], 0)[0] !== 0);
});

Deno.test("a pty is a terminal, a pipe is none", () => {
  using driver = new Driver();
  const { stdin } = driver.startWithPipes({ argv: ["/bin/true"], stdio: "inherited" });
  using user = new User();
  assertEquals([isTerminal(kernel, user.terminal.number), isTerminal(kernel, stdin.number)], [true, false]);
  assertEquals(driver.end(), 0);
});
