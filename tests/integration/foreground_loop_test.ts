/** The monitor of a foreground process, seen from outside: a driver becomes one, and the test is its user. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { openFlag } from "../../lib/ffi/constants.ts";
import type { Fd } from "../../lib/ffi/fd.ts";
import { open, pipe } from "../../lib/ffi/files.ts";
import { streamPair } from "../../lib/ffi/sockets.ts";
import { getAttributes, getWindowSize, isTerminal, setWindowSize } from "../../lib/ffi/terminal.ts";
import { SignalPipe } from "../../lib/ffi/process/signals.ts";
import { alloc } from "../../lib/ffi/kernel.ts";
import { kill, pidfdOpen, spawn } from "../../lib/ffi/process/process.ts";
import { poll, POLLIN } from "../../lib/ffi/poll.ts";
import { processStat } from "../../lib/libcontainer/state/process_status.ts";
import { openPty } from "../fixtures/pty.ts";
import { contentOf, Driver, kernel, readAll, readSome, readUntil, until, writeText } from "./foreground_harness.ts";

const sh = (script: string) => ["/bin/sh", "-c", script];
const MEGABYTE = 1024 * 1024;
/** What a pipe holds. pipe(7) */
const PIPE_SIZE = 64 * 1024;
const O = openFlag(kernel.arch);

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

for (const [kind, path] of [["/dev/null", "/dev/null"], ["a directory", "/tmp"]] as const) {
  Deno.test(`stdin that is ${kind} is at its end`, () => {
    using driver = new Driver();
    using input = open(kernel, path, 0);
    const { read, write } = pipe(kernel, "stdout");
    using output = read;
    driver.start({ argv: sh("cat; echo end"), stdio: "pipes" }, [input, write, write]);
    write.close();
    assertEquals([readAll(output), driver.end()], ["end\n", 0]);
  });
}

Deno.test("stdin that is a terminal and a stdout that is none: what is typed is passed on by lines", () => {
  using driver = new Driver();
  const { master, slave } = openPty(kernel);
  using keyboard = master;
  using terminal = slave;
  const { read, write } = pipe(kernel, "stdout");
  using output = read;
  driver.start({ argv: ["/bin/cat"], stdio: "pipes" }, [terminal, write, write]);
  write.close();
  writeText(keyboard, "hello\r");
  assertEquals(readUntil(output, (text) => text.endsWith("\n")), "hello\n");
  writeText(keyboard, "\x04");
  assertEquals([readAll(output), driver.end()], ["", 0]);
});

for (const flags of [0, O.O_APPEND]) {
  Deno.test(`stdout that is a file${flags === 0 ? "" : " that is appended to"} gets all bytes`, () => {
    using driver = new Driver();
    const path = `${driver.directory}/output`;
    Deno.writeTextFileSync(path, "");
    using input = open(kernel, "/dev/null", 0);
    using output = open(kernel, path, O.O_WRONLY | flags);
    driver.start({ argv: sh("seq 100000"), stdio: "pipes" }, [input, output, output]);
    assertEquals(driver.end(), 0);
    assertEquals(Deno.readTextFileSync(path), Array.from({ length: 100_000 }, (_, index) => `${index + 1}\n`).join(""));
  });
}

Deno.test("a stderr that nobody reads ends its writer, and stdout goes on", () => {
  using driver = new Driver();
  const { stdout, stderr } = driver.startWithPipes({
    argv: sh("(trap '' PIPE; while echo x; do :; done >&2 2> /dev/null); echo done"),
    stdio: "pipes",
  });
  readUntil(stderr, (text) => text.length > 0);
  stderr.close();
  assertEquals([readAll(stdout), driver.end()], ["done\n", 0]);
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
  // head still writes, and is not waited for: what was in the pipe at the end of the process is all.
  const { length } = readAll(stdout);
  assert(length >= PIPE_SIZE && length < 10 * MEGABYTE, `${length} bytes`);
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
  assertEquals(flags.map((value) => value & O.O_NONBLOCK), [0, 0, 0]);
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

Deno.test("signals that come before the runtime has become the monitor are forwarded", () => {
  using driver = new Driver();
  const { directory } = driver;
  const ready = `${directory}/ready`;
  driver.startWithPipes({
    argv: sh(
      `for name in HUP USR1 TERM 64; do trap "echo $name >> ${directory}/got" $name; done; echo > ${ready}
       until [ "$(sort ${directory}/got 2> /dev/null | tr '\\n' ' ')" = "64 HUP TERM USR1 " ]; do sleep 0.01; done; exit 4`,
    ),
    stdio: "pipes",
    early: { ready, signals: [1, 10, 15, 64] },
  });
  assertEquals(driver.end(), 4);
});

for (const [signal, name] of [[20, "TSTP"], [18, "CONT"]] as const) {
  Deno.test(`SIG${name} is forwarded, and does not stop the monitor`, () => {
    using driver = new Driver();
    const { directory } = driver;
    driver.startWithPipes({
      argv: sh(
        `trap 'echo ${name} > ${directory}/got; exit 6' ${name}
         echo ready > ${directory}/ready; while :; do sleep 0.01; done`,
      ),
      stdio: "pipes",
    });
    driver.said("ready");
    driver.signal(signal);
    assertEquals([driver.said("got"), driver.end()], [name, 6]);
  });
}

Deno.test("a monitor that was stopped goes on where it was", () => {
  using driver = new Driver();
  const { directory } = driver;
  const { stdin, stdout } = driver.startWithPipes({
    argv: sh(`while read line; do echo got $line; echo $line > ${directory}/$line; done; exit 3`),
    stdio: "pipes",
  });
  driver.signal(19);
  until("the monitor is stopped", () => processStat(driver.pid)?.state === "T");
  writeText(stdin, "one\n");
  driver.signal(18);
  assertEquals(readUntil(stdout, (text) => text.endsWith("\n")), "got one\n");
  writeText(stdin, "two\n");
  stdin.close();
  assertEquals([readAll(stdout), driver.end()], ["got two\n", 3]);
});

Deno.test("a signal that was ignored or blocked when the runtime was started is forwarded", () => {
  using driver = new Driver();
  const { directory } = driver;
  driver.prefix = [
    "/usr/bin/perl",
    "-MPOSIX",
    "-e",
    '$SIG{HUP} = "IGNORE"; $SIG{CHLD} = "IGNORE"; sigprocmask(SIG_BLOCK, POSIX::SigSet->new(15)); exec @ARGV',
  ];
  driver.startWithPipes({
    argv: sh(
      `trap 'echo HUP >> ${directory}/got' HUP; trap 'echo TERM >> ${directory}/got; exit 5' TERM
       echo ready > ${directory}/ready; while :; do sleep 0.01; done`,
    ),
    stdio: "pipes",
  });
  driver.said("ready");
  driver.signal(1);
  until("SIGHUP", () => contentOf(`${directory}/got`) === "HUP\n");
  driver.signal(15);
  assertEquals([driver.end(), contentOf(`${directory}/got`)], [5, "HUP\nTERM\n"]);
});

// ── what it is ─────────────────────────────────────────────────────────────────────────────────────────────────────

/** What the descriptors of a process are open on, by number. */
function descriptorsOf(pid: number): Record<string, string> {
  const directory = `/proc/${pid}/fd`;
  return Object.fromEntries(
    [...Deno.readDirSync(directory)].map(({ name }) => [name, Deno.readLinkSync(`${directory}/${name}`)]),
  );
}

Deno.test("a monitor is a native image of one thread, with no more than 64 KiB of memory", () => {
  using driver = new Driver();
  const { stdin, stdout } = driver.startWithPipes({ argv: ["/bin/cat"], stdio: "pipes" });
  driver.becomesMonitor();
  // Whatever its memory is used for has been used by then.
  const text = "x".repeat(100_000);
  writeText(stdin, text);
  readUntil(stdout, (read) => read.length === text.length);
  const status = Deno.readTextFileSync(`/proc/${driver.pid}/status`);
  const field = (name: string) => new RegExp(`^${name}:\\s*(\\S+)`, "m").exec(status)![1]!;
  assertEquals([field("Name"), field("Threads"), field("SigCgt")], ["runc", "1", "0000000000000000"]);
  assert(Number(field("VmRSS")) <= 64, `${field("VmRSS")} KiB`);
  assertEquals(Deno.readTextFileSync(`/proc/${driver.pid}/cmdline`), "driver\0of a test\0");
  stdin.close();
  assertEquals(driver.end(), 0);
});

Deno.test("a monitor has our standard streams, those of the process, the signals, and what the caller left open", () => {
  using driver = new Driver();
  const left = open(kernel, "/etc/passwd", 0);
  driver.fds = { 77: left };
  const { stdin } = driver.startWithPipes({ argv: ["/bin/cat"], stdio: "pipes" });
  left.close();
  driver.becomesMonitor();
  const all = descriptorsOf(driver.pid);
  const { 0: input, 1: output, 2: errors, 77: passwd } = all;
  assertEquals(passwd, "/etc/passwd");
  const theirs = [0, 1, 2].map((fd) => Deno.readLinkSync(`/proc/${driver.processPid}/fd/${fd}`));
  const expected = [input, output, errors, ...theirs, "anon_inode:[signalfd]", passwd];
  assertEquals(Object.values(all).sort(), expected.sort());
  stdin.close();
  assertEquals(driver.end(), 0);
});

Deno.test("a monitor of a terminal has our streams, both sides of the terminal, ours, and the signals", () => {
  using user = new User();
  user.run("read line");
  user.driver.becomesMonitor();
  const all = Object.values(descriptorsOf(user.driver.pid));
  const path = Deno.readLinkSync(`/proc/${user.driver.processPid}/fd/0`);
  const ours = Deno.readLinkSync(`/proc/self/fd/${user.terminal.number}`);
  const expected = [...Array(6).fill(ours), "/dev/ptmx", path, "anon_inode:[signalfd]"];
  assertEquals(all.map((name) => name === "/dev/pts/ptmx" ? "/dev/ptmx" : name).sort(), expected.sort());
  writeText(user.screen, "\r");
  assertEquals(user.driver.end(), 0);
});

// ── the end ────────────────────────────────────────────────────────────────────────────────────────────────────────

Deno.test("cgroups and state are removed when the process ends, and not when its output does", () => {
  using driver = new Driver();
  const { directory } = driver;
  const [cgroup, state] = [`${directory}/cgroup`, `${directory}/state`];
  for (const path of [cgroup, state]) Deno.mkdirSync(path);
  Deno.writeTextFileSync(`${state}/state.json`, "{}");
  const { stdout } = driver.startWithPipes({
    // More than the reader's pipe holds, and less than two do.
    argv: sh("head -c 100000 /dev/zero; exit 3"),
    stdio: "pipes",
    removal: { kind: "directories", cgroups: [cgroup, `${directory}/missing`], state },
  });
  driver.processIsReaped();
  until("the state is removed", () => contentOf(`${state}/state.json`) === "");
  until("the directories are removed", () => Deno.readDirSync(directory).toArray().length === 1);
  assertEquals([readAll(stdout).length, driver.end()], [100_000, 3]);
  assertEquals(contentOf(driver.log), `pid ${driver.processPid}\n`);
});

for (const againStatus of [0, 1]) {
  Deno.test(`what resists is left to the runtime, whose status ${againStatus} changes nothing about the process's`, () => {
    using driver = new Driver();
    const { directory } = driver;
    const [cgroup, state] = [`${directory}/cgroup`, `${directory}/state`];
    for (const path of [cgroup, state]) Deno.mkdirSync(path);
    for (const path of [`${cgroup}/file`, `${state}/state.json`]) Deno.writeTextFileSync(path, "");
    driver.startWithPipes({
      argv: sh("exit 3"),
      stdio: "pipes",
      removal: { kind: "directories", cgroups: [cgroup], state },
      againStatus,
    });
    assertEquals(driver.end(), 3);
    const pid = driver.processPid;
    assertEquals(contentOf(driver.log), `pid ${pid}\nmonitor|end|box|${pid}|\n`);
    Deno.statSync(`${state}/state.json`);
  });
}

Deno.test("with debug the runtime logs each forwarded signal, before the process gets it", () => {
  using driver = new Driver();
  const { directory } = driver;
  driver.startWithPipes({
    argv: sh(
      `trap 'cp ${directory}/log ${directory}/seen; exit 0' USR1; echo ready > ${directory}/ready; while :; do sleep 0.01; done`,
    ),
    stdio: "pipes",
    debug: true,
  });
  driver.said("ready");
  driver.signal(10);
  assertEquals(driver.end(), 0);
  const pid = driver.processPid;
  assertEquals(
    contentOf(`${directory}/seen`),
    `pid ${pid}\nmonitor|say|debug|forwarding signal {signal} to ${pid}|ak|\n`,
  );
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
    return this.#start(["/usr/bin/setsid", "--ctty", ...sh(script)]);
  }

  /** The terminal is nobody's controlling terminal. */
  runWithoutSession(script: string): this {
    return this.#start(sh(script));
  }

  #start(argv: readonly string[]): this {
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
  until("output", () => poll(kernel, [{ fd: user.screen.number, events: POLLIN }], 0)[0] !== 0);
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

Deno.test("a session that ends in the container hangs its terminal up, which may be opened again", () => {
  using user = new User();
  user.runWithoutSession(`tty=$(tty); setsid --ctty --wait sh -c "echo inner"; echo outer > $tty; exit 3`);
  assertStringIncludes(user.sees("outer\r\n"), "inner\r\n");
  assertEquals(user.driver.end(), 3);
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
