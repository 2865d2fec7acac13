/** The sd_notify proxy between a container's process and a service manager; the test is both, or only the manager. */

import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../lib/errors.ts";
import type { Fd } from "../../lib/ffi/fd.ts";
import { poll, POLLIN } from "../../lib/ffi/poll.ts";
import { OtherProcess } from "../../lib/ffi/ending.ts";
import { bindDatagram, connectUnix, type Packet, receive, send } from "../../lib/ffi/sockets.ts";
import { NotifyProxy } from "../../lib/libcontainer/launch/notify.ts";
import { lacks } from "./interpreter_harness.ts";
import { contentOf, Driver, kernel, readAll } from "./foreground_harness.ts";

const sh = (script: string) => ["/bin/sh", "-c", script];

/** A service manager's socket, and a state directory for the proxy. */
class Manager implements Disposable {
  readonly directory = Deno.makeTempDirSync({ prefix: "notify-" });
  readonly hostSocket = `${this.directory}/manager.sock`;
  readonly #socket: Fd = bindDatagram(kernel, this.hostSocket);
  readonly proxySocket = `${this.directory}/notify.sock`;

  receive(): Packet {
    return receive(kernel, this.#socket, 4096);
  }

  text(): string {
    return new TextDecoder().decode(this.receive().bytes);
  }

  get hasMessage(): boolean {
    return isReadable(this.#socket.number);
  }

  /** Sends as the container would. */
  say(text: string): void {
    using client = connectUnix(kernel, this.proxySocket, "dgram");
    assertEquals(send(kernel, client.number, new TextEncoder().encode(text)), text.length);
  }

  /** What the manager gets for READY. Returns the barrier. */
  isTold(ready: string, pid: number): Fd {
    assertEquals(this.text(), `${ready}\n`);
    assertEquals(this.text(), `MAINPID=${pid}\n`);
    const { bytes, fds } = this.receive();
    assertEquals([new TextDecoder().decode(bytes), fds.length], ["BARRIER=1", 1]);
    return fds[0]!;
  }

  [Symbol.dispose](): void {
    this.#socket.close();
    Deno.removeSync(this.directory, { recursive: true });
  }
}

function isReadable(fd: number): boolean {
  return poll(kernel, [{ fd, events: POLLIN }], 0)[0] !== 0;
}

function proxyOf(manager: Manager, warnings: string[] = []): NotifyProxy {
  return new NotifyProxy(kernel, { ...manager, log: (_level, message) => warnings.push(message) });
}

Deno.test("NotifyProxy binds a socket that every user may write to, once", () => {
  using manager = new Manager();
  using _proxy = proxyOf(manager);
  assertEquals(Deno.statSync(manager.proxySocket).mode! & 0o7777, 0o777);
  assertThrows(() => proxyOf(manager), RuncError, "address already in use");
});

const datagrams: readonly [sent: string, forwarded: string | undefined][] = [
  ["READY=1", "READY=1"],
  ["READY=1\nSTATUS=up", "READY=1"],
  ["STATUS=up\nREADY=1\n", "READY=1"],
  ["STATUS=up", undefined],
  ["MAINPID=1", undefined],
  ["X_READY=1", undefined],
];

for (const [sent, forwarded] of datagrams) {
  Deno.test(`NotifyProxy makes ${JSON.stringify(forwarded ?? null)} of ${JSON.stringify(sent)}`, () => {
    using manager = new Manager();
    using proxy = proxyOf(manager);
    manager.say(sent);
    proxy.advance(42);
    if (forwarded !== undefined) manager.isTold(forwarded, 42).close();
    assertEquals(manager.hasMessage, false);
  });
}

Deno.test("NotifyProxy awaits the manager's end of the barrier, then reads and drops whatever comes", () => {
  using manager = new Manager();
  const warnings: string[] = [];
  using proxy = proxyOf(manager, warnings);
  assertEquals([proxy.awaitsManager, proxy.timeoutMs], [false, -1]);
  manager.say("READY=1");
  proxy.advance(42);
  const barrier = manager.isTold("READY=1", 42);
  proxy.advance(42);
  assertEquals([proxy.awaitsManager, proxy.watches.length, proxy.timeoutMs > 0], [true, 2, true]);
  barrier.close();
  proxy.advance(42);
  assertEquals([proxy.awaitsManager, proxy.watches.length, proxy.timeoutMs], [false, 1, -1]);
  // More than a socket's queue holds (net.unix.max_dgram_qlen): unread, they would block the container.
  for (let round = 0; round < 40; round++) {
    manager.say("READY=1");
    manager.say("WATCHDOG=1");
    proxy.advance(42);
  }
  assertEquals([manager.hasMessage, warnings], [false, []]);
});

Deno.test("NotifyProxy throws once where the manager is not there", () => {
  using manager = new Manager();
  const proxy = new NotifyProxy(kernel, { ...manager, hostSocket: `${manager.directory}/none`, log: () => {} });
  using _proxy = proxy;
  manager.say("READY=1");
  assertThrows(() => proxy.advance(42), RuncError, "no such file or directory");
  proxy.advance(42);
  assertEquals(proxy.awaitsManager, false);
  using process = OtherProcess.find(kernel, Deno.pid)!;
  assertThrows(() => proxy.runUntilReady({ process, mainPid: 42 }), RuncError, "no such file or directory");
});

/** A shell script that says READY on the proxy's socket, and then goes on. */
function readySaying(manager: Manager, then: string): readonly string[] {
  const python =
    `import socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.connect("${manager.proxySocket}"); ` +
    `s.send(b"STATUS=soon"); s.send(b"READY=1")`;
  return sh(`python3 -c '${python}'; ${then}`);
}

const python = { ignore: lacks("/usr/bin/python3") };

Deno.test({
  ...python,
  name: "runUntilReady() returns once the manager knows (needs python3)",
  fn: () => {
    using manager = new Manager();
    using driver = new Driver();
    const notify = { directory: manager.directory, hostSocket: manager.hostSocket, wait: true };
    driver.startWithPipes({ argv: readySaying(manager, "exec sleep 1000"), stdio: "inherited", notify });
    const pid = Number(driver.logged(/^pid (\d+)$/m)[1]);
    const barrier = manager.isTold("READY=1", pid);
    assertEquals(contentOf(driver.log).includes("outcome"), false);
    barrier.close();
    driver.logged(/^outcome true$/m);
    Deno.kill(pid, "SIGKILL");
    assertEquals(driver.end(), 0);
  },
});

Deno.test("runUntilReady() returns where the process ends without a word", () => {
  using manager = new Manager();
  using driver = new Driver();
  const notify = { directory: manager.directory, hostSocket: manager.hostSocket, wait: true };
  driver.startWithPipes({ argv: sh("exit 3"), stdio: "inherited", notify });
  driver.logged(/^outcome false$/m);
  assertEquals([driver.end(), manager.hasMessage], [0, false]);
});

Deno.test({
  ...python,
  name: "a monitor tells the manager of itself, and waits for the barrier beyond the process's end (needs python3)",
  fn: () => {
    using manager = new Manager();
    using driver = new Driver();
    const notify = { directory: manager.directory, hostSocket: manager.hostSocket };
    const argv = readySaying(manager, "echo out; exit 3");
    const { stdout } = driver.startWithPipes({ argv, stdio: "pipes", notify });
    driver.processIsReaped();
    const barrier = manager.isTold("READY=1", driver.pid);
    assertEquals(driver.hasEnded, false);
    barrier.close();
    assertEquals([readAll(stdout), driver.end()], ["out\n", 3]);
  },
});
