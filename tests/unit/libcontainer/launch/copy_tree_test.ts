import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { FileType } from "../../../../lib/ffi/constants.ts";
import { Errno } from "../../../../lib/ffi/errno.ts";
import type { Fd } from "../../../../lib/ffi/fd.ts";
import { openPath } from "../../../../lib/ffi/files.ts";
import { copyTree, type Fill } from "../../../../lib/libcontainer/launch/copy_tree.ts";
import { runtimeOn } from "../../host/containers.ts";
import { directory, type FakeHost, symlink } from "../../host/host.ts";
import { Inode } from "../../host/file_system.ts";
import type { PlainFile } from "../../host/open_files.ts";
import { withHost } from "../../host/with_host.ts";

/** Copies /from to /to, as the container's root 1000:2000. */
function copy(host: FakeHost, { fill, limit }: { fill?: Fill; limit?: number } = {}): void {
  const { runtime: { kernel }, wait } = runtimeOn(host);
  using from: Fd = openPath(kernel, "/from");
  using to: Fd = openPath(kernel, "/to");
  const contents: Fill = function* (source, target) {
    const [input, output] = [source, target].map((fd) => host.self.file(fd.number) as PlainFile) as [
      PlainFile,
      PlainFile,
    ];
    output.write(input.read(1 << 20));
    if (limit !== undefined) yield { turn: true };
    return 0;
  };
  wait(copyTree(kernel, { from, to, uid: 1000, gid: 2000 }, fill ?? contents));
}

function prepared(host: FakeHost): void {
  host.fs.put("/to", directory());
  host.fs.put("/from/a/b", "content").mode = FileType.S_IFREG | 0o4750;
  const owned = host.fs.get("/from/a");
  [owned.uid, owned.gid, owned.mode] = [7, 8, FileType.S_IFDIR | 0o711];
  host.fs.put("/from/link", symlink("/nowhere"));
  const device = new Inode(FileType.S_IFCHR | 0o620);
  device.rdev = 0x103;
  host.fs.put("/from/null", device);
  host.fs.put("/from/fifo", new Inode(FileType.S_IFIFO | 0o600));
}

Deno.test("a copy has the same types, owners, modes, contents, targets and numbers", () => {
  withHost((host) => {
    prepared(host);
    copy(host);
    assertEquals(host.fs.paths("/to"), host.fs.paths("/from").map((path) => path.replace("/from", "/to")));
    for (const path of host.fs.paths("/from")) {
      const [source, made] = [path, path.replace("/from", "/to")].map((each) => host.fs.get(each, { follow: false }));
      const facts = ({ mode, uid, gid, rdev, text, target }: Inode) => [mode, uid, gid, rdev, text, target];
      assertEquals(facts(made!), facts(source!), path);
    }
    assertEquals([host.openFiles, host.owner], [[], { uid: 0, gid: 0 }]);
  });
});

Deno.test("an error names the path in the tree, and the owner of new files is the caller again", () => {
  withHost((host) => {
    prepared(host);
    host.refuse("mknodat", Errno.EPERM);
    const error = assertThrows(() => copy(host), RuncError);
    assertEquals(error.message, 'mknodat of "null": operation not permitted');
    assertEquals([host.openFiles, host.owner], [[], { uid: 0, gid: 0 }]);
  });
});

Deno.test("what init could not copy is an error", () => {
  withHost((host) => {
    prepared(host);
    // deno-lint-ignore require-yield
    const fill: Fill = function* () {
      return -Errno.ENOSPC;
    };
    const error = assertThrows(() => copy(host, { fill }), RuncError);
    assertEquals(error.message, 'sendfile of "a/b": no space left on device');
    assertEquals(host.openFiles, []);
  });
});

Deno.test("an error while init copies passes through the owner's change", () => {
  withHost((host) => {
    prepared(host);
    const seen: number[] = [];
    const fill: Fill = function* () {
      try {
        // Outside of the copy's own steps, new files are the caller's.
        yield { fds: [9999], timeoutMs: 0 };
      } finally {
        seen.push(host.owner.uid);
      }
      throw new RuncError("interrupted", "interrupted by SIGTERM");
    };
    assertThrows(() => copy(host, { fill }), RuncError, "interrupted by SIGTERM");
    assertEquals(seen, [1000]);
    assertEquals([host.openFiles, host.owner], [[], { uid: 0, gid: 0 }]);
  });
});

Deno.test("a tree that is too deep is refused", () => {
  withHost((host) => {
    host.fs.put("/to", directory());
    host.fs.put(`/from/${Array.from({ length: 202 }, () => "d").join("/")}`, directory());
    const error = assertThrows(() => copy(host), RuncError);
    assertEquals(error.code, "unsupported");
    assertEquals(/ is more than 200 directories deep$/.test(error.message), true);
    assertEquals(host.openFiles, []);
  });
});

Deno.test("a file that cannot be looked at is an error", () => {
  withHost((host) => {
    prepared(host);
    host.refuse("fstat", Errno.EIO);
    assertThrows(() => copy(host), RuncError, 'fstat of "a": input/output error');
  });
});
