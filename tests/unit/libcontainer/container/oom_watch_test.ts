import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { Errno } from "../../../../lib/ffi/errno.ts";
import { watchOom } from "../../../../lib/libcontainer/container/oom_watch.ts";
import { runtimeOn } from "../../host/containers.ts";
import type { Notice } from "../../host/open_files.ts";
import { withHost } from "../../host/with_host.ts";

/** `struct inotify_event` of a watch. */
function event(watch: number): Uint8Array {
  const bytes = new Uint8Array(16);
  new DataView(bytes.buffer).setInt32(0, watch, true);
  return bytes;
}

Deno.test("on cgroup v1 an eventfd is registered for the memory cgroup; its removal is the end", () => {
  withHost((host) => {
    const { kernel } = runtimeOn(host).runtime;
    host.fs.mkdir("/sys/fs/cgroup/memory/box", 0o755);
    const control = host.fs.get("/sys/fs/cgroup/memory/box/cgroup.event_control");
    {
      using watch = watchOom(kernel, { memory: "/sys/fs/cgroup/memory/box", devices: "/sys/fs/cgroup/devices/box" });
      const notice = host.self.file(watch.fd) as Notice;
      assertEquals(control.text, `${watch.fd} ${watch.fd - 1}\n`);
      notice.pieces.push(new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0]));
      assertEquals([watch.next(), watch.isOver], [true, false]);
      host.fs.remove("/sys/fs/cgroup/memory/box");
      notice.pieces.push(new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0]));
      assertEquals([watch.next(), watch.isOver], [false, true]);
    }
    assertEquals(host.openFiles, []);
  });
});

Deno.test("on cgroup v2 only a killed process counts, and the end is an empty cgroup", () => {
  withHost((host) => {
    const { kernel } = runtimeOn(host).runtime;
    host.fs.mkdir("/sys/fs/cgroup/box", 0o755);
    const process = host.start("init");
    process.cgroups.set("", "/box");
    {
      using watch = watchOom(kernel, { "": "/sys/fs/cgroup/box" });
      const notice = host.self.file(watch.fd) as Notice;
      assertEquals(notice.watched, ["/sys/fs/cgroup/box/memory.events", "/sys/fs/cgroup/box/cgroup.events"]);
      const happens = (watched: number) => {
        notice.pieces.push(event(watched));
        return watch.next();
      };
      assertEquals([happens(1), happens(2)], [false, false]);
      host.fs.get("/sys/fs/cgroup/box/memory.events").write!("oom 1\noom_kill 1\n");
      assertEquals([happens(1), happens(1), watch.isOver], [true, false, false]);
      process.end({ code: 0 });
      assertEquals(watch.isOver, true);
    }
    assertEquals(host.openFiles, []);
  }, { cgroups: "v2" });
});

Deno.test("a container without the memory controller cannot be watched", () => {
  withHost((host) => {
    const { kernel } = runtimeOn(host).runtime;
    const layouts: readonly Readonly<Record<string, string>>[] = [{}, { "": "/sys/fs/cgroup/box", devices: "/x" }];
    for (const paths of layouts) {
      const error = assertThrows(() => watchOom(kernel, paths), RuncError);
      assertEquals([error.code, error.message], ["cgroup-failed", "memory controller missing"]);
    }
    assertThrows(() => watchOom(kernel, { memory: "/none" }), RuncError, "no such file or directory");
    assertEquals(host.openFiles, []);
  });
});

Deno.test("a failed read is an error", () => {
  withHost((host) => {
    const { kernel } = runtimeOn(host).runtime;
    host.fs.mkdir("/sys/fs/cgroup/memory/box", 0o755);
    using watch = watchOom(kernel, { memory: "/sys/fs/cgroup/memory/box" });
    host.refuse("read", Errno.EIO);
    assertThrows(() => watch.next(), RuncError, "read(eventfd): input/output error");
  });
});
