import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { Errno } from "../../../../lib/ffi/errno.ts";
import { openPath } from "../../../../lib/ffi/files.ts";
import { makeTarget } from "../../../../lib/libcontainer/launch/make_target.ts";
import { runtimeOn } from "../../host/containers.ts";
import { directory, type FakeHost, symlink } from "../../host/host.ts";
import { withHost } from "../../host/with_host.ts";

function make(host: FakeHost, path: string, isFile = false): void {
  const { kernel } = runtimeOn(host).runtime;
  using root = openPath(kernel, "/root");
  makeTarget(kernel, root, { path, isFile, uid: 1000, gid: 2000 });
}

const cases: readonly {
  readonly links: Readonly<Record<string, string>>;
  path: string;
  isFile?: boolean;
  made: string;
}[] = [
  { links: {}, path: "/a/b", made: "/root/a/b" },
  { links: {}, path: "/a/./b/../c", made: "/root/a/c" },
  { links: { "/root/link": "/there" }, path: "/link/x", made: "/root/there/x" },
  { links: { "/root/d/link": "below" }, path: "/d/link", made: "/root/d/below" },
  { links: { "/root/link": "../../../../etc/x" }, path: "/link", made: "/root/etc/x" },
  { links: { "/root/link": "/f" }, path: "/link", isFile: true, made: "/root/f" },
  { links: { "/root/link": "/n/f" }, path: "/link", isFile: true, made: "/root/n/f" },
];

for (const { links, path, isFile, made } of cases) {
  Deno.test(`${path} with ${JSON.stringify(links)} makes ${made}`, () => {
    withHost((host) => {
      host.fs.put("/root", directory());
      for (const [name, target] of Object.entries(links)) host.fs.put(name, symlink(target));
      // Other threads of the program make files meanwhile: it must not change.
      Object.defineProperty(host, "umask", { value: 0o077, writable: false });
      make(host, path, isFile);
      const { isDirectory, uid, gid, mode } = host.fs.get(made);
      assertEquals([isDirectory, uid, gid], [!isFile, 1000, 2000]);
      assertEquals(mode & 0o777, isFile ? 0o644 : 0o755);
      assertEquals(host.fs.find("/etc/x"), undefined, "nothing outside of the root");
      assertEquals([host.openFiles, host.umask, host.owner], [[], 0o077, { uid: 0, gid: 0 }]);
      // What is there stays as it is.
      make(host, path, isFile);
    });
  });
}

Deno.test("symlinks in a circle end", () => {
  withHost((host) => {
    host.fs.put("/root/a", symlink("b"));
    host.fs.put("/root/b", symlink("a"));
    const error = assertThrows(() => make(host, "/a"), RuncError);
    assertEquals(error.code, "step-failed");
    assertEquals(
      error.message,
      'make mountpoint "/a": openat "a": too many levels of symbolic links',
    );
    assertEquals([host.openFiles, host.umask], [[], 0o022]);
  });
});

for (
  const [call, isFile, message] of [
    ["mkdirat", false, 'make mountpoint "/x": mkdirat "x": read-only file system'],
    ["openat", true, 'make mountpoint "/x": openat "x": read-only file system'],
  ] as const
) {
  Deno.test(`a refused ${call} is an error`, () => {
    withHost((host) => {
      host.fs.put("/root", directory());
      host.refuse(call, Errno.EROFS);
      assertThrows(() => make(host, "/x", isFile), RuncError, message);
      assertEquals([host.openFiles, host.umask], [[], 0o022]);
    });
  });
}

Deno.test("a name that another process keeps removing is given up", () => {
  withHost((host) => {
    const root = host.fs.put("/root", directory());
    root.onMake = (_, name) => root.entries!.delete(name);
    assertThrows(() => make(host, "/x"), RuncError, 'openat "x": no such file or directory');
  });
});
