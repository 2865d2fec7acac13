import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { OtherProcess } from "../../../../lib/ffi/ending.ts";
import { Errno } from "../../../../lib/ffi/errno.ts";
import { NotifyProxy } from "../../../../lib/libcontainer/launch/notify.ts";
import { runtimeOn } from "../../host/containers.ts";
import { directory, type FakeHost, Server } from "../../host/host.ts";
import { type OpenFile, Pipe, PipeEnd } from "../../host/open_files.ts";
import type { Script } from "../../host/processes.ts";
import { withHost } from "../../host/with_host.ts";

const SOCKET = "/state/notify.sock", MANAGER = "/run/systemd/notify";

/** What the container's process sends. */
function send(host: FakeHost, text: string, ...fds: readonly OpenFile[]): void {
  const packet = { bytes: new TextEncoder().encode(text), fds: fds.map((each) => each.retain()), sender: 0 };
  host.bound.get(SOCKET)!.queue.push(packet);
}

interface Proxied {
  readonly proxy: NotifyProxy;
  readonly log: string[];
  /** Until the manager has confirmed, or the process has ended. */
  readonly run: () => boolean;
}

function proxied(host: FakeHost, program: () => Script): Proxied {
  const { runtime: { kernel, log: write }, log } = runtimeOn(host);
  if (host.fs.find("/state") === undefined) host.fs.put("/state", directory());
  const proxy = new NotifyProxy(kernel, { directory: "/state", hostSocket: MANAGER, log: write });
  const { pid } = host.start("init", program);
  const run = () => {
    using process = OtherProcess.find(kernel, pid)!;
    return proxy.runUntilReady({ process, mainPid: 42 });
  };
  return { proxy, log, run };
}

/** A manager that confirms barriers at once. */
const manager = () => new Server();

Deno.test("the first READY goes on to the manager with the process to supervise, and is confirmed", () => {
  withHost((host) => {
    const server = host.listen(MANAGER, manager());
    const { proxy, log, run } = proxied(host, function* () {
      yield () => true;
      send(host, "STATUS=starting");
      yield host.sleep(10);
      const end = new PipeEnd(new Pipe(), "write", "barrier");
      send(host, "X=1\nREADY=1\nMAINPID=1", end);
      yield () => end.refs === 0;
      yield () => false;
    });
    assertEquals([proxy.hostSocket, host.fs.get(SOCKET).mode & 0o777], [MANAGER, 0o777]);
    assertEquals(run(), true);
    assertEquals(server.texts, ["READY=1\n", "MAINPID=42\n", "BARRIER=1"]);
    assertEquals(log, []);
    proxy[Symbol.dispose]();
    assertEquals(host.openFiles, []);
  });
});

Deno.test("a container that ends before it is ready: not ready, and the manager hears nothing", () => {
  withHost((host) => {
    const server = host.listen(MANAGER, manager());
    // deno-lint-ignore require-yield
    const { proxy, run } = proxied(host, function* () {
      send(host, "STOPPING=1");
      return 0;
    });
    assertEquals([run(), server.texts], [false, []]);
    proxy[Symbol.dispose]();
    assertEquals(host.openFiles, []);
  });
});

Deno.test("a manager that does not confirm within 30 seconds is not waited for any longer", () => {
  withHost((host) => {
    const kept: OpenFile[] = [];
    host.listen(MANAGER, new Server(({ fds }) => void kept.push(...fds)));
    const { proxy, log, run } = proxied(host, function* () {
      send(host, "READY=1");
      yield () => false;
    });
    const before = host.nowMs;
    assertEquals([run(), host.nowMs - before], [true, 30_000]);
    assertEquals(log, ["warning: Timeout after waiting 30s for barrier. Ignored."]);
    proxy[Symbol.dispose]();
    assertEquals(host.openFiles, []);
  });
});

Deno.test("a manager that writes into the barrier is told of", () => {
  withHost((host) => {
    host.listen(
      MANAGER,
      new Server(({ fds }) =>
        fds.forEach((each) => {
          each.write(new Uint8Array(1));
          each.release();
        })
      ),
    );
    const { proxy, log, run } = proxied(host, function* () {
      send(host, "READY=1");
      yield () => false;
    });
    assertEquals(run(), true);
    assertEquals(log, ["warning: unexpected read from synchronization pipe"]);
    proxy[Symbol.dispose]();
  });
});

Deno.test("an unreachable manager is an error at once; where it only delays, a warning", () => {
  withHost((host) => {
    const { proxy, log, run } = proxied(host, function* () {
      yield () => false;
    });
    assertThrows(() => run(), RuncError, `connect("${MANAGER}"): no such file or directory`);
    const process = { hasEnded: false };
    proxy.awaitReady({ process, mainPid: 1 });
    assertEquals(log, [`warning: cannot tell the service manager: connect("${MANAGER}"): no such file or directory`]);
    proxy[Symbol.dispose]();
    assertEquals(host.openFiles, []);
  });
});

for (const [call, message] of [["send", /^send\(.*READY=1/], ["sendmsg", /^sendmsg\(/]] as const) {
  Deno.test(`a refused ${call} to the manager is an error, and leaves no descriptor`, () => {
    withHost((host) => {
      host.listen(MANAGER, manager());
      const { proxy, run } = proxied(host, function* () {
        send(host, "READY=1");
        host.refuse(call, Errno.ENOBUFS);
        yield () => false;
      });
      const error = assertThrows(() => run(), RuncError);
      assertEquals([message.test(error.message), error.errnoName], [true, "ENOBUFS"]);
      proxy[Symbol.dispose]();
      assertEquals(host.openFiles, []);
    });
  });
}

Deno.test("a socket that exists already, or that cannot be opened to all, is an error", () => {
  withHost((host) => {
    const { proxy } = proxied(host, function* () {
      yield () => false;
    });
    const error = assertThrows(() => proxied(host, function* () {}), RuncError);
    assertEquals(error.errnoName, "EADDRINUSE");
    proxy[Symbol.dispose]();
    host.fs.remove(SOCKET);
    host.refuse("chmod", Errno.EPERM);
    assertThrows(() => proxied(host, function* () {}), RuncError, "chmod");
    assertEquals(host.openFiles, []);
  });
});
