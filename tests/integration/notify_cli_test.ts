/** sd_notify end to end: a service manager (the test), the runtime, and a program in the container that says READY. */

import { assertEquals, assertMatch } from "@std/assert";
import type { Fd } from "../../lib/ffi/fd.ts";
import { poll, POLLIN } from "../../lib/ffi/poll.ts";
import { bindDatagram, receive } from "../../lib/ffi/sockets.ts";
import { addHostPrograms, type Box, type Change, comparing, everyone, kernel, type Running } from "./harness.ts";

/** A service manager's socket. */
class Manager implements Disposable {
  readonly path: string;
  readonly #socket: Fd;

  constructor(box: Box) {
    this.path = `${box.directory}/manager`;
    this.#socket = bindDatagram(kernel, this.path);
  }

  get env(): Record<string, string> {
    return { NOTIFY_SOCKET: this.path };
  }

  get hasMessage(): boolean {
    return poll(kernel, [{ fd: this.#socket.number, events: POLLIN }], 0)[0] !== 0;
  }

  #next(): { text: string; fds: readonly Fd[] } {
    const [ready] = poll(kernel, [{ fd: this.#socket.number, events: POLLIN }], 60_000);
    if (ready === 0) throw new Error("nothing for the service manager");
    const { bytes, fds } = receive(kernel, this.#socket, 4096);
    return { text: new TextDecoder().decode(bytes), fds };
  }

  /** READY, MAINPID and the barrier, which is returned: until it is closed the runtime waits. */
  isTold(): { pid: number; barrier: Fd } {
    const [ready, mainPid, barrier] = [this.#next(), this.#next(), this.#next()];
    assertEquals([ready.text, barrier.text, barrier.fds.length], ["READY=1\n", "BARRIER=1", 1]);
    return { pid: Number(/^MAINPID=(\d+)\n$/.exec(mainPid.text)![1]), barrier: barrier.fds[0]! };
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }
}

/** A program that says READY once the test has made /mnt/go, prints `up` before it, and then does `last`. */
function readySaying(box: Box, last: string): Change {
  const perl =
    `use IO::Socket::UNIX; my $socket = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Peer => $ENV{NOTIFY_SOCKET});
    $socket->send("STATUS=soon"); $socket->send("READY=1");`;
  const addPrograms = addHostPrograms(box);
  return (config) => {
    addPrograms(config);
    config.mounts.push({ destination: "/mnt", type: "bind", source: box.directory, options: ["bind"] });
    const wait = "until test -e /mnt/go; do sleep 0.01; done";
    config.process.args = ["sh", "-c", `echo up; ${wait}; /usr/bin/perl -e '${perl}' || exit 99; ${last}`];
  };
}

/** The runtime waits: for the program's READY, then for the manager's end of the barrier. */
function followsReady(box: Box, manager: Manager, running: Running): number {
  running.says("up\n");
  assertEquals([running.isOver, manager.hasMessage], [false, false]);
  Deno.writeTextFileSync(`${box.directory}/go`, "");
  const { pid, barrier } = manager.isTold();
  assertEquals(running.isOver, false);
  barrier.close();
  return pid;
}

comparing("run --detach returns when the manager knows that the container is ready, and what its process is", (box) => {
  using manager = new Manager(box);
  box.write(readySaying(box, "exec sleep 1000"));
  using running = box.start(["run", "--detach", box.id], { env: manager.env });
  const pid = followsReady(box, manager, running);
  assertEquals([running.wait().code, pid], [0, box.state().pid]);
  box.remove();
});

comparing("in the foreground the manager is told of the runtime, which goes on", (box) => {
  using manager = new Manager(box);
  box.write(readySaying(box, "read -r line; exit 5"));
  using running = box.start(["run", box.id], { env: manager.env });
  assertEquals(followsReady(box, manager, running), running.pid);
  assertEquals(running.wait().code, 5);
});

comparing("create does not wait, start does", (box) => {
  using manager = new Manager(box);
  box.write(readySaying(box, "exec sleep 1000"));
  using created = box.start(["create", box.id], { env: manager.env });
  assertEquals(created.wait().code, 0);
  using running = box.start(["start", box.id], { env: manager.env });
  created.says("up\n");
  assertEquals([running.isOver, manager.hasMessage], [false, false]);
  Deno.writeTextFileSync(`${box.directory}/go`, "");
  const { pid, barrier } = manager.isTold();
  assertEquals([running.isOver, pid], [false, box.state().pid]);
  barrier.close();
  assertEquals(running.wait(), { code: 0, stdout: "", stderr: "" });
  box.remove();
});

comparing("a program that ends without READY ends the waiting, and the manager hears nothing", (box) => {
  using manager = new Manager(box);
  assertEquals(box.run((config) => config.process.args = ["sh", "-c", "exit 3"], { env: manager.env }).code, 3);
  box.write((config) => config.process.args = ["true"]);
  box.must(["run", "--detach", box.id], { env: manager.env });
  assertEquals(manager.hasMessage, false);
  box.must(["delete", "--force", box.id]);
});

comparing("a manager that does not listen: run --detach leaves the container running, start tells of it", (box) => {
  const env = { NOTIFY_SOCKET: `${box.directory}/nobody` };
  box.write((config) => config.process.args = ["sleep", "1000"]);
  assertEquals(box.runc(["run", "--detach", box.id], { env }).code, 0);
  assertEquals(box.state().status, "running");
  box.remove();
  box.must(["create", box.id], { env });
  const { code, stderr } = box.runc(["start", box.id], { env });
  assertMatch(stderr, /level=error msg=".*connect.*: no such file or directory"/);
  assertEquals([code, box.state().status], [1, "running"]);
  box.remove();
}, everyone);

comparing(
  "the container sees a socket of the runtime's, not the manager's, on a mount that it cannot change",
  (box) => {
    using manager = new Manager(box);
    const script =
      "echo $NOTIFY_SOCKET; stat -c '%F %a' $NOTIFY_SOCKET; touch /run/notify/x 2>&1; grep ' /run/notify ' /proc/self/mountinfo | cut -d' ' -f6";
    const seen = box.sh(`${script}; true`, undefined, { env: manager.env });
    assertEquals(
      seen,
      [
        "/run/notify/notify.sock",
        "socket 777",
        "touch: /run/notify/x: Read-only file system",
        "ro,nosuid,nodev,noexec,relatime",
        "",
      ].join("\n"),
    );
  },
);

comparing("without NOTIFY_SOCKET the container has neither the variable nor the mount", (box) => {
  assertEquals(box.sh("env | grep NOTIFY; ls /run 2> /dev/null; true"), "");
});
