import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { MountAttr } from "../../../../lib/ffi/constants.ts";
import { Errno } from "../../../../lib/ffi/errno.ts";
import { sealedSelf } from "../../../../lib/libcontainer/launch/self.ts";
import { runtimeOn } from "../../host/containers.ts";
import type { FakeHost } from "../../host/host.ts";
import { MountedFile } from "../../host/open_files.ts";
import { withHost } from "../../host/with_host.ts";

function runtime(host: FakeHost) {
  host.fs.put("/usr/bin/deno", "the binary");
  return runtimeOn(host, { reexec: { path: "/usr/bin/deno", args: [] } }).runtime;
}

Deno.test("root's binary is on a read-only mount of its own", () => {
  withHost((host) => {
    using self = sealedSelf(runtime(host));
    const opened = host.self.file(self.number) as MountedFile;
    assertEquals(opened instanceof MountedFile, true);
    assertEquals(opened.attributes, MountAttr.MOUNT_ATTR_RDONLY | MountAttr.MOUNT_ATTR_NOSUID);
  });
});

Deno.test("a user's is the file itself, unless the user may write to it: then a sealed copy", () => {
  withHost((host) => {
    const made = runtime(host);
    host.refuse("open_tree", Errno.EPERM);
    {
      using self = sealedSelf(made);
      assertEquals(host.self.file(self.number).label, "/usr/bin/deno");
    }
    host.fs.get("/usr/bin/deno").uid = 1000;
    using self = sealedSelf(made);
    const { label, text, seals } = host.self.file(self.number).inode!;
    assertEquals([label, text, seals], ["deno", "the binary", 15]);
  }, { uid: 1000 });
});

Deno.test("a failed mount is an error", () => {
  withHost((host) => {
    const made = runtime(host);
    host.refuse("open_tree", Errno.ENOMEM);
    assertThrows(() => sealedSelf(made), RuncError, 'open_tree("/usr/bin/deno"): cannot allocate memory');
  });
});
