import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { removeRemains } from "../../../../lib/libcontainer/container/remains.ts";
import { type CgroupVersion, enterCgroups } from "../../host/cgroups.ts";
import { createOn, leftovers, runtimeOn } from "../../host/containers.ts";
import type { FakeHost } from "../../host/host.ts";
import type { Process } from "../../host/processes.ts";
import { withHost } from "../../host/with_host.ts";

/** A container `box` whose state is broken, or missing. Its cgroups have a process each. */
function broken(
  host: FakeHost,
  { state, contained = true, below = "" }: { state?: string; contained?: boolean; below?: string } = {},
) {
  const logged = runtimeOn(host);
  host.fs.mkdirs("/run/runc/box");
  if (state !== undefined) host.fs.put("/run/runc/box/state.json", state);
  const roots = host.cgroups === "v2" ? [""] : ["/memory", "/devices", "/freezer", "/pids"];
  for (const root of roots) {
    host.fs.mkdir(`/sys/fs/cgroup${root}/box`, 0o755);
    if (below !== "") host.fs.mkdir(`/sys/fs/cgroup${root}/box${below}`, 0o755);
  }
  const process = host.start("init");
  if (contained) process.namespaces.set("mnt", 4026539999);
  enterCgroups(host, process, `/box${below}`);
  return { logged, process, remove: () => logged.wait(removeRemains(logged.runtime, "box")) };
}

const ended = ({ ending }: Process) => ending;

for (const cgroups of ["v1", "v2"] satisfies CgroupVersion[]) {
  Deno.test(`a container with a broken state is removed with the cgroups of its name: ${cgroups}`, () => {
    withHost((host) => {
      const { remove, process, logged } = broken(host, { state: "{" });
      assertEquals([remove(), ended(process)], [true, { signal: 9 }]);
      host.processes.delete(process.pid);
      assertEquals(leftovers(host), []);
      const [warning = ""] = logged.log;
      assertEquals(warning.startsWith("warning: the state of container box cannot be read ("), true);
      assertEquals(
        warning.endsWith("cgroups in other places were not removed, and its poststop hooks were not run"),
        true,
      );
      assertEquals(warning.includes("/sys/fs/cgroup"), true);
    }, { cgroups });
  });

  Deno.test(`a process that is no container's stays, and its cgroup with it: ${cgroups}`, () => {
    withHost((host) => {
      const { remove, process, logged } = broken(host, { state: "{", contained: false });
      assertEquals([remove(), ended(process)], [true, undefined]);
      assertEquals(host.fs.paths("/run/runc"), []);
      assertEquals(logged.log.filter((line) => line.startsWith("warning")).length, 2);
      assertEquals(leftovers(host).some((path) => path.endsWith("/box")), true);
    }, { cgroups });
  });

  Deno.test(`processes in cgroups below may be other containers': ${cgroups}`, () => {
    withHost((host) => {
      const { remove, process, logged } = broken(host, { state: "{", below: "/sub" });
      assertEquals([remove(), ended(process)], [true, undefined]);
      assertEquals(logged.log.some((line) => line.includes("all processes are in cgroups below")), true);
    }, { cgroups });
  });
}

Deno.test("a state that can be read is left alone", () => {
  withHost((host) => {
    const logged = runtimeOn(host);
    createOn(host, logged).process[Symbol.dispose]();
    const before = leftovers(host);
    assertEquals(logged.wait(removeRemains(logged.runtime, "box")), false);
    assertEquals(leftovers(host), before);
  });
});

Deno.test("a directory without a state and without cgroups is removed in silence", () => {
  withHost((host) => {
    const logged = runtimeOn(host);
    host.fs.mkdirs("/run/runc/box");
    assertEquals(logged.wait(removeRemains(logged.runtime, "box")), true);
    assertEquals([leftovers(host), logged.log], [[], []]);
    assertEquals(logged.wait(removeRemains(logged.runtime, "box")), true, "it is gone");
  });
});

Deno.test("a name that is a unit's of systemd: the cgroup may be the service's", () => {
  withHost((host) => {
    const logged = runtimeOn(host, { rootlessCgroups: true });
    host.fs.mkdirs("/run/systemd/system");
    host.fs.mkdirs("/run/runc/a.service");
    host.fs.put("/run/runc/a.service/state.json", "{");
    host.fs.mkdir("/sys/fs/cgroup/memory/a.service", 0o755);
    assertEquals(logged.wait(removeRemains(logged.runtime, "a.service")), true);
    assertEquals(host.fs.find("/sys/fs/cgroup/memory/a.service") !== undefined, true);
  });
});

Deno.test("processes that do not end are an error after ten seconds, and the directory stays", () => {
  withHost((host) => {
    const { remove } = broken(host, { state: "{" });
    host.signal = () => {};
    const before = host.nowMs;
    const error = assertThrows(remove, RuncError);
    assertEquals([error.code, /^processes in .* do not end$/.test(error.message)], ["cgroup-failed", true]);
    assertEquals(host.nowMs - before >= 10_000, true);
    assertEquals(host.fs.find("/run/runc/box") !== undefined, true);
    assertEquals(host.openFiles, []);
  });
});
