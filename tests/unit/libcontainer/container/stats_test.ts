import { assertEquals, assertThrows } from "@std/assert";
import { RuncError } from "../../../../lib/errors.ts";
import { Errno } from "../../../../lib/ffi/errno.ts";
import { containerStats } from "../../../../lib/libcontainer/container/stats.ts";
import { directory } from "../../host/host.ts";
import { withHost } from "../../host/with_host.ts";

const cgroup = "/sys/fs/cgroup/box";

Deno.test("a container's statistics are those of its cgroup", () => {
  withHost((host) => {
    host.fs.mkdir(cgroup, 0o755);
    host.fs.put(`${cgroup}/pids.current`, "3\n");
    host.fs.put(`${cgroup}/cpu.stat`, "usage_usec 5\nuser_usec 3\nsystem_usec 2\n");
    host.fs.put(`${cgroup}/memory.stat`, "anon 1\n");
    const stats = containerStats({ cgroupPaths: { "": cgroup }, rootlessCgroups: false, rdtGroup: undefined });
    assertEquals([stats.pids?.current, stats.intelRdt], [3n, undefined]);
  }, { cgroups: "v2" });
});

Deno.test("what cannot be read is named", () => {
  withHost((host) => {
    host.fs.mkdir(cgroup, 0o755);
    host.refuse(`open ${cgroup}/pids.current`, Errno.EACCES);
    const container = { cgroupPaths: { "": cgroup }, rootlessCgroups: false, rdtGroup: undefined };
    const error = assertThrows(() => containerStats(container), RuncError);
    assertEquals([error.code, error.message.startsWith("unable to get container cgroup stats: ")], [
      "cgroup-failed",
      true,
    ]);
  }, { cgroups: "v2" });
});

Deno.test("with Intel RDT, the group's counters are among them; a group that is gone is an error", () => {
  withHost((host) => {
    host.fs.mkdir(cgroup, 0o755);
    host.fs.put("/sys/fs/resctrl/schemata", "L3:0=ff\n");
    host.fs.put("/sys/fs/resctrl/info", directory());
    host.fs.put("/sys/fs/resctrl/box/schemata", "L3:0=f\n");
    const container = (path: string) => ({
      cgroupPaths: { "": cgroup },
      rootlessCgroups: true,
      rdtGroup: { root: "/sys/fs/resctrl", path, shared: false },
    });
    const stats = containerStats(container("/sys/fs/resctrl/box"));
    assertEquals(JSON.stringify(stats.intelRdt).includes("L3:0=f"), true);
    const error = assertThrows(() => containerStats(container("/sys/fs/resctrl/none")), RuncError);
    assertEquals(error.message.startsWith("unable to get container Intel RDT stats: "), true);
  }, { cgroups: "v2" });
});
