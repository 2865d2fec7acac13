import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { Errno } from "../../../../lib/ffi/errno.ts";
import type { ContainerHandle } from "../../../../lib/libcontainer/container/handle.ts";
import { createOn, type Creating, type Logged, runtimeOn } from "../../host/containers.ts";
import type { FakeHost } from "../../host/host.ts";
import { withHost } from "../../host/with_host.ts";

/** A container that runs. */
function running(host: FakeHost, creating?: Creating): { container: ContainerHandle; logged: Logged } {
  const logged = runtimeOn(host);
  const { container, process } = createOn(host, logged, creating);
  process[Symbol.dispose]();
  logged.wait(container.start());
  return { container, logged };
}

Deno.test("update sets the given limits and keeps the others", () => {
  withHost((host) => {
    const { container, logged } = running(host, {
      change: (config) => config.linux.resources.pids = { limit: 7 },
    });
    const memory = host.fs.get("/sys/fs/cgroup/memory/box/memory.limit_in_bytes");
    logged.wait(container.update({ memory: { limit: 1 << 20 } }));
    assertEquals(memory.text, "1048576\n");
    assertEquals(host.fs.get("/sys/fs/cgroup/pids/box/pids.max").text, "7\n");
    const state = JSON.parse(host.fs.get("/run/runc/box/state.json").text);
    assertEquals(state.config.cgroups.memory, 1 << 20);
    assertEquals(host.openFiles, []);
  });
});

Deno.test("a refused update sets the old limits again", () => {
  withHost((host) => {
    const { container, logged } = running(host);
    const memory = host.fs.get("/sys/fs/cgroup/memory/box/memory.limit_in_bytes");
    const before = memory.text;
    host.refuse("open /sys/fs/cgroup/pids/box/pids.max", Errno.EINVAL);
    const error = assertThrows(
      () => logged.wait(container.update({ memory: { limit: 1 << 20 }, pids: { limit: 3 } })),
      RuncError,
    );
    assertEquals([error.code, error.errnoName], ["cgroup-failed", "EINVAL"]);
    assertEquals(memory.text, before);
    const state = JSON.parse(host.fs.get("/run/runc/box/state.json").text);
    assertEquals(state.config.cgroups.memory ?? 0, 0, "the state is not changed");
    assertEquals(host.openFiles, []);
  });
});

Deno.test("update of a stopped container is refused, and so are schemas without resctrl", () => {
  withHost((host) => {
    const { container, logged } = running(host);
    const error = assertThrows(() => logged.wait(container.update({}, { l3CacheSchema: "L3:0=f" })), RuncError);
    assertEquals(error.code, "host-lacks");
    host.process(container.pid)!.end({ code: 0 });
    assertThrows(() => logged.wait(container.update({})), RuncError, "container not running");
  });
});
