/** Containers of a user who is not root, in the cgroup that systemd delegates to that user. Runs in the virtual machine. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { type Box, boxTest, type TestConfig } from "../../../integration/harness.ts";

const cgroupOf = (pid: number | "self") => Deno.readTextFileSync(`/proc/${pid}/cgroup`).trim().replace("0::", "");

/** As `runc spec --rootless` has it, and a cgroup beside our own. */
function rootless(config: TestConfig): void {
  config.process.args = ["sleep", "1000"];
  const kept = config.linux.namespaces.filter(({ type }) => type !== "network");
  config.linux.namespaces = [...kept, { type: "user" }, { type: "cgroup" }];
  config.linux.uidMappings = [{ containerID: 0, hostID: Deno.uid()!, size: 1 }];
  config.linux.gidMappings = [{ containerID: 0, hostID: Deno.gid()!, size: 1 }];
  config.linux.cgroupsPath = undefined;
  config.mounts = config.mounts.filter(({ destination }) => !destination.startsWith("/sys")).map((mount) => ({
    ...mount,
    options: mount.options?.filter((option) => !option.startsWith("gid=")),
  }));
}

/** A container named as nobody else's: its cgroup has its name. */
function startSleeping(box: Box): { id: string; pid: number } {
  box.write(rootless);
  box.must(["run", "--detach", box.name]);
  return { id: box.name, pid: box.state(box.name).pid };
}

Deno.test("the user is not root and has a delegated cgroup", () => {
  assertEquals(Deno.uid(), 1000);
  assertMatch(cgroupOf("self"), /^\/user\.slice\/user-1000\.slice\/user@1000\.service\/.*\.scope$/);
});

boxTest("a rootless container has a cgroup of its own, beside the caller's", (box) => {
  const { id, pid } = startSleeping(box);
  const path = cgroupOf(pid);
  assertEquals(path, cgroupOf("self").replace(/[^/]*$/, id));
  box.must(["pause", id]);
  assertEquals(box.state(id).status, "paused");
  box.must(["resume", id]);
  box.remove(id);
  assert(![...Deno.readDirSync(`/sys/fs/cgroup${path.replace(/\/[^/]*$/, "")}`)].some(({ name }) => name === id));
});

boxTest("exec joins a rootless container's cgroup", (box) => {
  const { id } = startSleeping(box);
  assertEquals(box.must(["exec", id, "cat", "/proc/self/cgroup"]), "0::/\n");
  box.must(["exec", "--detach", id, "sleep", "1000"]);
  assertEquals(JSON.parse(box.must(["ps", "--format", "json", id])).length, 2);
  box.remove(id);
});
