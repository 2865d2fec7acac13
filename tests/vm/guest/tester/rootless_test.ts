/** Containers of a user who is not root, in the cgroup that systemd delegates to that user. Runs in the virtual machine. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { type Box, boxTest } from "../../../integration/harness.ts";
import { cgroupOf, rootless } from "./rootless.ts";

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

boxTest("a rootless container is limited, and its limits change, where the user may", (box) => {
  box.write((config) => {
    rootless(config);
    config.linux.resources = { memory: { limit: 12 << 20 }, pids: { limit: 12 } };
  });
  // Processes of the user in the cgroup above keep it from passing controllers on: its limits would not be there.
  const above = `/sys/fs/cgroup${cgroupOf("self").replace(/[^/]*$/, "")}`;
  assertMatch(Deno.readTextFileSync(`${above}cgroup.subtree_control`), /memory.*pids/);
  box.must(["run", "--detach", box.name]);
  const directory = `/sys/fs/cgroup${cgroupOf(box.state(box.name).pid)}`;
  const limits = () => ["memory.max", "pids.max"].map((name) => Deno.readTextFileSync(`${directory}/${name}`).trim());
  assertEquals(limits(), [String(12 << 20), "12"]);
  box.must(["update", "--memory", "24m", "--pids-limit", "30", box.name]);
  assertEquals(limits(), [String(24 << 20), "30"]);
  assertEquals(JSON.parse(box.must(["events", "--stats", box.name])).data.pids.limit, 30);
  box.remove(box.name);
});
