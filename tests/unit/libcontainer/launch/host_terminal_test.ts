import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { Errno } from "../../../../lib/ffi/errno.ts";
import { Fd } from "../../../../lib/ffi/fd.ts";
import { HostTerminal, receiveMaster } from "../../../../lib/libcontainer/launch/host_terminal.ts";
import { runtimeOn } from "../../host/containers.ts";
import { type FakeHost, file } from "../../host/host.ts";
import { Inode } from "../../host/file_system.ts";
import { type OpenFile, PlainFile, socketPair, Terminal } from "../../host/open_files.ts";
import { withHost } from "../../host/with_host.ts";

const terminal = (label: string) => new Terminal(label, new Inode(0));

Deno.test("the user's terminal is the first stream that is one; raw until it is restored", () => {
  withHost((host) => {
    const { kernel } = runtimeOn(host).runtime;
    const theirs = terminal("tty");
    host.self.close(1);
    host.self.open(theirs, { least: 1 });
    {
      using found = new HostTerminal(kernel);
      assertEquals(found.fd.label, "stdout");
      found.makeRaw();
      const OPOST = 1;
      assertEquals([theirs.attributes[0], theirs.attributes[4]], [0, OPOST], "output is still processed");
      const master = terminal("master");
      theirs.size = [40, 132, 1, 2];
      found.copySizeTo(new Fd(kernel, host.self.open(master), "master"));
      assertEquals(master.size, [40, 132, 1, 2]);
    }
    assertEquals(theirs.attributes.every((byte) => byte === 0xff), true);
    assertEquals(host.openFiles.length, 1, "the master is its owner's");
  });
});

Deno.test("a terminal that was hung up meanwhile is no error at the end", () => {
  withHost((host) => {
    const { kernel } = runtimeOn(host).runtime;
    const found = new HostTerminal(kernel, new Fd(kernel, host.self.open(terminal("tty")), "tty"));
    found.makeRaw();
    host.refuse("tcsetattr", Errno.EIO);
    assertThrows(() => found.restore(), RuncError);
    found[Symbol.dispose]();
    assertEquals(host.openFiles, []);
  });
});

Deno.test("without a terminal, or with one that cannot be asked, nothing stays open", () => {
  withHost((host) => {
    const { kernel } = runtimeOn(host).runtime;
    const error = assertThrows(() => new HostTerminal(kernel), RuncError);
    assertEquals([error.field, error.message], ["/process/terminal", "open /dev/tty: no such file or directory"]);
    const other = new Fd(kernel, host.self.open(new PlainFile(file(), "file")), "file");
    assertEquals(assertThrows(() => new HostTerminal(kernel, other), RuncError).errnoName, "ENOTTY");
    assertEquals(host.openFiles, []);
  });
});

/** Receives what the container sends as its terminal. */
function receive(host: FakeHost, name: string, ...fds: readonly OpenFile[]): Fd {
  const { kernel } = runtimeOn(host).runtime;
  const [ours, theirs] = socketPair("console");
  using socket = new Fd(kernel, host.self.open(ours), "console");
  theirs.send(new TextEncoder().encode(name), fds, 77);
  return receiveMaster(kernel, socket);
}

Deno.test("the master of the container's terminal does not turn newlines into two characters", () => {
  withHost((host) => {
    const master = terminal("master");
    using fd = receive(host, "/dev/pts/0", master);
    const ONLCR = 4, C_OFLAG = 4;
    assertEquals(master.attributes[C_OFLAG]! & ONLCR, 0);
    assertEquals(host.openFiles, [`${fd.number}: master`]);
  });
});

const refused: readonly [what: string, send: (host: FakeHost) => Fd, message: string][] = [
  ["no descriptor", (host) => receive(host, "x"), "number of fds is not 1: 0"],
  ["two descriptors", (host) => receive(host, "x", terminal("a"), terminal("b")), "number of fds is not 1: 2"],
  ["no name", (host) => receive(host, "\0".repeat(4096), terminal("a")), "name of 4096 bytes"],
  ["a file", (host) => receive(host, "x", new PlainFile(file(), "f")), "provided file is not a console"],
];

for (const [what, send, message] of refused) {
  Deno.test(`a message with ${what} is no terminal, and its descriptors are closed`, () => {
    withHost((host) => {
      const error = assertThrows(() => send(host), RuncError);
      assertEquals(error.message, `cannot receive the container's terminal: ${message}`);
      assertEquals([error.code, error.field], ["step-failed", "/process/terminal"]);
      assertEquals(host.openFiles, []);
    });
  });
}
