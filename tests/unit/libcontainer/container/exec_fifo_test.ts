import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { FileType } from "../../../../lib/ffi/constants.ts";
import { Errno } from "../../../../lib/ffi/errno.ts";
import { readExecFifo } from "../../../../lib/libcontainer/container/exec_fifo.ts";
import { StateDirectory } from "../../../../lib/libcontainer/state/store.ts";
import { runtimeOn } from "../../host/containers.ts";
import type { FakeHost } from "../../host/host.ts";
import { Inode } from "../../host/file_system.ts";
import { PipeEnd } from "../../host/open_files.ts";
import type { Script } from "../../host/processes.ts";
import { withHost } from "../../host/with_host.ts";

const FIFO = "/run/runc/box/exec.fifo";

/** Reads the fifo of a container whose init does this. Returns whether the fifo is still there. */
function read(host: FakeHost, script: (fifo: Inode) => Script): boolean {
  const { runtime: { kernel }, wait } = runtimeOn(host);
  const fifo = host.fs.put(FIFO, new Inode(FileType.S_IFIFO | 0o622));
  const { pid } = host.start("init", () => script(fifo));
  try {
    wait(readExecFifo(kernel, new StateDirectory("/run/runc", "box"), pid));
  } finally {
    assertEquals(host.openFiles, []);
  }
  return host.fs.find(FIFO) !== undefined;
}

/** Opens the fifo for writing once it has a reader, and writes to it. */
function* writes(fifo: Inode, text: string): Script {
  yield () => (fifo.pipe?.readers ?? 0) > 0;
  const end = new PipeEnd(fifo.pipe!, "write", "fifo", fifo).retain();
  if (text !== "") end.write(new TextEncoder().encode(text));
  end.release();
}

Deno.test("the byte of init lets it go on, and the fifo is removed", () => {
  withHost((host) => {
    const script = function* (fifo: Inode): Script {
      yield host.sleep(250);
      yield* writes(fifo, "0");
      yield () => false;
    };
    assertEquals(read(host, script), false);
  });
});

Deno.test("the same without a pidfd, and where another command has removed the fifo", () => {
  withHost((host) => {
    host.refuse("pidfd_open", Errno.EPERM);
    const script = function* (fifo: Inode): Script {
      yield* writes(fifo, "0");
      host.fs.remove(FIFO);
      yield () => false;
    };
    assertEquals(read(host, script), false);
  });
});

const EMPTY = "exec fifo is empty: container init did not signal execve readiness";

Deno.test("an init that ends, and one that another start was faster for, did not write", () => {
  withHost((host) => {
    const ends = function* (): Script {
      yield host.sleep(10);
      return 1;
    };
    assertThrows(() => read(host, ends), RuncError, EMPTY);
    host.fs.remove(FIFO);
    const taken = function* (fifo: Inode): Script {
      yield* writes(fifo, "");
      yield () => false;
    };
    const error = assertThrows(() => read(host, taken), RuncError, EMPTY);
    assertEquals([error.code, error.hint], [
      "container-state",
      "its process has ended, or another start was faster",
    ]);
  });
});

Deno.test("a fifo that a faster start removes ends the wait", () => {
  withHost((host) => {
    const script = function* (): Script {
      yield host.sleep(150);
      host.fs.remove(FIFO);
      yield () => false;
    };
    assertThrows(() => read(host, script), RuncError, "cannot start an already running container");
  });
});

Deno.test("without a fifo the container runs already, or does not exist", () => {
  withHost((host) => {
    const { runtime: { kernel }, wait } = runtimeOn(host);
    const start = () => wait(readExecFifo(kernel, new StateDirectory("/run/runc", "box"), 5));
    assertThrows(start, RuncError, "container does not exist");
    host.fs.mkdirs("/run/runc/box");
    assertThrows(start, RuncError, "cannot start an already running container");
    host.refuse(`open ${FIFO}`, Errno.EACCES);
    assertThrows(start, RuncError, "permission denied");
  });
});

Deno.test("an init that is gone before the fifo is read", () => {
  withHost((host) => {
    const { runtime: { kernel }, wait } = runtimeOn(host);
    host.fs.put(FIFO, new Inode(FileType.S_IFIFO | 0o622));
    assertThrows(() => wait(readExecFifo(kernel, new StateDirectory("/run/runc", "box"), 99)), RuncError, EMPTY);
    assertEquals(host.openFiles, []);
  });
});
