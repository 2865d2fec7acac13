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
